//! Reading what [`super::observed`] parses: of the container's process, and of the host this process lives in.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

use super::expected::{Expected, KINDS, Limited, Outside};
use super::mounts::Mounts;
use super::observed::{self, Found, Observed, Status};
use crate::cgroup::Cgroup;
use crate::container::ContainerSpec;

/// What was read, and why it could not be.
type Failure = (String, io::Error);

/// What the reader itself lives in. Made once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostView {
    /// Kind and inode, of this process and of the keeper.
    pub(super) namespaces: BTreeSet<(&'static str, u64)>,
    /// Device and directory of the host's root filesystem.
    pub(super) root: (String, String),
    /// Controllers and `name=...` of the version 1 hierarchies that are mounted.
    hierarchies: BTreeSet<String>,
    version_2: bool,
    /// Process that makes containers.
    pub(super) keeper: Option<i32>,
}

impl HostView {
    /// Looks at this process, and at the keeper where there is one.
    ///
    /// # Errors
    /// When `/proc` does not show them.
    pub fn observe(keeper: Option<i32>) -> io::Result<HostView> {
        let mut view = HostView { keeper, ..HostView::default() };
        let processes =
            std::iter::once("/proc/self".to_owned()).chain(keeper.map(|pid| format!("/proc/{pid}")));
        for path in processes {
            let process = rustix::fs::openat(CWD, path, FOLDER, Mode::empty())?;
            view.namespaces.extend(namespaces(&process)?);
            let mounts = Mounts::parse(&text(&process, "mountinfo")?);
            for mount in &mounts.0 {
                view.version_2 |= mount.fstype == "cgroup2";
                if mount.fstype == "cgroup" {
                    view.hierarchies.extend(mount.filesystem_options.iter().cloned());
                }
            }
            if let Some(root) = mounts.visible("/") {
                view.root = (root.device.clone(), root.root.clone());
            }
        }
        Ok(view)
    }

    /// Whether the hierarchy of a line of `/proc/PID/cgroup` is mounted: otherwise nobody can be moved in it.
    pub(super) fn has_hierarchy(&self, controllers: &str) -> bool {
        match controllers {
            "" => self.version_2,
            names => names.split(',').any(|name| self.hierarchies.contains(name)),
        }
    }
}

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

const HALF_A_PAGE: usize = 2048;
/// Longest file read; what is beyond is not there, and missed by the comparison.
const LONGEST: usize = 4 << 20;

/// The namespaces that the container is to join.
pub(super) fn outside(spec: &ContainerSpec, netns: Option<BorrowedFd<'_>>) -> Result<Outside, Failure> {
    let mut outside = Outside::default();
    if let Some(netns) = netns {
        let stat =
            rustix::fs::fstat(netns).map_err(|error| ("the network namespace".to_owned(), error.into()))?;
        outside.joined.push(("net", stat.st_ino));
    }
    let listed =
        spec.oci.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    for namespace in listed {
        let (Some(path), Some((name, _))) =
            (namespace.path(), KINDS.iter().find(|(_, kind)| *kind == namespace.typ()))
        else {
            continue;
        };
        let stat = rustix::fs::stat(path).map_err(|error| (path.display().to_string(), error.into()))?;
        outside.joined.push((name, stat.st_ino));
    }
    Ok(outside)
}

/// The namespaces of the process `first`, which a further one is to join.
pub(super) fn joined(first: i32) -> Result<BTreeMap<&'static str, u64>, Failure> {
    namespaces(&open(first)?).map_err(|error| ("ns".to_owned(), error))
}

fn open(pid: i32) -> Result<OwnedFd, Failure> {
    rustix::fs::openat(CWD, format!("/proc/{pid}"), FOLDER, Mode::empty())
        .map_err(|error| ("/proc".to_owned(), error.into()))
}

