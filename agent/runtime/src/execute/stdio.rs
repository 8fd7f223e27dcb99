//! The program's standard streams: pipes or a terminal, made in the child so that they belong to the
//! container's user and count against it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, OFlags, fchown};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Gid, Uid};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::container::WindowSize;
use crate::plan::step::Owner;
use crate::rootfs::{Links, RootFd, Target, mount};

/// Magic number of devpts, from `linux/magic.h`.
const DEVPTS_MAGIC: u64 = 0x1cd1;

/// Makes pipes, puts this process's ends in place and returns the keeper's: output, error, and input in front
/// when `stdin`.
pub(super) fn pipes(root: &RootFd, stdin: bool, owner: Owner) -> io::Result<Vec<OwnedFd>> {
    let mut keeper = Vec::with_capacity(3);
    if stdin {
        let (read, write) = pipe(owner)?;
        rustix::stdio::dup2_stdin(&read)?;
        keeper.push(write);
    } else {
        rustix::stdio::dup2_stdin(&open_null(root)?)?;
    }
    let (read, write) = pipe(owner)?;
    rustix::stdio::dup2_stdout(&write)?;
    keeper.push(read);
    let (read, write) = pipe(owner)?;
    rustix::stdio::dup2_stderr(&write)?;
    keeper.push(read);
    Ok(keeper)
}

/// A pipe the container's user may open again through `/dev/stdout` and the like.
fn pipe(owner: Owner) -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    if owner != (Owner { uid: 0, gid: 0 }) {
        fchown(&read, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
    }
    Ok((read, write))
}

fn open_null(root: &RootFd) -> io::Result<OwnedFd> {
    let null = root.open(Path::new("/dev/null"), Links::Refused, OFlags::RDWR)?;
    check_null(&null)?;
    Ok(null)
}

/// Refuses anything but the device 1:3.
pub(super) fn check_null(null: impl AsFd) -> io::Result<()> {
    let stat = rustix::fs::fstat(null)?;
    let device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if device && stat.st_rdev == rustix::fs::makedev(1, 3) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the container's /dev/null is not the null device"))
}

/// Makes a terminal of the container's own devpts, makes it this session's, puts it in place as standard
/// streams and, with `console`, as `/dev/console`, and returns the master side.
pub(super) fn terminal(root: &RootFd, size: WindowSize, owner: Owner, console: bool) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let master = root.open(Path::new("/dev/pts/ptmx"), Links::Refused, flags)?;
    if u64::try_from(rustix::fs::fstatfs(&master)?.f_type).unwrap_or(0) != DEVPTS_MAGIC {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the container's /dev/pts is not a devpts"));
    }
    rustix::pty::unlockpt(&master)?;
    // By descriptor: no name in the container's /dev/pts is trusted.
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    let window = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&slave, window)?;
    if owner.uid != 0 {
        fchown(&slave, Some(Uid::from_raw(owner.uid)), None)?;
    }
    if console {
        attach_console(root, &master, &slave)?;
    }
    rustix::process::ioctl_tiocsctty(&slave)?;
    rustix::stdio::dup2_stdin(&slave)?;
    rustix::stdio::dup2_stdout(&slave)?;
    rustix::stdio::dup2_stderr(&slave)?;
    Ok(master)
}

fn attach_console(root: &RootFd, master: &OwnedFd, slave: &OwnedFd) -> io::Result<()> {
    let name = rustix::pty::ptsname(master, Vec::new())?;
    let name = name.to_str().map_err(|_| Errno::ILSEQ)?;
    let found = root.find(Path::new(name), Links::Refused)?;
    let (there, ours) = (rustix::fs::fstat(&found)?, rustix::fs::fstat(slave)?);
    if (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{name} is not the terminal just made"),
        ));
    }
    let console = root.target(Path::new("/dev/console"), Target::File, Links::Refused)?;
    let bind = mount::clone(found.as_fd(), false)?;
    mount::attach(bind.as_fd(), console.as_fd())
}
