//! The other end of a console socket.

use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// The terminal that the first caller of the socket sends.
pub(super) fn receive(listener: &UnixListener) -> OwnedFd {
    let (caller, _) = listener.accept().expect("the runtime calls");
    let mut bytes = [0_u8; 256];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    recvmsg(&caller, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags).expect("a message");
    let mut received = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            received.extend(descriptors);
        }
    }
    received.pop().expect("a descriptor came with it")
}

/// What the terminal shows up to and with `end`.
pub(super) fn read_until(master: OwnedFd, end: &str) -> String {
    let mut master = std::fs::File::from(master);
    let mut text = String::new();
    let mut bytes = [0_u8; 256];
    while !text.contains(end) {
        match master.read(&mut bytes) {
            Ok(count) if count > 0 => text.push_str(&String::from_utf8_lossy(&bytes[..count])),
            _ => break,
        }
    }
    text
}
