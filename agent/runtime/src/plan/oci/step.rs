//! Steps that only a container of the OCI command line has: its caller is trusted and may ask for what the engine
//! never does. Plain data, shown as one line each like the others.

use std::fmt;
use std::path::PathBuf;

use oci_spec::runtime::Hook;

use super::super::step::{Attributes, DeviceRule, IdMaps, Owner, Slot};
use crate::capabilities::CapSet;
use crate::container::WindowSize;

/// A host step of the command line's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OciHostStep {
    /// Makes the cgroup where it is missing; what is there already is used.
    AdoptCgroup,
    /// Writes one file of a controller.
    SetFile {
        /// Which controller.
        controller: String,
        /// File name.
        file: String,
        /// Text.
        value: String,
    },
    /// Restricts devices, where the host lets this process.
    LimitDevices(Vec<DeviceRule>),
    /// Clones the mount of a file or directory of the host, links followed.
    OpenBind {
        /// Where it goes.
        slot: Slot,
        /// Path on the host.
        source: PathBuf,
        /// With the mounts below it.
        recursive: bool,
        /// Flags of the mount itself.
        attributes: Attributes,
        /// Flags of it and all below it.
        below: Attributes,
        /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED` or `MS_UNBINDABLE`.
        propagation: u64,
    },
    /// Shows a clone through an id map of its own.
    MapBind {
        /// Which.
        slot: Slot,
        /// With the mounts below it.
        recursive: bool,
        /// The map.
        maps: IdMaps,
    },
    /// Opens a directory as the root, without a mount of its own: there is no mount namespace to have it in.
    OpenPlainRoot(PathBuf),
}

/// What a device node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// `c`, `b` or `p`.
    pub kind: char,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permissions.
    pub mode: u32,
    /// Who owns it.
    pub owner: Owner,
}

/// The five capability sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// What can ever be had.
    pub bounding: CapSet,
    /// What is had.
    pub permitted: CapSet,
    /// What counts.
    pub effective: CapSet,
    /// What programs with file capabilities keep.
    pub inheritable: CapSet,
    /// What any program keeps.
    pub ambient: CapSet,
}

/// A new filesystem to be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMount {
    /// Its type.
    pub fstype: String,
    /// What `mountinfo` shows as its source, for some types a device.
    pub source: Option<String>,
    /// `key=value` or bare flags.
    pub options: Vec<String>,
    /// Flags.
    pub attributes: Attributes,
    /// `MS_*` propagation; zero leaves it.
    pub propagation: u64,
    /// What the directory held before is copied into it.
    pub copy_up: bool,
}

/// Scheduling of the program, in the kernel's numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Schedule {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*` bits.
    pub flags: u64,
    /// For ordinary policies.
    pub nice: i32,
    /// For real-time policies.
    pub priority: u32,
    /// Runtime, deadline and period in nanoseconds.
    pub deadline: [u64; 3],
}

/// A step of the child of the command line's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OciStep {
    /// Enters the mount namespace in a slot.
    JoinMounts(Slot),
    /// Sets the propagation of everything the namespace starts with.
    Propagation(u64),
    /// Attaches the root filesystem where the bundle has it.
    AttachRoot(PathBuf),
    /// Mounts a new filesystem.
    Mount {
        /// What.
        mount: NewMount,
        /// Where, inside the container.
        at: PathBuf,
    },
    /// Attaches a clone of a mount of the host.
    AttachBind {
        /// Which.
        slot: Slot,
        /// Where, inside the container.
        at: PathBuf,
    },
    /// Changes the flags of what is mounted already.
    Remount {
        /// Where.
        at: PathBuf,
        /// Flags.
        attributes: Attributes,
    },
    /// Makes a device node.
    MakeDevice {
        /// Where.
        at: PathBuf,
        /// What.
        node: Node,
    },
    /// Makes the links every container has in its `/dev`.
    DefaultLinks,
    /// Makes a terminal and gives its master side away.
    Terminal {
        /// Its size.
        size: WindowSize,
        /// Who owns it.
        owner: Owner,
        /// It is also attached as `/dev/console`.
        console: bool,
    },
    /// Gives the inherited standard streams to the container's user.
    OwnStreams(Owner),
    /// Waits while the caller runs the hooks of the runtime's namespaces.
    Rendezvous,
    /// Runs hooks in the container's namespaces.
    RunHooks(Vec<Hook>),
    /// Makes the root filesystem the root of this process only.
    Chroot,
    /// Sets the propagation of the root filesystem.
    RootPropagation(u64),
    /// Sets the execution domain.
    Personality(u32),
    /// Sets how the program is scheduled.
    Schedule(Schedule),
    /// Sets how its input and output are scheduled: class and level.
    IoPriority(u32, u32),
    /// Keeps capabilities through the change of user.
    KeepCapabilities,
    /// Sets all five capability sets but the bounding one.
    SetCapabilities(Capabilities),
    /// Asks the security module to label the program.
    Label {
        /// Below `/proc/self/attr`.
        file: &'static str,
        /// Text.
        value: String,
    },
}

