//! The closed set of steps. Plain data; each shows itself as one line and has a short name for errors.

use std::fmt;
use std::path::PathBuf;

use super::oci::step::{OciHostStep, OciStep};
use crate::capabilities::CapSet;
use crate::container::WindowSize;

/// A descriptor opened by a host step, by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(pub usize);

/// A run of ids: container id `container` is `host` outside, and so on for `size` ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMap {
    /// First id inside.
    pub container: u32,
    /// First id outside.
    pub host: u32,
    /// How many.
    pub size: u32,
}

/// The maps of a user namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMaps {
    /// Of users.
    pub uids: Vec<IdMap>,
    /// Of groups.
    pub gids: Vec<IdMap>,
}

/// Who the program runs as, by ids inside the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
}

/// Flags of a mount, as `mount_setattr` takes them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `MOUNT_ATTR_*` bits to set.
    pub set: u64,
    /// Bits to clear first; only the access-time field uses it.
    pub clear: u64,
}

/// How a device node is told from another: what `stat` must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceNumber {
    /// Character rather than block device.
    pub character: bool,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// A device node to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDevice {
    /// Where its mount goes.
    pub slot: Slot,
    /// Which device.
    pub number: DeviceNumber,
    /// Permissions.
    pub mode: u32,
    /// Who owns it, by ids of the host.
    pub owner: Owner,
}

/// What may be done to which devices: one rule of the device cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRule {
    /// Allow rather than deny.
    pub allow: bool,
    /// `a`, `b` or `c`.
    pub kind: char,
    /// `None` is every one.
    pub major: Option<u32>,
    /// `None` is every one.
    pub minor: Option<u32>,
    /// Of `r`, `w` and `m`.
    pub access: String,
}

/// A step of the keeper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostStep {
    /// Makes the container's cgroup in every hierarchy.
    CreateCgroup,
    /// Writes one file of a controller.
    SetLimit {
        /// `memory`, `cpu`, `pids`, ... (version 2 has them all in one place).
        controller: &'static str,
        /// File name.
        file: &'static str,
        /// Text.
        value: String,
        /// Whether a kernel without the file is good enough.
        optional: bool,
    },
    /// Writes the first of two files of a controller that the kernel has.
    SetEither {
        /// Which controller.
        controller: &'static str,
        /// File names and texts.
        files: [(&'static str, String); 2],
    },
    /// Restricts devices: by files on version 1, by a program on version 2.
    LimitDevices(Vec<DeviceRule>),
    /// Opens a filesystem of the kernel's that shows namespaces of the keeper's, or the network's it visits.
    OpenFilesystem {
        /// Where it goes.
        slot: Slot,
        /// Its type.
        fstype: &'static str,
        /// `key=value` or bare flags.
        options: Vec<String>,
        /// Flags.
        attributes: Attributes,
    },
    /// Makes the filesystem for `/dev` with the nodes that every container has. Nodes are the keeper's to make; the
    /// directory is the container's.
    MakeDev {
        /// Where it goes.
        slot: Slot,
        /// Options of the filesystem.
        options: Vec<String>,
        /// Flags.
        attributes: Attributes,
        /// Whom the directory belongs to, by ids of the host.
        owner: Owner,
        /// Their names and numbers.
        nodes: Vec<Node>,
    },
    /// Makes device nodes in a filesystem of their own.
    MakeDevices(Vec<NewDevice>),
    /// Clones the mount of one of the host's device nodes, after checking that it is that device.
    OpenDevice {
        /// Where it goes.
        slot: Slot,
        /// Path on the host.
        path: PathBuf,
        /// What it must be.
        number: DeviceNumber,
    },
    /// Clones the mount of a file or directory of the host.
    OpenBind {
        /// Where it goes.
        slot: Slot,
        /// Path on the host.
        source: PathBuf,
        /// With the mounts below it.
        recursive: bool,
        /// Flags.
        attributes: Attributes,
        /// Receives mounts made on the host later (slave) instead of none (private).
        slave: bool,
    },
    /// Takes a mount that was handed over as a descriptor.
    TakeMount {
        /// Where it goes.
        slot: Slot,
        /// Which of those handed over.
        index: usize,
    },
    /// Shows a mount that was handed over through the container's id map, as far as its filesystems can: of those
    /// that cannot, the owners look like nobody.
    MapTaken(Slot),
    /// Clones the container's directories of the version 1 hierarchies.
    OpenCgroupTrees,
    /// Writes a sysctl of the container's network namespace.
    SetNetworkSysctl {
        /// Dotted name.
        name: String,
        /// Text.
        value: String,
    },
    /// Opens a namespace that the child is to join.
    OpenNamespace {
        /// Where it goes.
        slot: Slot,
        /// Path on the host.
        path: PathBuf,
    },
    /// Writes the child's id maps.
    WriteIdMaps(IdMaps),
    /// Takes the id maps of a user namespace that the child is to join for its own.
    MapAs(Slot),
    /// Moves the child into its cgroup.
    EnterCgroup,
    /// Shows a clone through the container's id map.
    MapBind(Slot),
    /// Sets a resource limit of the child.
    SetLimitOfProcess {
        /// `RLIMIT_*` number.
        resource: Resource,
        /// Soft limit.
        soft: u64,
        /// Hard limit.
        hard: u64,
    },
    /// Sets how eagerly the kernel kills the child for want of memory.
    SetOomScore(i32),
    /// Opens the root filesystem as an overlay.
    OpenOverlay {
        /// Topmost first.
        lower: Vec<PathBuf>,
        /// Writable layer.
        upper: PathBuf,
        /// Scratch directory.
        work: PathBuf,
        /// Lower layers are shown through the container's id map, device nodes do not open.
        mapped: bool,
    },
    /// Opens a directory as the root filesystem.
    OpenRootDirectory {
        /// Which.
        path: PathBuf,
        /// Without write access.
        read_only: bool,
        /// Device nodes do not open.
        nodev: bool,
    },
    /// One that only the OCI command line has.
    Oci(OciHostStep),
}

/// A resource a process is limited in; the number is Linux's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource(pub u32, pub &'static str);

/// A kind of namespace that a child can join by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joins {
    /// System V objects and message queues.
    Ipc,
    /// Users and groups.
    User,
}

