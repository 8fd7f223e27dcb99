//! Terminals of containers: whose they are, and relaying one to the caller's own.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType,
};
use rustix::termios::OptionalActions;

use super::OciError;
use super::error::cannot;

/// Who gets the master side of a container's terminal.
#[derive(Debug, Clone, Copy)]
pub enum Console<'a> {
    /// Nobody: a configuration with a terminal is refused.
    None,
    /// Whoever listens on this unix socket.
    Socket(&'a Path),
    /// The caller itself.
    Caller,
}

pub(super) fn check(console: &Console<'_>, terminal: bool) -> Result<(), OciError> {
    let text = match (console, terminal) {
        (Console::None, true) => "process.terminal is true: give a console socket that takes the terminal",
        (Console::Socket(_), false) => "a console socket was given, but process.terminal is false",
        _ => return Ok(()),
    };
    Err(OciError::Usage(text.to_owned()))
}

/// Gives the master side to whom it is for; what is left is the caller's.
pub(super) fn hand_over(
    console: &Console<'_>,
    descriptors: Vec<OwnedFd>,
) -> Result<Option<OwnedFd>, OciError> {
    let master = descriptors.into_iter().next();
    match (console, master) {
        (Console::Socket(path), Some(master)) => {
            send(path, master.as_fd()).map_err(cannot(format!("send the terminal to {}", path.display())))?;
            Ok(None)
        }
        (_, master) => Ok(master),
    }
}

fn send(path: &Path, master: BorrowedFd<'_>) -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [master];
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // The name is for people: takers look at the descriptor.
    let name = [io::IoSlice::new(b"/dev/ptmx")];
    rustix::net::sendmsg(&socket, &name, &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Connects the caller's standard streams with a terminal until its other side is closed. If standard input is a
/// terminal it is in raw mode meanwhile.
pub fn relay(master: &OwnedFd) -> io::Result<()> {
    let (input, output) = (rustix::stdio::stdin(), rustix::stdio::stdout());
    let before = rustix::termios::tcgetattr(input).ok();
    if let Some(before) = &before {
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(input, OptionalActions::Now, &raw)?;
        if let Ok(size) = rustix::termios::tcgetwinsize(input) {
            rustix::termios::tcsetwinsize(master, size)?;
        }
    }
    let result = pump(master, input, output);
    if let Some(before) = &before {
        rustix::termios::tcsetattr(input, OptionalActions::Now, before)?;
    }
    result
}

fn pump(master: &OwnedFd, input: BorrowedFd<'_>, output: BorrowedFd<'_>) -> io::Result<()> {
    let mut reads = true;
    let mut buffer = [0_u8; 16 << 10];
    loop {
        let mut events = [PollFd::new(master, PollFlags::IN), PollFd::new(&input, PollFlags::IN)];
        let watched = if reads { &mut events[..] } else { &mut events[..1] };
        match poll(watched, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let ready = |index: usize| watched.get(index).is_some_and(|event| !event.revents().is_empty());
        let (from_master, from_input) = (ready(0), ready(1));
        if from_master {
            match rustix::io::read(master, &mut buffer) {
                // How a terminal whose other side is closed reads.
                Ok(0) | Err(rustix::io::Errno::IO) => return Ok(()),
                Ok(count) => write_all(output, &buffer[..count])?,
                Err(error) => return Err(error.into()),
            }
        }
        if from_input {
            match rustix::io::read(input, &mut buffer)? {
                0 => {
                    reads = false;
                    // What the terminal's line discipline takes for the end.
                    write_all(master.as_fd(), &[4])?;
                }
                count => write_all(master.as_fd(), &buffer[..count])?,
            }
        }
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        bytes = &bytes[rustix::io::write(to, bytes)?..];
    }
    Ok(())
}
