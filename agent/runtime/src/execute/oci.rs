//! The steps that only the OCI command line has, on both sides of the clone.

mod copy_up;
mod mount;
mod terminal;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_change};

use super::host::{Host, map_text};
use super::init::Init;
use crate::capabilities;
use crate::plan::oci::step::{Node, OciHostStep, OciStep, Schedule};
use crate::plan::step::IdMaps;
use crate::process::fork::fork;
use crate::process::message::{FromInit, Streams, ToInit};
use crate::rootfs::{Links, Target};
use crate::sys;
use crate::sys::mount::{MountAttr, mount_setattr};

/// Links every container has, and what they say.
const LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

impl Host<'_> {
    pub(super) fn oci_step(&mut self, step: &OciHostStep) -> io::Result<()> {
        match step {
            OciHostStep::AdoptCgroup => self.cgroup.adopt().map(drop).map_err(io::Error::other),
            OciHostStep::SetFile { controller, file, value } => {
                match self.cgroup.set(controller, file, value) {
                    // The weight has had two names.
                    Err(error) if error.kind() == io::ErrorKind::NotFound && file == "blkio.bfq.weight" => {
                        self.cgroup.set(controller, "blkio.weight", value)
                    }
                    other => other,
                }
            }
            OciHostStep::LimitDevices(rules) => self.cgroup.limit_devices(rules),
            OciHostStep::OpenBind { slot, source, recursive, attributes, below, propagation } => {
                let bind = mount::open_bind(source, *recursive, *attributes, *below, *propagation)?;
                self.fill(*slot, bind)
            }
            OciHostStep::MapBind { slot, recursive, maps } => {
                let userns = user_namespace(maps)?;
                let bind = self.slots.get(slot.0).and_then(Option::as_ref).ok_or(Errno::BADF)?;
                let attr = MountAttr::default().id_map(userns.as_fd());
                mount_setattr(bind.as_fd(), *recursive, &attr)
            }
            OciHostStep::OpenPlainRoot(path) => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                self.root = Some(rustix::fs::openat(CWD, path, flags, Mode::empty())?);
                Ok(())
            }
        }
    }
}

/// A user namespace with these maps, kept by its descriptor alone.
fn user_namespace(maps: &IdMaps) -> io::Result<OwnedFd> {
    let (waits, until) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let new = u64::from(libc::CLONE_NEWUSER.unsigned_abs());
    let (pid, pidfd) = fork(new, None, || {
        // Until the other end is closed: this process is only there for its namespace.
        let mut byte = [0];
        let _ = rustix::io::read(&waits, &mut byte);
    })?;
    let opened = (|| {
        let write = |file: &str, text: String| -> io::Result<()> {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            let file = rustix::fs::open(format!("/proc/{pid}/{file}"), flags, Mode::empty())?;
            Ok(rustix::io::write(&file, text.as_bytes()).map(drop)?)
        };
        write("uid_map", map_text(&maps.uids))?;
        write("gid_map", map_text(&maps.gids))?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(format!("/proc/{pid}/ns/user"), flags, Mode::empty())?)
    })();
    drop(until);
    let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
    let reaped = rustix::process::WaitId::PidFd(pidfd.as_fd());
    let _ = rustix::process::waitid(reaped, rustix::process::WaitIdOptions::EXITED);
    opened
}

impl Init {
    pub(super) fn oci_step(&mut self, step: &OciStep) -> io::Result<()> {
        match step {
            OciStep::JoinMounts(slot) => {
                let namespace = self.slot(*slot)?;
                sys::task::set_namespace(namespace.as_fd(), u64::from(libc::CLONE_NEWNS.unsigned_abs()))
            }
            OciStep::Propagation(flags) | OciStep::RootPropagation(flags) => {
                let flags = propagation(*flags) | MountPropagationFlags::REC;
                Ok(mount_change("/", flags)?)
            }
            OciStep::AttachRoot(path) => self.attach_root(path),
            OciStep::Mount { mount, at } => self.new_mount(mount, at),
            OciStep::AttachBind { slot, at } => self.attach_bind(*slot, at),
            OciStep::Remount { at, attributes } => {
                let found = self.root.find(at, Links::InRoot)?;
                let attr = MountAttr { set: attributes.set, clear: attributes.clear, ..MountAttr::default() };
                mount_setattr(found.as_fd(), false, &attr)
            }
            OciStep::MakeDevice { at, node } => self.make_device(at, node),
            OciStep::DefaultLinks => self.default_links(),
            OciStep::Terminal { size, owner, console } => {
                let master = terminal::open(&self.root, *size, *owner, *console)?;
                self.hand_over(Streams::Terminal, &[master])
            }
            OciStep::OwnStreams(owner) => own_streams(owner.uid),
            OciStep::Rendezvous => self.rendezvous(),
            OciStep::RunHooks(hooks) => {
                let state = self.oci_state.as_ref().ok_or(io::ErrorKind::NotFound)?;
                crate::oci::hook::run_all(hooks, &state.in_container("creating")).map_err(io::Error::other)
            }
            OciStep::Chroot => {
                rustix::process::fchdir(&self.root)?;
                rustix::process::chroot(".")?;
                Ok(rustix::process::chdir("/")?)
            }
            OciStep::Personality(persona) => sys::task::set_personality(*persona),
            OciStep::Schedule(schedule) => set_schedule(*schedule),
            OciStep::IoPriority(class, level) => sys::task::set_io_priority(*class, *level),
            OciStep::KeepCapabilities => Ok(rustix::thread::set_keep_capabilities(true)?),
            OciStep::SetCapabilities(sets) => {
                capabilities::set_all(sets.permitted, sets.effective, sets.inheritable, sets.ambient)?;
                Ok(rustix::thread::set_keep_capabilities(false)?)
            }
            OciStep::Label { file, value } => label(file, value),
        }
    }