/// Where a mount comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A new filesystem with these options.
    New {
        /// Its type.
        fstype: &'static str,
        /// `key=value` or bare flags.
        options: Vec<String>,
    },
    /// A descriptor opened by a host step.
    Slot(Slot),
    /// The same: a filesystem in which all names are the kernel's.
    Kernel(Slot),
    /// The same: a filesystem that nobody but the keeper has made a name in.
    Fresh(Slot),
}

/// A device node of every container's `/dev`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// Its name there.
    pub name: &'static str,
    /// A character device.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// A step of the child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InitStep {
    /// Leads a session of its own.
    NewSession,
    /// Lets nobody trace it or look into it, whatever its users are.
    Hide,
    /// Opens a `/proc` of its own process ids.
    OpenProc {
        /// Where it goes.
        slot: Slot,
        /// Flags.
        attributes: Attributes,
    },
    /// Joins a namespace of another container.
    Join {
        /// Where it was opened.
        slot: Slot,
        /// Of which kind.
        kind: Joins,
    },
    /// Becomes user and group 0 of its user namespace, with these supplementary groups.
    BecomeRoot(Vec<u32>),
    /// Makes the namespaces that belong to users it has joined: a mount namespace, and these.
    NewNamespaces {
        /// System V objects.
        ipc: bool,
        /// Host name.
        uts: bool,
        /// Network.
        network: bool,
    },
    /// Makes the present cgroup the root of what it can see.
    NewCgroupNamespace,
    /// Takes every mount out of its propagation group.
    PrivateMounts,
    /// Attaches the root filesystem over the root of the container's own mount namespace.
    AttachRoot,
    /// Attaches a mount inside the root filesystem.
    Mount {
        /// What.
        source: Source,
        /// Where, absolute inside the container.
        at: PathBuf,
        /// Flags for a new filesystem.
        attributes: Attributes,
        /// Symbolic links on the way are refused instead of followed inside the root.
        strict: bool,
    },
    /// Attaches the version 1 cgroup directories, read-only, under a new tmpfs.
    MountCgroupTrees {
        /// Where.
        at: PathBuf,
        /// Flags.
        attributes: Attributes,
    },
    /// Attaches a device node under `/dev`.
    BindDevice {
        /// Which.
        slot: Slot,
        /// Where.
        at: PathBuf,
    },
    /// Makes a symbolic link in the container's `/dev`.
    Symlink {
        /// What it says.
        target: &'static str,
        /// Where it is.
        at: &'static str,
    },
    /// Makes pipes for standard input, output and error.
    OpenPipes {
        /// Standard input is a pipe rather than `/dev/null`.
        stdin: bool,
        /// Who owns them.
        owner: Owner,
    },
    /// Makes a terminal of the container's devpts.
    OpenTerminal {
        /// Its size.
        size: WindowSize,
        /// Who owns it.
        owner: Owner,
        /// Attaches it as `/dev/console`.
        console: bool,
    },
    /// Hides a file or directory, if it exists.
    Mask(PathBuf),
    /// Takes write access from a path, if it exists.
    ReadOnly(PathBuf),
    /// Makes the working directory if it is missing.
    MakeDirectory(PathBuf),
    /// Takes write access from the root filesystem itself.
    ReadOnlyRoot,
    /// Makes the root filesystem the root, and forgets the host's.
    Pivot,
    /// Switches the loopback interface on.
    LoopbackUp,
    /// Sets the host name.
    SetHostname(String),
    /// Sets the NIS domain name.
    SetDomainname(String),
    /// Writes a sysctl of one of the container's own namespaces.
    SetSysctl {
        /// Dotted name.
        name: String,
        /// Text.
        value: String,
    },
    /// Enters the working directory and checks that it is inside the root.
    ChangeDirectory(PathBuf),
    /// Empties the bounding set but for these.
    LimitCapabilities(CapSet),
    /// Sets groups, group and user.
    SetUser {
        /// Whom.
        owner: Owner,
        /// Supplementary groups, the primary one included.
        groups: Vec<u32>,
        /// File creation mask.
        umask: u32,
    },
    /// Sets the permitted and effective sets, empties the inheritable and ambient ones.
    SetCapabilities {
        /// Permitted.
        permitted: CapSet,
        /// Effective.
        effective: CapSet,
    },
    /// Gives up gaining privileges by executing a program.
    NoNewPrivileges,
    /// Closes every descriptor but 0, 1, 2 and the channel to the keeper.
    CloseDescriptors,
    /// Loads the system call filter.
    LoadSeccomp,
    /// One that only the OCI command line has.
    Oci(OciStep),
}

impl fmt::Display for IdMaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |maps: &[IdMap]| {
            let words = maps.iter().map(|map| format!("{}:{}:{}", map.container, map.host, map.size));
            words.collect::<Vec<_>>().join(",")
        };
        write!(f, "uid {} gid {}", show(&self.uids), show(&self.gids))
    }
}
