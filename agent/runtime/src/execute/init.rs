//! The child's side of a plan.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::process::{Gid, Uid};

use super::seal::Masks;
use super::{StepError, Timings, share, stdio, sysctl};
use crate::capabilities;
use crate::plan::Reaper;
use crate::plan::step::{Attributes, InitStep, Owner, Slot, Source};
use crate::process::channel::InitEnd;
use crate::process::message::{FromInit, Streams};
use crate::rootfs::{Links, RootFd, Target, mount};
use crate::seccomp::Instruction;
use crate::sys;
use crate::sys::mount::{MountAttr, mount_setattr};

/// What the child has: copies of what the keeper opened, and what it has made since.
#[derive(Debug)]
pub(crate) struct Init {
    pub slots: Vec<Option<OwnedFd>>,
    pub cgroup_trees: Vec<(String, OwnedFd)>,
    pub filter: Option<Rc<[Instruction]>>,
    /// Whether this process stays as process 1 beside the program.
    pub reaper: Option<Reaper>,
    /// `SECCOMP_FILTER_FLAG_*` bits to load it with.
    pub filter_flags: u32,
    /// Signals the keeper was started with as ignored.
    pub ignored_signals: u64,
    /// What hooks run in this process's namespaces are told; only the OCI command line has them.
    pub oci_state: Option<crate::oci::hook::HookState>,
    /// To the keeper; stays open until execve.
    pub channel: InitEnd,
    pub(super) root: RootFd,
    /// What covers paths.
    pub(super) masks: Masks,
    /// What was opened on the way. Closing it all at once in the end saves a call for each.
    pub(super) opened: Vec<OwnedFd>,
}

impl Init {
    pub(crate) fn new(host: super::host::Host<'_>, root: OwnedFd, channel: InitEnd) -> Init {
        Init::with_root(host, RootFd::new(root), channel)
    }

    pub(crate) fn with_root(host: super::host::Host<'_>, root: RootFd, channel: InitEnd) -> Init {
        Init {
            slots: host.slots,
            cgroup_trees: host.cgroup_trees,
            filter: None,
            reaper: None,
            filter_flags: 0,
            ignored_signals: 0,
            oci_state: None,
            channel,
            root,
            masks: Masks::default(),
            opened: Vec::new(),
        }
    }

    pub(crate) fn run(&mut self, steps: &[InitStep], timings: &mut Timings) -> Result<(), StepError> {
        for step in steps {
            let since = Instant::now();
            self.step(step).map_err(|source| StepError::new(step.name_and_object(), source))?;
            timings.add(&step.name_and_object().0, since);
        }
        Ok(())
    }