    /// Where the bundle has it, so that hooks find it there. A user of a new namespace may have no right to get
    /// to that directory; then over the root itself, which needs none.
    fn attach_root(&self, path: &Path) -> io::Result<()> {
        match crate::rootfs::mount::attach_at(self.root.as_fd(), CWD, path) {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound) =>
            {
                crate::rootfs::mount::attach_at(self.root.as_fd(), CWD, Path::new("/"))
            }
            other => other,
        }
    }

    fn make_device(&self, at: &Path, node: &Node) -> io::Result<()> {
        let (Some(parent), Some(name)) = (at.parent(), at.file_name()) else {
            return Err(Errno::INVAL.into());
        };
        let parent = self.root.target(parent, Target::Directory, Links::InRoot)?;
        let kind = match node.kind {
            'b' => FileType::BlockDevice,
            'p' => FileType::Fifo,
            _ => FileType::CharacterDevice,
        };
        let number = if node.kind == 'p' { 0 } else { rustix::fs::makedev(node.major, node.minor) };
        match rustix::fs::mknodat(&parent, name, kind, Mode::from_raw_mode(node.mode), number) {
            Err(Errno::EXIST) => {
                let there = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(there.st_mode) != kind || there.st_rdev != number {
                    let text = "a file that is not this device is there already";
                    return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
                }
            }
            other => other?,
        }
        rustix::fs::chmodat(&parent, name, Mode::from_raw_mode(node.mode), AtFlags::empty())?;
        let (uid, gid) = (Uid::from_raw(node.owner.uid), Gid::from_raw(node.owner.gid));
        Ok(rustix::fs::chownat(&parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Each only where what it says exists, and where nothing has its name yet.
    fn default_links(&self) -> io::Result<()> {
        let there = |path: &str| self.root.find(Path::new(path), Links::InRoot).is_ok();
        let dev = match self.root.find(Path::new("/dev"), Links::InRoot) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        let link = |at: &str, target: &str| {
            let name = at.strip_prefix("/dev/").unwrap_or(at);
            match rustix::fs::symlinkat(target, &dev, name) {
                Ok(()) | Err(Errno::EXIST) => Ok(()),
                Err(error) => Err(io::Error::from(error)),
            }
        };
        if there("/proc/self/fd") {
            for (at, target) in LINKS {
                link(at, target)?;
            }
        }
        if there("/proc/kcore") {
            link("/dev/core", "/proc/kcore")?;
        }
        if there("/dev/pts/ptmx") {
            // One of an image would be the host's.
            match rustix::fs::unlinkat(&dev, "ptmx", AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
            link("/dev/ptmx", "pts/ptmx")?;
        }
        Ok(())
    }

    /// Everything of the container is there but its root is not entered yet: what the hooks are promised.
    fn rendezvous(&self) -> io::Result<()> {
        self.channel.send(&FromInit::Ready { timings: Vec::new() }, &[])?;
        match self.channel.receive()? {
            Some((ToInit::Prepared, _)) => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

fn propagation(flags: u64) -> MountPropagationFlags {
    MountPropagationFlags::from_bits_retain(u32::try_from(flags).unwrap_or(0))
}

/// What of the standard streams is not everybody's already; those that cannot be given away are left.
fn own_streams(uid: u32) -> io::Result<()> {
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let Ok(stat) = rustix::fs::fstat(stream) else { continue };
        let null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && stat.st_rdev == rustix::fs::makedev(1, 3);
        if !null && stat.st_uid != uid {
            let _ = rustix::fs::fchown(stream, Some(Uid::from_raw(uid)), None);
        }
    }
    Ok(())
}

fn set_schedule(schedule: Schedule) -> io::Result<()> {
    let [runtime, deadline, period] = schedule.deadline;
    sys::task::set_scheduling(sys::task::Scheduling {
        policy: schedule.policy,
        flags: schedule.flags,
        nice: schedule.nice,
        priority: schedule.priority,
        runtime,
        deadline,
        period,
        ..sys::task::Scheduling::default()
    })
}

fn label(file: &str, value: &str) -> io::Result<()> {
    let path = format!("/proc/thread-self/attr/{file}");
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(rustix::io::write(&file, value.as_bytes()).map(drop)?)
}
