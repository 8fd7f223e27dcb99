//! The socket between the keeper and one child: whole messages, with descriptors.
//!
//! Two ends with a role each, so that neither can say what only the other may. A child whose keeper is gone
//! reads the end of the channel and leaves; a keeper never waits for a child longer than [`PATIENCE`].

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair, sockopt,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::message::{FromInit, ToInit};

/// How long the keeper waits for a child before it gives it up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest message.
const MOST_BYTES: usize = 32 << 10;
/// Most descriptors with a message.
const MOST_DESCRIPTORS: usize = 4;

/// The keeper's end.
#[derive(Debug)]
pub(crate) struct KeeperEnd(OwnedFd);

/// The child's end.
#[derive(Debug)]
pub(crate) struct InitEnd(OwnedFd);

/// A new channel.
pub(crate) fn pair() -> io::Result<(KeeperEnd, InitEnd)> {
    let (keeper, init) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&keeper, sockopt::Timeout::Recv, Some(PATIENCE))?;
    Ok((KeeperEnd(keeper), InitEnd(init)))
}

impl AsFd for KeeperEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl KeeperEnd {
    pub(crate) fn send(&self, message: &ToInit, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        send(self.0.as_fd(), message, descriptors)
    }

    /// `None` is the end of the channel: the child executed its program, or died.
    pub(crate) fn receive(&self) -> io::Result<Option<(FromInit, Vec<OwnedFd>)>> {
        receive(self.0.as_fd())
    }
}

impl KeeperEnd {
    /// The same role on a connection made otherwise.
    pub(crate) fn of(socket: OwnedFd) -> KeeperEnd {
        KeeperEnd(socket)
    }
}

impl InitEnd {
    /// The same role on a connection made otherwise.
    pub(crate) fn of(socket: OwnedFd) -> InitEnd {
        InitEnd(socket)
    }

    pub(crate) fn try_clone(&self) -> io::Result<InitEnd> {
        self.0.try_clone().map(InitEnd)
    }

    /// Leaves a descriptor that is closed already, or is to be closed by execve.
    pub(crate) fn forget(self) {
        std::mem::forget(self);
    }

    pub(crate) fn send(&self, message: &FromInit, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        send(self.0.as_fd(), message, descriptors)
    }

    /// `None` is the end of the channel: the keeper gave this child up, or is gone.
    pub(crate) fn receive(&self) -> io::Result<Option<(ToInit, Vec<OwnedFd>)>> {
        receive(self.0.as_fd())
    }

    pub(crate) fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

fn send(socket: BorrowedFd<'_>, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(message).map_err(io::Error::from)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    loop {
        match sendmsg(socket, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map(drop).map_err(io::Error::from),
        }
    }
}

fn receive<M: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
    let mut bytes = vec![0_u8; MOST_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let count = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            // A reset is how the end looks when the other side left something unread.
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            other => break other?.bytes,
        }
    };
    if count == 0 {
        return Ok(None);
    }
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    let message = serde_json::from_slice(&bytes[..count]).map_err(io::Error::from)?;
    Ok(Some((message, descriptors)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_arrive_with_their_message() {
        let (keeper, init) = pair().expect("a channel");
        let file = std::fs::File::open("/dev/null").expect("a file");
        keeper.send(&ToInit::Prepared, &[file.as_fd()]).expect("sent");
        let (message, descriptors) = init.receive().expect("received").expect("a message");
        assert!(matches!(message, ToInit::Prepared));
        assert_eq!(descriptors.len(), 1);
    }

    #[test]
    fn a_closed_end_is_the_end() {
        let (keeper, init) = pair().expect("a channel");
        drop(init);
        assert!(keeper.receive().expect("received").is_none());
    }
}