    fn step(&mut self, step: &InitStep) -> io::Result<()> {
        match step {
            InitStep::NewSession => {
                rustix::process::umask(Mode::from_raw_mode(0o022));
                rustix::process::setsid()?;
                sys::signal::reset(self.ignored_signals)
            }
            InitStep::Hide => Ok(nix::sys::prctl::set_dumpable(false)?),
            InitStep::OpenProc { slot, attributes } => self.open_proc(*slot, *attributes),
            InitStep::Join { slot, kind } => share::join(self.slot(*slot)?.as_fd(), *kind),
            InitStep::NewNamespaces { ipc, uts, network } => share::new_namespaces(*ipc, *uts, *network),
            InitStep::BecomeRoot(groups) => set_user(Owner { uid: 0, gid: 0 }, groups),
            InitStep::NewCgroupNamespace => Ok(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP)?),
            InitStep::PrivateMounts => {
                Ok(mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?)
            }
            // Over the root itself: the one directory that a user of a new namespace needs no right to get to.
            InitStep::AttachRoot => mount::attach_at(self.root.as_fd(), CWD, Path::new("/")),
            InitStep::Mount { source, at, attributes, strict } => {
                self.mount(source, at, *attributes, links(*strict))
            }
            InitStep::MountCgroupTrees { at, attributes } => self.mount_cgroups(at, *attributes),
            InitStep::BindDevice { slot, at } => self.bind_device(*slot, at),
            InitStep::Symlink { target, at } => self.root.symlink(Path::new(at), target),
            InitStep::OpenPipes { stdin, owner } => {
                let ends = stdio::pipes(&self.root, *stdin, *owner)?;
                self.hand_over(Streams::Pipes { stdin: *stdin }, &ends)
            }
            InitStep::OpenTerminal { size, owner, console } => {
                let master = stdio::terminal(&self.root, *size, *owner, *console)?;
                self.hand_over(Streams::Terminal, &[master])
            }
            InitStep::Mask(path) => self.mask(path),
            InitStep::ReadOnly(path) => self.make_read_only(path),
            InitStep::MakeDirectory(path) => {
                self.root.target(path, Target::Directory, Links::InRoot).map(drop)
            }
            InitStep::ReadOnlyRoot => mount::make_read_only(self.root.as_fd(), false),
            InitStep::Pivot => self.pivot(),
            InitStep::LoopbackUp => sys::link::loopback_up(),
            InitStep::SetHostname(name) => Ok(rustix::system::sethostname(name.as_bytes())?),
            InitStep::SetDomainname(name) => Ok(rustix::system::setdomainname(name.as_bytes())?),
            InitStep::SetSysctl { name, value } => {
                let sys = self.root.find(Path::new("/proc/sys"), Links::Refused)?;
                sysctl::write(sys, name, value)
            }
            InitStep::ChangeDirectory(path) => change_directory(path),
            InitStep::LimitCapabilities(keep) => capabilities::limit_bounding(*keep),
            InitStep::SetUser { owner, groups, umask } => {
                rustix::process::umask(Mode::from_raw_mode(*umask));
                set_user(*owner, groups)
            }
            InitStep::SetCapabilities { permitted, effective } => capabilities::set(*permitted, *effective),
            InitStep::NoNewPrivileges => Ok(rustix::thread::set_no_new_privs(true)?),
            InitStep::CloseDescriptors => self.close_descriptors(),
            InitStep::LoadSeccomp => sys::seccomp::load_filter(
                self.filter.as_deref().ok_or(io::ErrorKind::NotFound)?,
                self.filter_flags,
            ),
            InitStep::Oci(step) => self.oci_step(step),
        }
    }

    pub(super) fn slot(&self, slot: Slot) -> io::Result<&OwnedFd> {
        self.slots.get(slot.0).and_then(Option::as_ref).ok_or_else(|| Errno::BADF.into())
    }

    fn mount(&mut self, source: &Source, at: &Path, attributes: Attributes, links: Links) -> io::Result<()> {
        self.root.cover(at);
        match source {
            Source::New { fstype, options } => {
                let made = mount::new_filesystem(fstype, options, attributes)?;
                let place = self.root.place(at, Target::Directory, links)?;
                let opened = mount::attach_to(made.as_fd(), place)?;
                self.opened.extend(opened);
                match *fstype {
                    "tmpfs" if links == Links::Refused => self.root.add_fresh(at, made),
                    "proc" if links == Links::Refused => self.root.add_kernel(at, made),
                    _ => self.opened.push(made),
                }
            }
            Source::Kernel(slot) | Source::Fresh(slot) => {
                let from = self.slots.get_mut(slot.0).and_then(Option::take).ok_or(Errno::BADF)?;
                let place = self.root.place(at, Target::Directory, Links::Refused)?;
                let opened = mount::attach_to(from.as_fd(), place)?;
                self.opened.extend(opened);
                match source {
                    Source::Kernel(_) => self.root.add_kernel(at, from),
                    _ => {
                        self.masks.hosts_null |= at == Path::new("/dev");
                        self.root.add_fresh(at, from);
                    }
                }
            }
            Source::Slot(slot) => {
                let from = self.slot(*slot)?;
                let kind = FileType::from_raw_mode(rustix::fs::fstat(from)?.st_mode);
                let target = if kind == FileType::Directory { Target::Directory } else { Target::File };
                let opened = mount::attach_to(from.as_fd(), self.root.place(at, target, links)?)?;
                self.opened.extend(opened);
            }
        }
        Ok(())
    }

    /// Version 2: the hierarchy as the new cgroup namespace shows it. Version 1 and hybrid: a tmpfs with a
    /// directory per version 1 hierarchy, as tools for version 1 expect.
    fn mount_cgroups(&mut self, at: &Path, attributes: Attributes) -> io::Result<()> {
        let target = self.root.target(at, Target::Directory, Links::Refused)?;
        let trees = std::mem::take(&mut self.cgroup_trees);
        if trees.is_empty() {
            let cgroup2 = mount::new_filesystem("cgroup2", &[], attributes)?;
            return mount::attach(cgroup2.as_fd(), target.as_fd());
        }
        let writable = Attributes { set: attributes.set & !libc::MOUNT_ATTR_RDONLY, clear: 0 };
        let tmpfs = mount::new_filesystem("tmpfs", &["mode=755".to_owned()], writable)?;
        mount::attach(tmpfs.as_fd(), target.as_fd())?;
        for (name, tree) in &trees {
            rustix::fs::mkdirat(&tmpfs, name.as_str(), Mode::from_raw_mode(0o755))?;
            mount::attach_at(tree.as_fd(), tmpfs.as_fd(), Path::new(name))?;
            if name.contains(',') {
                // A hierarchy of two controllers is found by the name of either.
                for controller in name.split(',') {
                    rustix::fs::symlinkat(name.as_str(), &tmpfs, controller)?;
                }
            }
        }
        mount_setattr(tmpfs.as_fd(), true, &MountAttr { set: attributes.set, ..MountAttr::default() })
    }

    fn open_proc(&mut self, slot: Slot, attributes: Attributes) -> io::Result<()> {
        let made = mount::new_filesystem("proc", &[], attributes)?;
        *self.slots.get_mut(slot.0).ok_or(Errno::BADF)? = Some(made);
        Ok(())
    }

    fn bind_device(&mut self, slot: Slot, at: &Path) -> io::Result<()> {
        let place = self.root.place(at, Target::File, Links::Refused)?;
        let opened = mount::attach_to(self.slot(slot)?.as_fd(), place)?;
        self.opened.extend(opened);
        Ok(())
    }

    /// The old root is covered by nothing and then gone: no path leads to it, not even a name to unmount.
    fn pivot(&self) -> io::Result<()> {
        rustix::process::fchdir(&self.root)?;
        rustix::process::pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        Ok(rustix::process::chdir("/")?)
    }

    pub(super) fn hand_over(&self, streams: Streams, ends: &[OwnedFd]) -> io::Result<()> {
        let ends: Vec<BorrowedFd<'_>> = ends.iter().map(AsFd::as_fd).collect();
        self.channel.send(&FromInit::Streams(streams), &ends)
    }

    /// What is left owns nothing any more: this process goes on to execve or `_exit`.
    fn close_descriptors(&self) -> io::Result<()> {
        let channel = self.channel.number().unsigned_abs();
        sys::descriptor::close_range(3, channel.saturating_sub(1))?;
        sys::descriptor::close_range(channel.saturating_add(1).max(3), u32::MAX)
    }
}

fn links(strict: bool) -> Links {
    if strict { Links::Refused } else { Links::InRoot }
}

fn set_user(owner: Owner, groups: &[u32]) -> io::Result<()> {
    let groups: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    rustix::thread::set_thread_groups(&groups)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    Ok(rustix::thread::set_thread_res_uid(uid, uid, uid)?)
}

/// Enters the working directory without magic links, and checks that it has a name under the root: one that
/// lies outside would be a way out.
fn change_directory(path: &Path) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let root = rustix::fs::openat(CWD, "/", flags, Mode::empty())?;
    let directory = rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve)?;
    rustix::process::fchdir(&directory)?;
    let current = rustix::process::getcwd(Vec::new())?;
    if current.to_bytes().starts_with(b"/") {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "the working directory is outside the container"))
}
