//! One attached client: a stream socket that gets a container's output and
//! gives it input. Its buffer is bounded; while it is full the container's
//! output is not read, so a slow client loses nothing. A client that has gone
//! is dropped and slows nobody.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::output::Source;

/// So many bytes wait for one client before the container's output is paused.
pub(crate) const HIGH_WATER: usize = 256 * 1024;

/// One attached client.
#[derive(Debug)]
pub(crate) struct Peer {
    socket: OwnedFd,
    framed: bool,
    waiting: VecDeque<u8>,
    /// Its input has ended or it does not listen to it any more.
    pub(crate) input_closed: bool,
    /// The container's output has ended: close once everything is sent.
    pub(crate) finishing: bool,
}

/// What came of sending.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It goes on.
    Open,
    /// The client has gone, or everything is sent and nothing will follow.
    Over,
}

impl Peer {
    pub(crate) fn new(socket: OwnedFd, framed: bool) -> Peer {
        Peer { socket, framed, waiting: VecDeque::new(), input_closed: false, finishing: false }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(crate) fn queue(&mut self, source: Source, bytes: &[u8]) {
        if self.framed {
            // A chunk is what one read returned, far below 4 GiB.
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            self.waiting.extend([source.frame_type(), 0, 0, 0]);
            self.waiting.extend(length.to_be_bytes());
        }
        self.waiting.extend(bytes);
    }

    /// The container takes no input any more: the client's next write fails.
    pub(crate) fn refuse_input(&mut self) {
        self.input_closed = true;
        // Fails only when the client has gone, which the next event tells.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Read);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= HIGH_WATER
    }

    pub(crate) fn has_output(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sends what the socket takes now.
    pub(crate) fn send(&mut self) -> Sent {
        while !self.waiting.is_empty() {
            let (front, back) = self.waiting.as_slices();
            let slices = [IoSlice::new(front), IoSlice::new(back)];
            let mut control = rustix::net::SendAncillaryBuffer::default();
            let flags = rustix::net::SendFlags::NOSIGNAL | rustix::net::SendFlags::DONTWAIT;
            match rustix::net::sendmsg(&self.socket, &slices, &mut control, flags) {
                Ok(count) => {
                    self.waiting.drain(..count);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Sent::Open,
                Err(_) => return Sent::Over,
            }
        }
        if self.waiting.capacity() > HIGH_WATER {
            self.waiting = VecDeque::new();
        }
        if self.finishing { Sent::Over } else { Sent::Open }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn frames_are_those_of_docker() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut peer = Peer::new(ours.into(), true);
        peer.queue(Source::Stdout, b"ab");
        peer.queue(Source::Stderr, b"c");
        peer.finishing = true;
        assert_eq!(peer.send(), Sent::Over);
        drop(peer);
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).unwrap();
        assert_eq!(got, b"\x01\0\0\0\0\0\0\x02ab\x02\0\0\0\0\0\0\x01c");
    }

    #[test]
    fn a_full_client_keeps_its_bytes_and_a_gone_one_is_over() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut peer = Peer::new(ours.into(), false);
        peer.queue(Source::Stdout, &vec![7; 4 * HIGH_WATER]);
        assert_eq!(peer.send(), Sent::Open);
        assert!(peer.is_full());
        drop(theirs);
        assert_eq!(peer.send(), Sent::Over);
    }
}
