//! A terminal whose master side somebody else asked for.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{OFlags, fchown};
use rustix::process::Uid;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::container::WindowSize;
use crate::plan::step::Owner;
use crate::rootfs::{Links, RootFd, Target, mount};

/// Makes a terminal of the container's devpts, makes it this session's and its standard streams, with `console`
/// also attaches it as `/dev/console`, and returns the master side.
pub(crate) fn open(root: &RootFd, size: WindowSize, owner: Owner, console: bool) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let master = root.open(Path::new("/dev/pts/ptmx"), Links::Refused, flags)?;
    rustix::pty::unlockpt(&master)?;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    if size.rows != 0 || size.columns != 0 {
        let window = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&slave, window)?;
    }
    if owner.uid != 0 {
        fchown(&slave, Some(Uid::from_raw(owner.uid)), None)?;
    }
    if console {
        let name = rustix::pty::ptsname(&master, Vec::new())?;
        let name = name.to_str().map_err(|_| io::ErrorKind::InvalidData)?.to_owned();
        let found = root.find(Path::new(&name), Links::Refused)?;
        let (there, ours) = (rustix::fs::fstat(&found)?, rustix::fs::fstat(&slave)?);
        if (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino) {
            return Err(io::Error::other(format!("{name} is not the terminal just made")));
        }
        let target = root.target(Path::new("/dev/console"), Target::File, Links::Refused)?;
        let bind = mount::clone(found.as_fd(), false)?;
        mount::attach(bind.as_fd(), target.as_fd())?;
    }
    rustix::process::ioctl_tiocsctty(&slave)?;
    rustix::stdio::dup2_stdin(&slave)?;
    rustix::stdio::dup2_stdout(&slave)?;
    rustix::stdio::dup2_stderr(&slave)?;
    Ok(master)
}
