//! Mounts, devices, links, masked and read-only paths. Pure.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{Linux, Mount, Spec};

use super::step::{Attributes, HostStep, InitStep, Node, Owner, Source};
use super::{Namespaces, Network, PlanError, Slots, device};
use crate::container::DESCRIPTOR;

/// Steps in the places the order demands.
#[derive(Default)]
pub(crate) struct Mounts {
    /// In the child, while it has the host's rights.
    pub early: Vec<InitStep>,
    /// In the keeper, before the clone.
    pub before: Vec<HostStep>,
    /// In the keeper, once the user namespace has its maps.
    pub after: Vec<HostStep>,
    /// In the child, with the root attached.
    pub init: Vec<InitStep>,
    /// In the child, when nothing more is mounted or made.
    pub seal: Vec<InitStep>,
}

/// Devices every container has in its `/dev`.
const NODES: [Node; 6] = [
    Node { name: "null", major: 1, minor: 3 },
    Node { name: "zero", major: 1, minor: 5 },
    Node { name: "full", major: 1, minor: 7 },
    Node { name: "random", major: 1, minor: 8 },
    Node { name: "urandom", major: 1, minor: 9 },
    Node { name: "tty", major: 5, minor: 0 },
];

/// Links every container has in its `/dev`.
const LINKS: [(&str, &str); 6] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
    ("/dev/core", "/proc/kcore"),
];

/// Most mounts, devices and paths of each kind.
const MOST: usize = 256;

pub(crate) fn plan(
    oci: &Spec,
    linux: &Linux,
    namespaces: &Namespaces,
    slots: &mut Slots,
) -> Result<Mounts, PlanError> {
    let mut plan = Mounts::default();
    let mounts = oci.mounts().as_deref().unwrap_or_default();
    bounded("mounts", mounts.len())?;
    let own_dev = mounts.iter().any(|m| m.destination() == Path::new("/dev") && kind(m) == "tmpfs");
    for mount in mounts {
        match mount.destination() == Path::new("/dev") && own_dev && kind(mount) == "tmpfs" {
            true => plan.add_dev(mount, linux, namespaces, slots)?,
            false => plan.add(mount, namespaces, slots)?,
        }
    }
    if !own_dev && linux.devices().as_ref().is_some_and(|devices| !devices.is_empty()) {
        return Err(PlanError::new("linux.devices", "need a tmpfs on /dev"));
    }
    if let Some(process) = oci.process()
        && process.cwd() != Path::new("/")
    {
        let cwd = destination("process.cwd", process.cwd())?;
        plan.init.push(InitStep::MakeDirectory(cwd));
    }
    let masked = linux.masked_paths().as_deref().unwrap_or_default();
    let read_only = linux.readonly_paths().as_deref().unwrap_or_default();
    bounded("linux.maskedPaths", masked.len())?;
    bounded("linux.readonlyPaths", read_only.len())?;
    for path in masked {
        plan.seal.push(InitStep::Mask(destination("linux.maskedPaths", Path::new(path))?));
    }
    for path in read_only {
        plan.seal.push(InitStep::ReadOnly(destination("linux.readonlyPaths", Path::new(path))?));
    }
    if oci.root().as_ref().is_some_and(|root| root.readonly().unwrap_or(false)) {
        plan.seal.push(InitStep::ReadOnlyRoot);
    }
    Ok(plan)
}

impl Mounts {
    fn add(&mut self, mount: &Mount, namespaces: &Namespaces, slots: &mut Slots) -> Result<(), PlanError> {
        let at = destination("mounts.destination", mount.destination())?;
        let field = format!("mounts[{}]", at.display());
        let options = Options::parse(&field, kind(mount), mount.options().as_deref().unwrap_or_default())?;
        let attributes = options.attributes;
        let fstype = match kind(mount) {
            "bind" => return self.add_bind(&field, mount, at, &options, namespaces, slots),
            DESCRIPTOR => return self.add_taken(&field, mount, at, &options, namespaces, slots),
            "none" if options.bind => return self.add_bind(&field, mount, at, &options, namespaces, slots),
            "proc" => "proc",
            "tmpfs" => "tmpfs",
            "devpts" => "devpts",
            "mqueue" => "mqueue",
            "sysfs" => "sysfs",
            "cgroup" | "cgroup2" => {
                self.before.push(HostStep::OpenCgroupTrees);
                self.init.push(InitStep::MountCgroupTrees { at, attributes });
                return Ok(());
            }
            other => return Err(PlanError::new(field, format!("the filesystem {other:?} is not supported"))),
        };
        // Only a namespace's owner may show what is in it, and the child does not own these.
        let shows_others = match fstype {
            "sysfs" => namespaces.network != Network::New,
            "proc" => !namespaces.pid,
            "mqueue" => !namespaces.ipc,
            _ => false,
        };
        // Process ids of its own that belong to the host's users: see `share`.
        let joined = &namespaces.joined;
        let before_joining = fstype == "proc" && joined.user.is_some() && joined.pid.is_none();
        let source = if before_joining && !shows_others {
            let slot = slots.next();
            self.early.push(InitStep::OpenProc { slot, attributes });
            Source::Slot(slot)
        } else if shows_others {
            let slot = slots.next();
            self.before.push(HostStep::OpenFilesystem { slot, fstype, options: options.data, attributes });
            if fstype == "mqueue" { Source::Slot(slot) } else { Source::Kernel(slot) }
        } else {
            Source::New { fstype, options: options.data }
        };
        // Links below a tmpfs asked for by a user are followed inside the root, as Docker does; what the kernel
        // shows through these others must be where its name says.
        let strict = fstype != "tmpfs" || at.starts_with("/dev");
        self.init.push(InitStep::Mount { source, at, attributes, strict });
        Ok(())
    }

