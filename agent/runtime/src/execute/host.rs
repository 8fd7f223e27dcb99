//! The keeper's side of a plan.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Resource as Limit, Rlimit};
use rustix::thread::LinkNameSpaceType;

use super::{StepError, Timings, device, sysctl};
use crate::cgroup::Cgroup;
use crate::plan::step::{Attributes, DeviceNumber, HostStep, IdMap, IdMaps, Resource, Slot};
use crate::rootfs::mount;
use crate::rootfs::overlay::{self, Layers};
use crate::sys::mount::{MountAttr, mount_setattr};

/// What the host steps have opened so far.
#[derive(Debug)]
pub(crate) struct Host<'a> {
    pub(super) cgroup: &'a Cgroup,
    staging: &'a Path,
    /// Mounts handed over, until they are taken.
    pub given: Vec<Option<OwnedFd>>,
    /// Filled by position; the child uses its copies.
    pub slots: Vec<Option<OwnedFd>>,
    /// Version 1 cgroup directories by name.
    pub cgroup_trees: Vec<(String, OwnedFd)>,
    /// The root filesystem, detached.
    pub root: Option<OwnedFd>,
    child: Option<Child>,
}

/// The child, once there is one.
#[derive(Debug)]
struct Child {
    pid: i32,
    /// `/proc/PID`.
    proc: OwnedFd,
    userns: Option<OwnedFd>,
    in_v2_cgroup: bool,
}

