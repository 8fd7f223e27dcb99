//! How steps read: one line each, for golden tests and people; the first word is the step's name in errors.

use std::fmt;

use super::step::{Attributes, DeviceNumber, DeviceRule, HostStep, InitStep, Joins, NewDevice, Source};

impl HostStep {
    /// The step's name and what it is about, for errors.
    pub fn name_and_object(&self) -> (String, String) {
        split(&self.to_string())
    }
}

impl InitStep {
    /// The step's name and what it is about, for errors.
    pub fn name_and_object(&self) -> (String, String) {
        split(&self.to_string())
    }
}

fn split(line: &str) -> (String, String) {
    let (name, object) = line.split_once(' ').unwrap_or((line, "the container"));
    (name.to_owned(), object.to_owned())
}

impl fmt::Display for HostStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostStep::CreateCgroup => f.write_str("create-cgroup"),
            HostStep::SetLimit { controller, file, value, optional } => {
                let note = if *optional { " (if there is one)" } else { "" };
                write!(f, "set-limit {controller}/{file} {value}{note}")
            }
            HostStep::SetEither { controller, files: [(first, value), (second, other)] } => {
                write!(f, "set-limit {controller}/{first} {value} (or {controller}/{second} {other})")
            }
            HostStep::LimitDevices(rules) => {
                f.write_str("limit-devices")?;
                rules.iter().try_for_each(|rule| write!(f, " {rule},"))
            }
            HostStep::OpenFilesystem { slot, fstype, options, attributes } => {
                let options =
                    if options.is_empty() { String::new() } else { format!("({})", options.join(",")) };
                write!(f, "open-{fstype}{options}{attributes} -> {}", slot.0)
            }
            HostStep::MakeDev { slot, options, attributes, owner, nodes } => {
                write!(f, "make-dev ({}){attributes} {}:{}", options.join(","), owner.uid, owner.gid)?;
                nodes
                    .iter()
                    .try_for_each(|node| write!(f, " {} {}:{},", node.name, node.major, node.minor))?;
                write!(f, " -> {}", slot.0)
            }
            HostStep::MakeDevices(devices) => show_devices(f, devices),
            HostStep::OpenDevice { slot, path, number } => {
                let kind = if number.character { 'c' } else { 'b' };
                write!(
                    f,
                    "open-device {} {kind} {}:{} -> {}",
                    path.display(),
                    number.major,
                    number.minor,
                    slot.0
                )
            }
            HostStep::OpenBind { slot, source, recursive, attributes, slave } => {
                let recursive = if *recursive { " recursive" } else { "" };
                let slave = if *slave { " slave" } else { "" };
                write!(f, "open-bind {}{recursive}{slave}{attributes} -> {}", source.display(), slot.0)
            }
            HostStep::TakeMount { slot, index } => write!(f, "take-mount {index} -> {}", slot.0),
            HostStep::MapTaken(slot) => write!(f, "map-taken {}", slot.0),
            HostStep::OpenCgroupTrees => f.write_str("open-cgroup-trees"),
            HostStep::SetNetworkSysctl { name, value } => write!(f, "set-network-sysctl {name} = {value}"),
            HostStep::OpenNamespace { slot, path } => {
                write!(f, "open-namespace {} -> {}", path.display(), slot.0)
            }
            HostStep::MapAs(slot) => write!(f, "map-as {}", slot.0),
            HostStep::WriteIdMaps(maps) => write!(f, "write-id-maps {maps}"),
            HostStep::EnterCgroup => f.write_str("enter-cgroup"),
            HostStep::MapBind(slot) => write!(f, "map-bind {}", slot.0),
            HostStep::SetLimitOfProcess { resource, soft, hard } => {
                write!(f, "set-rlimit {} {soft}:{hard}", resource.1)
            }
            HostStep::SetOomScore(score) => write!(f, "set-oom-score {score}"),
            HostStep::OpenOverlay { lower, upper, mapped, .. } => {
                let mapped = if *mapped { " mapped nodev" } else { "" };
                write!(f, "open-overlay {} layers below {}{mapped}", lower.len(), upper.display())
            }
            HostStep::OpenRootDirectory { path, read_only, nodev } => {
                let read_only = if *read_only { " ro" } else { "" };
                let nodev = if *nodev { " nodev" } else { "" };
                write!(f, "open-root {}{read_only}{nodev}", path.display())
            }
            HostStep::Oci(step) => step.fmt(f),
        }
    }
}

fn show_devices(f: &mut fmt::Formatter<'_>, devices: &[NewDevice]) -> fmt::Result {
    f.write_str("make-devices")?;
    devices.iter().try_for_each(|NewDevice { slot, number, mode, owner }| {
        let kind = if number.character { 'c' } else { 'b' };
        let DeviceNumber { major, minor, .. } = number;
        write!(f, " {kind} {major}:{minor} {mode:o} {}:{} -> {},", owner.uid, owner.gid, slot.0)
    })
}