    fn add_bind(
        &mut self,
        field: &str,
        mount: &Mount,
        at: PathBuf,
        options: &Options,
        namespaces: &Namespaces,
        slots: &mut Slots,
    ) -> Result<(), PlanError> {
        let source = mount.source().as_deref().unwrap_or(Path::new(""));
        if !source.is_absolute() {
            return Err(PlanError::new(field, "a bind mount needs an absolute source"));
        }
        if let Some(option) = options.data.first() {
            return Err(PlanError::new(field, format!("{option:?} is not an option of a bind mount")));
        }
        if options.id_map && namespaces.user.is_none() {
            return Err(PlanError::new(field, "idmap needs a user namespace"));
        }
        let slot = slots.next();
        let mut attributes = options.attributes;
        if !options.dev {
            attributes.set |= libc::MOUNT_ATTR_NODEV;
        }
        self.before.push(HostStep::OpenBind {
            slot,
            source: source.to_owned(),
            recursive: options.recursive,
            attributes,
            slave: options.slave,
        });
        if options.id_map {
            self.after.push(HostStep::MapBind(slot));
        }
        let source = Source::Slot(slot);
        self.init.push(InitStep::Mount { source, at, attributes: Attributes::default(), strict: false });
        Ok(())
    }

    /// A mount that the caller has opened, with its flags set: only its ids are still to be mapped.
    fn add_taken(
        &mut self,
        field: &str,
        mount: &Mount,
        at: PathBuf,
        options: &Options,
        namespaces: &Namespaces,
        slots: &mut Slots,
    ) -> Result<(), PlanError> {
        let number = mount.source().as_deref().and_then(Path::to_str).and_then(|text| text.parse().ok());
        let index = number.filter(|index| *index < MOST).ok_or_else(|| {
            PlanError::new(field, "its source must be the number of a descriptor handed over")
        })?;
        // Flags are set already; the options repeat them for whoever compares.
        if let Some(option) = options.data.first() {
            return Err(PlanError::new(field, format!("{option:?} is not an option of what is handed over")));
        }
        if options.shared && namespaces.user.is_some() {
            return Err(PlanError::new(field, "shared propagation would reach out of the user namespace"));
        }
        let slot = slots.next();
        self.before.push(HostStep::TakeMount { slot, index });
        if options.id_map && namespaces.user.is_some() {
            self.after.push(HostStep::MapTaken(slot));
        }
        // Links of the image on the way are followed inside the root, but not where the kernel's own views are.
        let strict = ["/dev", "/proc", "/sys"].iter().any(|kernel| at.starts_with(kernel));
        let source = Source::Slot(slot);
        self.init.push(InitStep::Mount { source, at, attributes: Attributes::default(), strict });
        Ok(())
    }