impl<'a> Host<'a> {
    pub(crate) fn new(cgroup: &'a Cgroup, staging: &'a Path, slots: usize) -> Host<'a> {
        let slots = std::iter::repeat_with(|| None).take(slots).collect();
        Host { cgroup, staging, given: Vec::new(), slots, cgroup_trees: Vec::new(), root: None, child: None }
    }

    /// What was opened for the child so far, for the child alone; the root, which comes later, is not part of it.
    pub(crate) fn take(&mut self) -> Host<'a> {
        let mut taken = Host::new(self.cgroup, self.staging, 0);
        taken.cgroup_trees = std::mem::take(&mut self.cgroup_trees);
        taken.slots = std::mem::take(&mut self.slots);
        taken
    }

    /// Tells which process later steps are about; it is this process's child and not reaped yet.
    pub(crate) fn set_child(&mut self, pid: i32, in_v2_cgroup: bool) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let proc = rustix::fs::openat(CWD, format!("/proc/{pid}"), flags, Mode::empty())?;
        self.child = Some(Child { pid, proc, userns: None, in_v2_cgroup });
        Ok(())
    }

    pub(crate) fn run(&mut self, steps: &[HostStep], timings: &mut Timings) -> Result<(), StepError> {
        for step in steps {
            let since = Instant::now();
            self.step(step).map_err(|source| StepError::new(step.name_and_object(), source))?;
            timings.add(&step.name_and_object().0, since);
        }
        Ok(())
    }

    fn step(&mut self, step: &HostStep) -> io::Result<()> {
        match step {
            HostStep::CreateCgroup => self.cgroup.create().map_err(io::Error::other),
            HostStep::SetLimit { controller, file, value, optional } => {
                match self.cgroup.set(controller, file, value) {
                    Err(error) if *optional && error.kind() == io::ErrorKind::NotFound => Ok(()),
                    other => other,
                }
            }
            HostStep::SetEither { controller, files } => self.set_either(controller, files),
            HostStep::LimitDevices(rules) => self.cgroup.limit_devices(rules),
            HostStep::OpenFilesystem { slot, fstype, options, attributes } => {
                let made = mount::new_filesystem(fstype, options, *attributes)?;
                self.fill(*slot, made)
            }
            HostStep::MakeDev { slot, options, attributes, owner, nodes } => {
                self.fill(*slot, device::filesystem(options, *attributes, *owner, nodes)?)
            }
            HostStep::MakeDevices(devices) => {
                let made = device::make(devices, self.staging)?;
                devices.iter().zip(made).try_for_each(|(device, mount)| self.fill(device.slot, mount))
            }
            HostStep::OpenDevice { slot, path, number } => self.fill(*slot, open_device(path, *number)?),
            HostStep::OpenBind { slot, source, recursive, attributes, slave } => {
                let bind = open_bind(source, *recursive, *attributes, *slave)?;
                self.fill(*slot, bind)
            }
            HostStep::TakeMount { slot, index } => {
                let taken = self.given.get_mut(*index).and_then(Option::take);
                self.fill(*slot, taken.ok_or(Errno::BADF)?)
            }
            HostStep::MapTaken(slot) => self.map_taken(*slot),
            HostStep::OpenCgroupTrees => self.cgroup.v1_trees().map(|trees| self.cgroup_trees = trees),
            HostStep::SetNetworkSysctl { name, value } => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                // Resolved afresh: this directory shows the network namespace of whoever looks it up.
                let sys = rustix::fs::openat(CWD, "/proc/sys", flags, Mode::empty())?;
                sysctl::write(&sys, name, value)
            }
            HostStep::OpenNamespace { slot, path } => self.open_namespace(*slot, path),
            HostStep::WriteIdMaps(maps) => self.write_id_maps(maps),
            HostStep::MapAs(slot) => self.map_as(*slot),
            HostStep::EnterCgroup => {
                let child = self.child()?;
                self.cgroup.enter(child.pid, child.in_v2_cgroup).map_err(io::Error::other)
            }
            HostStep::MapBind(slot) => {
                let attr = MountAttr::default().id_map(self.userns()?);
                let bind = self.slots.get(slot.0).and_then(Option::as_ref).ok_or(Errno::BADF)?;
                mount_setattr(bind.as_fd(), true, &attr)
            }
            HostStep::SetLimitOfProcess { resource, soft, hard } => self.set_limit(*resource, *soft, *hard),
            HostStep::SetOomScore(score) => self.write_proc("oom_score_adj", &score.to_string()),
            HostStep::OpenOverlay { lower, upper, work, mapped } => {
                let userns = if *mapped { Some(self.userns()?) } else { None };
                let layers = Layers { lower, upper, work, userns, staging: self.staging };
                self.root = Some(overlay::open(&layers)?);
                Ok(())
            }
            HostStep::OpenRootDirectory { path, read_only, nodev } => {
                let bit = |wanted: bool, bit: u64| if wanted { bit } else { 0 };
                let set = bit(*read_only, libc::MOUNT_ATTR_RDONLY) | bit(*nodev, libc::MOUNT_ATTR_NODEV);
                self.root = Some(open_bind(path, true, Attributes { set, clear: 0 }, false)?);
                Ok(())
            }
            HostStep::Oci(step) => self.oci_step(step),
        }
    }

    fn map_taken(&self, slot: Slot) -> io::Result<()> {
        let attr = MountAttr::default().id_map(self.userns()?);
        let taken = self.slots.get(slot.0).and_then(Option::as_ref).ok_or(Errno::BADF)?;
        for recursive in [true, false] {
            match mount_setattr(taken.as_fd(), recursive, &attr) {
                // What the kernel says of filesystems that cannot map ids, and of mounts that map some already.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EPERM)) => {}
                done => return done,
            }
        }
        Ok(())
    }

    fn set_either(&self, controller: &str, files: &[(&str, String); 2]) -> io::Result<()> {
        for (file, value) in files {
            match self.cgroup.set(controller, file, value) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => return done,
            }
        }
        Err(io::Error::new(io::ErrorKind::Unsupported, "this kernel's disk scheduler has no weights"))
    }

    pub(super) fn fill(&mut self, slot: Slot, descriptor: OwnedFd) -> io::Result<()> {
        *self.slots.get_mut(slot.0).ok_or(Errno::BADF)? = Some(descriptor);
        Ok(())
    }

    fn child(&self) -> io::Result<&Child> {
        self.child.as_ref().ok_or_else(|| Errno::SRCH.into())
    }

    fn userns(&self) -> io::Result<BorrowedFd<'_>> {
        self.child()?.userns.as_ref().map(AsFd::as_fd).ok_or_else(|| Errno::BADF.into())
    }

    fn write_id_maps(&mut self, maps: &IdMaps) -> io::Result<()> {
        self.write_proc("uid_map", &map_text(&maps.uids))?;
        self.write_proc("gid_map", &map_text(&maps.gids))?;
        let Some(child) = &mut self.child else { return Err(Errno::SRCH.into()) };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        child.userns = Some(rustix::fs::openat(&child.proc, "ns/user", flags, Mode::empty())?);
        Ok(())
    }

    fn open_namespace(&mut self, slot: Slot, path: &Path) -> io::Result<()> {
        let opened = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        self.fill(slot, opened)
    }

    fn map_as(&mut self, slot: Slot) -> io::Result<()> {
        let joined = self.slots.get(slot.0).and_then(Option::as_ref).ok_or(Errno::BADF)?.try_clone()?;
        let Some(child) = &mut self.child else { return Err(Errno::SRCH.into()) };
        child.userns = Some(joined);
        Ok(())
    }

    fn write_proc(&self, file: &str, value: &str) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(&self.child()?.proc, file, flags, Mode::empty())?;
        match rustix::io::write(&file, value.as_bytes())? {
            count if count == value.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    fn set_limit(&self, resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
        let pid = Pid::from_raw(self.child()?.pid).ok_or(Errno::SRCH)?;
        // `None` is infinity, which the specification writes as the largest number.
        let limit = |value: u64| (value != u64::MAX).then_some(value);
        let new = Rlimit { current: limit(soft), maximum: limit(hard) };
        let kind = limit_kind(resource)?;
        match rustix::process::prlimit(Some(pid), kind, new) {
            // A keeper that may not raise limits gives what it has: less than asked for confines more.
            Err(Errno::PERM) => {
                let most = rustix::process::getrlimit(kind).maximum.unwrap_or(u64::MAX);
                let new = Rlimit { current: limit(soft.min(most)), maximum: limit(hard.min(most)) };
                Ok(rustix::process::prlimit(Some(pid), kind, new).map(drop)?)
            }
            other => Ok(other.map(drop)?),
        }
    }
}