/// Reads everything that `expected` speaks of.
pub(super) fn observe(pid: i32, expected: &Expected) -> Result<Observed, Failure> {
    let of = |object: &str| {
        let object = object.to_owned();
        move |error: io::Error| (object, error)
    };
    let process = open(pid)?;
    let file = |name: &str| text(&process, name).map_err(of(name));
    let mut observed = Observed {
        status: Status::parse(&file("status")?),
        namespaces: namespaces(&process).map_err(of("ns"))?,
        cgroups: observed::cgroups(&file("cgroup")?),
        mounts: Mounts::parse(&file("mountinfo")?),
        root_mount: mount_of(&process, "root").map_err(of("root"))?,
        cwd_mount: mount_of(&process, "cwd").map_err(of("cwd"))?,
        descriptors: descriptors(&process).map_err(of("fd"))?,
        ..Observed::default()
    };
    if !expected.uid_map.is_empty() {
        observed.uid_map = observed::id_map(&file("uid_map")?);
        observed.gid_map = observed::id_map(&file("gid_map")?);
    }
    if !expected.limits.is_empty() {
        observed.limits = observed::limits(&file("limits")?);
    }
    if expected.oom_score.is_some() {
        observed.oom_score = file("oom_score_adj")?.trim().parse().ok();
    }
    observed.resources = resources(expected).map_err(of("the limits of the cgroup"))?;
    let paths = expected.to_look_up(&observed.mounts);
    if !paths.is_empty() {
        let root = rustix::fs::openat(&process, "root", FOLDER, Mode::empty());
        let root = root.map_err(|error| ("root".to_owned(), error.into()))?;
        for path in paths {
            let found = look_up(&root, path).map_err(of(path))?;
            observed.found.insert(path.to_owned(), found);
        }
    }
    Ok(observed)
}

fn namespaces(process: &OwnedFd) -> io::Result<BTreeMap<&'static str, u64>> {
    let mut found = BTreeMap::new();
    for (name, _) in KINDS {
        match rustix::fs::statat(process, format!("ns/{name}"), AtFlags::empty()) {
            Ok(stat) => {
                found.insert(name, stat.st_ino);
            }
            // A kernel without this kind.
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// A file of `/proc/PID`, to its end.
fn text(process: &OwnedFd, name: &str) -> io::Result<String> {
    let file = rustix::fs::openat(process, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = Vec::new();
    let mut buffer = [0_u8; 16 << 10];
    loop {
        let count = rustix::io::read(&file, &mut buffer)?;
        text.extend_from_slice(&buffer[..count]);
        // A page is filled as long as whole lines fit, so less than half of one is all there is: no line of
        // these files is longer than the other half, but those of a mount table.
        let is_all = count == 0 || (count < HALF_A_PAGE && name != "mountinfo");
        if is_all || text.len() > LONGEST {
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
    }
}

/// The id of the mount a magic link leads to.
fn mount_of(process: &OwnedFd, link: &str) -> io::Result<u64> {
    Ok(rustix::fs::statx(process, link, AtFlags::empty(), StatxFlags::MNT_ID)?.stx_mnt_id)
}

/// Since Linux 6.2 the directory's size is the number of open descriptors.
fn descriptors(process: &OwnedFd) -> io::Result<Option<u64>> {
    let stat = rustix::fs::statat(process, "fd", AtFlags::empty())?;
    Ok(u64::try_from(stat.st_size).ok().filter(|count| *count > 0))
}

/// The files of the cgroup that show the limits asked for, of whichever version the host has.
fn resources(expected: &Expected) -> io::Result<BTreeMap<(&'static str, &'static str), String>> {
    let mut files = BTreeMap::new();
    if expected.resources.is_empty() {
        return Ok(files);
    }
    let cgroup = Cgroup::open(&expected.cgroup).map_err(io::Error::other)?;
    for (what, _) in &expected.resources {
        let names: &[(&str, &str)] = match what {
            Limited::Pids => &[("pids", "pids.max")],
            Limited::Memory => &[("memory", "memory.max"), ("memory", "memory.limit_in_bytes")],
            Limited::Cpu => &[("cpu", "cpu.max"), ("cpu", "cpu.cfs_quota_us"), ("cpu", "cpu.cfs_period_us")],
        };
        for (controller, name) in names {
            // What the host's version does not have is not there; without any the comparison fails.
            if let Ok(text) = cgroup.get(controller, name) {
                files.insert((*controller, *name), text);
            }
        }
    }
    Ok(files)
}

/// Where a path of the container leads, never out of its root and through no magic link.
fn look_up(root: &OwnedFd, path: &str) -> io::Result<Found> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let file = match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Found::Absent),
        other => other?,
    };
    let wanted = StatxFlags::MNT_ID | StatxFlags::TYPE;
    let stat = rustix::fs::statx(&file, "", AtFlags::EMPTY_PATH, wanted)?;
    let character = FileType::from_raw_mode(u32::from(stat.stx_mode)) == FileType::CharacterDevice;
    Ok(Found::On {
        mount: stat.stx_mnt_id,
        null: character && (stat.stx_rdev_major, stat.stx_rdev_minor) == (1, 3),
        mount_root: stat.stx_attributes.bits() & MOUNT_ROOT != 0,
    })
}

/// `STATX_ATTR_MOUNT_ROOT`.
const MOUNT_ROOT: u64 = 0x2000;