    /// A fresh `/dev` and what fills it.
    fn add_dev(
        &mut self,
        mount: &Mount,
        linux: &Linux,
        namespaces: &Namespaces,
        slots: &mut Slots,
    ) -> Result<(), PlanError> {
        let asked = linux.devices().as_deref().unwrap_or_default();
        let made = device::plan(asked, namespaces, slots)?;
        let at = destination("mounts.destination", mount.destination())?;
        let options =
            Options::parse("mounts[/dev]", kind(mount), mount.options().as_deref().unwrap_or_default())?;
        let is_asked = |node: &Node| made.iter().any(|(known, _)| *known == at.join(node.name));
        let nodes = NODES.into_iter().filter(|node| !is_asked(node)).collect();
        let first =
            |maps: &[super::step::IdMap]| maps.iter().find(|map| map.container == 0).map(|map| map.host);
        let user = namespaces.user.as_ref();
        let owner = Owner {
            uid: user.and_then(|maps| first(&maps.uids)).unwrap_or(0),
            gid: user.and_then(|maps| first(&maps.gids)).unwrap_or(0),
        };
        let (slot, attributes) = (slots.next(), options.attributes);
        self.before.push(HostStep::MakeDev { slot, options: options.data, attributes, owner, nodes });
        let source = Source::Fresh(slot);
        self.init.push(InitStep::Mount { source, at, attributes: Attributes::default(), strict: true });
        for (path, device) in &made {
            self.init.push(InitStep::BindDevice { slot: device.slot, at: path.clone() });
        }
        if !made.is_empty() {
            self.before.push(HostStep::MakeDevices(made.into_iter().map(|(_, device)| device).collect()));
        }
        self.init.extend(LINKS.map(|(at, target)| InitStep::Symlink { target, at }));
        Ok(())
    }
}

fn kind(mount: &Mount) -> &str {
    match mount.typ().as_deref() {
        Some(kind) => kind,
        None => "none",
    }
}

/// Mount options, sorted into what they mean.
#[derive(Default)]
struct Options {
    attributes: Attributes,
    data: Vec<String>,
    bind: bool,
    recursive: bool,
    slave: bool,
    shared: bool,
    id_map: bool,
    dev: bool,
}

impl Options {
    fn parse(field: &str, kind: &str, given: &[String]) -> Result<Options, PlanError> {
        bounded(field, given.len())?;
        let mut options = Options::default();
        for option in given {
            match option.as_str() {
                "bind" => options.bind = true,
                "rbind" => (options.bind, options.recursive) = (true, true),
                "private" | "rprivate" => options.slave = false,
                "slave" | "rslave" => options.slave = true,
                "shared" | "rshared" if kind == DESCRIPTOR => options.shared = true,
                "shared" | "rshared" | "unbindable" | "runbindable" => {
                    return Err(PlanError::new(
                        field,
                        format!("the propagation {option:?} is not supported"),
                    ));
                }
                "idmap" | "ridmap" => options.id_map = true,
                "dev" => options.dev = true,
                // Defaults, and what a new instance of devpts has been since Linux 4.7.
                "rw" | "suid" | "exec" | "defaults" | "async" | "newinstance" | "nolazytime" | "" => {}
                other => match attribute(other) {
                    Some(bits) => options.attributes.set |= bits,
                    None if other.contains('\0') || other.len() > 256 => {
                        return Err(PlanError::new(field, "an option that is not text"));
                    }
                    None => options.data.push(other.to_owned()),
                },
            }
        }
        if options.attributes.set & libc::MOUNT_ATTR__ATIME != 0 || given.iter().any(|o| o == "relatime") {
            options.attributes.clear |= libc::MOUNT_ATTR__ATIME;
        }
        Ok(options)
    }
}

fn attribute(option: &str) -> Option<u64> {
    Some(match option {
        "ro" => libc::MOUNT_ATTR_RDONLY,
        "nosuid" => libc::MOUNT_ATTR_NOSUID,
        "nodev" => libc::MOUNT_ATTR_NODEV,
        "noexec" => libc::MOUNT_ATTR_NOEXEC,
        "noatime" => libc::MOUNT_ATTR_NOATIME,
        "strictatime" => libc::MOUNT_ATTR_STRICTATIME,
        "nodiratime" => libc::MOUNT_ATTR_NODIRATIME,
        "relatime" => 0,
        _ => return None,
    })
}

pub(super) fn destination(field: &str, path: &Path) -> Result<PathBuf, PlanError> {
    let mut components = path.components();
    let rooted = components.next() == Some(Component::RootDir);
    let inner = components.clone().count();
    let text = path.to_str().ok_or_else(|| PlanError::new(field, "is not text"))?;
    if !rooted
        || inner == 0
        || text.len() > 4000
        || text.contains('\0')
        || !components.all(|part| matches!(part, Component::Normal(_)))
    {
        return Err(PlanError::new(field, format!("{text:?} is not an absolute path below / without '..'")));
    }
    Ok(path.to_owned())
}

fn bounded(field: &str, count: usize) -> Result<(), PlanError> {
    if count > MOST {
        return Err(PlanError::new(field, format!("more than {MOST} entries")));
    }
    Ok(())
}