pub(super) fn map_text(maps: &[IdMap]) -> String {
    maps.iter().map(|map| format!("{} {} {}\n", map.container, map.host, map.size)).collect()
}

fn open_device(path: &Path, number: DeviceNumber) -> io::Result<OwnedFd> {
    let device = mount::clone_path(path, false)?;
    let stat = rustix::fs::fstat(&device)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let wanted = if number.character { FileType::CharacterDevice } else { FileType::BlockDevice };
    if kind != wanted || stat.st_rdev != rustix::fs::makedev(number.major, number.minor) {
        let text = format!("the host's {} is not device {}:{}", path.display(), number.major, number.minor);
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(device)
}

fn open_bind(source: &Path, recursive: bool, attributes: Attributes, slave: bool) -> io::Result<OwnedFd> {
    let bind = mount::clone_path(source, recursive)?;
    if FileType::from_raw_mode(rustix::fs::fstat(&bind)?.st_mode) == FileType::Symlink {
        return Err(Errno::LOOP.into());
    }
    let propagation = if slave { libc::MS_SLAVE } else { libc::MS_PRIVATE };
    let attr = MountAttr { set: attributes.set, clear: attributes.clear, propagation, userns: 0 };
    mount_setattr(bind.as_fd(), recursive, &attr)?;
    Ok(bind)
}

fn limit_kind(resource: Resource) -> io::Result<Limit> {
    Ok(match resource.0 {
        0 => Limit::Cpu,
        1 => Limit::Fsize,
        2 => Limit::Data,
        3 => Limit::Stack,
        4 => Limit::Core,
        5 => Limit::Rss,
        6 => Limit::Nproc,
        7 => Limit::Nofile,
        8 => Limit::Memlock,
        9 => Limit::As,
        10 => Limit::Locks,
        11 => Limit::Sigpending,
        12 => Limit::Msgqueue,
        13 => Limit::Nice,
        14 => Limit::Rtprio,
        15 => Limit::Rttime,
        _ => return Err(Errno::INVAL.into()),
    })
}

/// Stays in another network namespace until it is dropped, and then goes back.
#[derive(Debug)]
pub(crate) struct Visit<'a> {
    home: Option<BorrowedFd<'a>>,
}

impl<'a> Visit<'a> {
    /// Enters `netns`; `home` is the namespace to go back to.
    pub(crate) fn enter(netns: BorrowedFd<'_>, home: BorrowedFd<'a>) -> io::Result<Visit<'a>> {
        rustix::thread::move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))?;
        Ok(Visit { home: Some(home) })
    }

    /// Goes back, and says when that failed: the caller must not go on from where it is then.
    pub(crate) fn leave(mut self) -> io::Result<()> {
        match self.home.take() {
            Some(home) => {
                Ok(rustix::thread::move_into_link_name_space(home, Some(LinkNameSpaceType::Network))?)
            }
            None => Ok(()),
        }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            // Only on the way out of another error, which is the one to report; the descriptor was opened by
            // this process for this purpose, so the kernel has no reason to refuse it.
            let _ = rustix::thread::move_into_link_name_space(home, Some(LinkNameSpaceType::Network));
        }
    }
}
