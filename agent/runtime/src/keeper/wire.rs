//! A client's connection as the server sees it: bytes and descriptors in,
//! replies and events out. It never blocks, and both buffers are bounded.

use std::io;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};

use super::protocol::{self, CodecError, Message, Reply};
use super::server::poller::Watched;

/// A subscriber that lets so many bytes of events wait is cut off; it comes
/// back and gets a snapshot.
const MAX_WAITING: usize = 8 * 1024 * 1024;

/// One client.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: Watched,
    incoming: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    outgoing: Vec<u8>,
    /// It has said hello.
    pub(crate) greeted: bool,
    /// It gets events, and asks nothing any more.
    pub(crate) subscribed: bool,
    /// A reply is owed that comes later.
    pub(crate) waiting: bool,
    /// Close once everything is sent.
    pub(crate) closing: bool,
}

/// What reading a connection gave.
#[derive(Debug)]
pub(crate) enum Read {
    /// A whole message, with the descriptors that came with it.
    Message(Box<Message>, Vec<OwnedFd>),
    /// Nothing whole yet.
    Nothing,
    /// The other side has gone.
    Gone,
    /// Not the protocol.
    Garbage(CodecError),
}

impl Connection {
    pub(crate) fn new(socket: Watched) -> Connection {
        Connection {
            socket,
            incoming: Vec::new(),
            descriptors: Vec::new(),
            outgoing: Vec::new(),
            greeted: false,
            subscribed: false,
            waiting: false,
            closing: false,
        }
    }

    /// Reads once from the socket.
    pub(crate) fn read(&mut self) -> Read {
        match self.receive() {
            Ok(0) => Read::Gone,
            Ok(_) => self.next_message(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Read::Nothing,
            Err(_) => Read::Gone,
        }
    }

    /// The next whole message among the bytes read.
    pub(crate) fn next_message(&mut self) -> Read {
        let length = match protocol::message_length(&self.incoming) {
            Ok(Some(length)) if length <= self.incoming.len() => length,
            Ok(_) => return Read::Nothing,
            Err(error) => return Read::Garbage(error),
        };
        let message = serde_json::from_slice(&self.incoming[4..length]);
        self.incoming.drain(..length);
        if self.incoming.is_empty() {
            self.incoming = Vec::new();
        }
        match message {
            Ok(message) => Read::Message(Box::new(message), std::mem::take(&mut self.descriptors)),
            Err(error) => Read::Garbage(error.into()),
        }
    }

    fn receive(&mut self) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(protocol::MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; 16 * 1024];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = recvmsg(&self.socket.fd, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                // More than a message may have are closed at once; the message is then refused for their number.
                let room = protocol::MAX_DESCRIPTORS - self.descriptors.len();
                self.descriptors.extend(descriptors.take(room));
            }
        }
        self.incoming.extend_from_slice(&bytes[..received.bytes]);
        Ok(received.bytes)
    }

    /// Queues a reply or event.
    pub(crate) fn queue(&mut self, reply: &Reply) {
        match protocol::encode(reply) {
            Ok(bytes) if self.outgoing.len() + bytes.len() <= MAX_WAITING => self.outgoing.extend(bytes),
            // Whoever waits for it learns from the end of the connection.
            Ok(_) | Err(_) => self.closing = true,
        }
    }

    pub(crate) fn has_output(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Sends what the socket takes now; `false` when the connection is over.
    pub(crate) fn send(&mut self) -> bool {
        while !self.outgoing.is_empty() {
            match send(self.socket.fd.as_fd(), &self.outgoing, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(count) => {
                    self.outgoing.drain(..count);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
        !self.closing
    }
}