impl fmt::Display for OciHostStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OciHostStep::AdoptCgroup => f.write_str("adopt-cgroup"),
            OciHostStep::SetFile { controller, file, value } => {
                write!(f, "set-limit {controller}/{file} {value}")
            }
            OciHostStep::LimitDevices(rules) => {
                f.write_str("limit-devices")?;
                rules.iter().try_for_each(|rule| write!(f, " {rule},"))
            }
            OciHostStep::OpenBind { slot, source, recursive, attributes, below, propagation } => {
                let recursive = if *recursive { " recursive" } else { "" };
                let propagation = propagation_name(*propagation);
                write!(f, "open-bind {}{recursive} {propagation}{attributes}", source.display())?;
                write!(f, " below{below} -> {}", slot.0)
            }
            OciHostStep::MapBind { slot, maps, .. } => write!(f, "map-bind {} {maps}", slot.0),
            OciHostStep::OpenPlainRoot(path) => write!(f, "open-plain-root {}", path.display()),
        }
    }
}

impl fmt::Display for OciStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OciStep::JoinMounts(slot) => write!(f, "join-mounts {}", slot.0),
            OciStep::Propagation(flags) => write!(f, "propagation {}", propagation_name(*flags)),
            OciStep::AttachRoot(path) => write!(f, "attach-root {}", path.display()),
            OciStep::Mount { mount, at } => {
                let NewMount { fstype, options, attributes, .. } = mount;
                write!(f, "mount {} {fstype}({}){attributes}", at.display(), options.join(","))
            }
            OciStep::AttachBind { slot, at } => write!(f, "attach-bind {} <- {}", at.display(), slot.0),
            OciStep::Remount { at, attributes } => write!(f, "remount {}{attributes}", at.display()),
            OciStep::MakeDevice { at, node } => {
                write!(f, "make-device {} {} {}:{}", at.display(), node.kind, node.major, node.minor)
            }
            OciStep::DefaultLinks => f.write_str("default-links"),
            OciStep::Terminal { size, .. } => write!(f, "open-terminal {}x{}", size.columns, size.rows),
            OciStep::OwnStreams(owner) => write!(f, "own-streams {}:{}", owner.uid, owner.gid),
            OciStep::Rendezvous => f.write_str("rendezvous"),
            OciStep::RunHooks(hooks) => write!(f, "run-hooks createContainer: {}", hooks.len()),
            OciStep::Chroot => f.write_str("chroot"),
            OciStep::RootPropagation(flags) => write!(f, "root-propagation {}", propagation_name(*flags)),
            OciStep::Personality(persona) => write!(f, "personality {persona:#x}"),
            OciStep::Schedule(schedule) => write!(f, "schedule {}", schedule.policy),
            OciStep::IoPriority(class, level) => write!(f, "io-priority {class}:{level}"),
            OciStep::KeepCapabilities => f.write_str("keep-capabilities"),
            OciStep::SetCapabilities(sets) => {
                write!(f, "set-capabilities {} effective {}", sets.permitted, sets.effective)?;
                write!(f, " inheritable {} ambient {}", sets.inheritable, sets.ambient)
            }
            OciStep::Label { file, value } => write!(f, "label {file} {value}"),
        }
    }
}

fn propagation_name(flags: u64) -> &'static str {
    match flags {
        libc::MS_SHARED => "shared",
        libc::MS_SLAVE => "slave",
        libc::MS_PRIVATE => "private",
        libc::MS_UNBINDABLE => "unbindable",
        _ => "as-it-is",
    }
}