impl fmt::Display for InitStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InitStep::NewSession => f.write_str("new-session"),
            InitStep::Hide => f.write_str("hide"),
            InitStep::OpenProc { slot, attributes } => write!(f, "open-proc{attributes} -> {}", slot.0),
            InitStep::Join { slot, kind: Joins::Ipc } => write!(f, "join-ipc <- {}", slot.0),
            InitStep::Join { slot, kind: Joins::User } => write!(f, "join-users <- {}", slot.0),
            InitStep::NewNamespaces { ipc, uts, network } => {
                f.write_str("new-namespaces mount")?;
                let all = [(*ipc, "ipc"), (*uts, "uts"), (*network, "network")];
                all.iter().filter(|(new, _)| *new).try_for_each(|(_, name)| write!(f, " {name}"))
            }
            InitStep::BecomeRoot(groups) if groups.is_empty() => f.write_str("become-root"),
            InitStep::BecomeRoot(groups) => write!(f, "become-root groups {groups:?}"),
            InitStep::NewCgroupNamespace => f.write_str("new-cgroup-namespace"),
            InitStep::PrivateMounts => f.write_str("private-mounts"),
            InitStep::AttachRoot => f.write_str("attach-root"),
            InitStep::Mount { source, at, attributes, strict } => {
                let strict = if *strict { " strict" } else { "" };
                write!(f, "mount {} {source}{attributes}{strict}", at.display())
            }
            InitStep::MountCgroupTrees { at, attributes } => {
                write!(f, "mount-cgroup-trees {}{attributes}", at.display())
            }
            InitStep::BindDevice { slot, at } => write!(f, "bind-device {} <- {}", at.display(), slot.0),
            InitStep::Symlink { target, at } => write!(f, "symlink {at} -> {target}"),
            InitStep::OpenPipes { stdin, owner } => {
                let stdin = if *stdin { "pipe" } else { "null" };
                write!(f, "open-pipes stdin={stdin} owner={}:{}", owner.uid, owner.gid)
            }
            InitStep::OpenTerminal { size, owner, console } => {
                let console = if *console { " console" } else { "" };
                write!(
                    f,
                    "open-terminal {}x{} owner={}:{}{console}",
                    size.columns, size.rows, owner.uid, owner.gid
                )
            }
            InitStep::Mask(path) => write!(f, "mask {}", path.display()),
            InitStep::ReadOnly(path) => write!(f, "read-only {}", path.display()),
            InitStep::MakeDirectory(path) => write!(f, "make-directory {}", path.display()),
            InitStep::ReadOnlyRoot => f.write_str("read-only-root"),
            InitStep::Pivot => f.write_str("pivot"),
            InitStep::LoopbackUp => f.write_str("loopback-up"),
            InitStep::SetHostname(name) => write!(f, "set-hostname {name}"),
            InitStep::SetDomainname(name) => write!(f, "set-domainname {name}"),
            InitStep::SetSysctl { name, value } => write!(f, "set-sysctl {name} = {value}"),
            InitStep::ChangeDirectory(path) => write!(f, "change-directory {}", path.display()),
            InitStep::LimitCapabilities(set) => write!(f, "limit-capabilities {set}"),
            InitStep::SetUser { owner, groups, umask } => {
                write!(f, "set-user {}:{} groups {groups:?} umask {umask:04o}", owner.uid, owner.gid)
            }
            InitStep::SetCapabilities { permitted, effective } if permitted == effective => {
                write!(f, "set-capabilities {permitted}")
            }
            InitStep::SetCapabilities { permitted, effective } => {
                write!(f, "set-capabilities {permitted} effective {effective}")
            }
            InitStep::NoNewPrivileges => f.write_str("no-new-privileges"),
            InitStep::CloseDescriptors => f.write_str("close-descriptors"),
            InitStep::LoadSeccomp => f.write_str("load-seccomp"),
            InitStep::Oci(step) => step.fmt(f),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::New { fstype, options } if options.is_empty() => f.write_str(fstype),
            Source::New { fstype, options } => write!(f, "{fstype}({})", options.join(",")),
            Source::Slot(slot) | Source::Kernel(slot) | Source::Fresh(slot) => write!(f, "<- {}", slot.0),
        }
    }
}

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, name) in [
            (libc::MOUNT_ATTR_RDONLY, "ro"),
            (libc::MOUNT_ATTR_NOSUID, "nosuid"),
            (libc::MOUNT_ATTR_NODEV, "nodev"),
            (libc::MOUNT_ATTR_NOEXEC, "noexec"),
            (libc::MOUNT_ATTR_NOATIME, "noatime"),
            (libc::MOUNT_ATTR_STRICTATIME, "strictatime"),
            (libc::MOUNT_ATTR_NODIRATIME, "nodiratime"),
        ] {
            if self.set & bit != 0 {
                write!(f, " {name}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for DeviceRule {
    /// As the version 1 `devices.allow` file takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |n| n.to_string());
        let verb = if self.allow { "allow" } else { "deny" };
        write!(f, "{verb} {} {}:{} {}", self.kind, number(self.major), number(self.minor), self.access)
    }
}
