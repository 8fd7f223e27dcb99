//! A netlink socket to the kernel's packet filter: sends a transaction and waits for its answer.
//!
//! Synchronous on purpose: the kernel answers within the send, so there is nothing to wait for asynchronously.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind,
    netlink::{NETFILTER, SocketAddrNetlink},
    recv, send, socket_with, sockopt,
};

use super::batch::Batch;

const HEADER: usize = 16;
const KIND_ERROR: u16 = 2;
const KIND_DONE: u16 = 3;
/// The kernel fills at most 32 KiB per read of a dump.
const BUFFER: usize = 64 * 1024;
/// Far beyond anything observed; an answer that is lost must not hang the agent.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A socket bound to the network namespace of the thread that opened it.
#[derive(Debug)]
pub(super) struct Socket {
    descriptor: OwnedFd,
    sequence: u32,
    send_buffer: usize,
    buffer: Vec<u8>,
}

impl Socket {
    pub(super) fn open() -> io::Result<Self> {
        let kind = SocketType::RAW;
        let descriptor = socket_with(AddressFamily::NETLINK, kind, SocketFlags::CLOEXEC, Some(NETFILTER))?;
        bind(&descriptor, &SocketAddrNetlink::new(0, 0))?;
        sockopt::set_socket_timeout(&descriptor, sockopt::Timeout::Recv, Some(TIMEOUT))?;
        Ok(Self { descriptor, sequence: 1, send_buffer: 64 * 1024, buffer: vec![0; BUFFER] })
    }

    /// A transaction over the table that continues this socket's sequence numbers.
    pub(super) fn batch(&self, table: &str) -> Batch {
        Batch::new(table, self.sequence)
    }

    /// Applies the transaction; an error means that none of it was applied.
    pub(super) fn commit(&mut self, batch: Batch) -> io::Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let (bytes, first, last) = batch.finish();
        self.sequence = last.wrapping_add(2);
        self.send(&bytes)?;
        let mut refusal = None;
        loop {
            let count = self.receive()?;
            for message in Messages(self.buffer.get(..count).unwrap_or_default()) {
                if message.kind != KIND_ERROR {
                    continue;
                }
                // Answers to an earlier transaction that timed out are not ours.
                let offset = message.sequence.wrapping_sub(first);
                if offset > last.wrapping_sub(first) {
                    continue;
                }
                if let Some(error) = message.error() {
                    refusal.get_or_insert(error);
                }
                // The first message stands for the transaction as a whole.
                if message.sequence == last || message.sequence == first {
                    return refusal.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Sends a request and hands each part of its answer, without header, to `each`; ends with the
    /// acknowledgement of a request that has no answer.
    pub(super) fn request(
        &mut self,
        request: impl FnOnce(u32) -> Vec<u8>,
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        self.send(&request(sequence))?;
        loop {
            let count = self.receive()?;
            for message in Messages(self.buffer.get(..count).unwrap_or_default()) {
                match message.kind {
                    _ if message.sequence != sequence => {}
                    KIND_DONE => return Ok(()),
                    KIND_ERROR => return message.error().map_or(Ok(()), Err),
                    // The family and resource id of the packet filter precede the attributes.
                    _ => each(message.payload.get(4..).unwrap_or_default()),
                }
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        // The kernel counts its own bookkeeping against the buffer too, hence twice the bytes.
        if bytes.len().saturating_mul(2) > self.send_buffer {
            sockopt::set_socket_send_buffer_size_force(&self.descriptor, bytes.len() * 2)?;
            self.send_buffer = bytes.len() * 2;
        }
        let sent = send(&self.descriptor, bytes, SendFlags::empty())?;
        if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    fn receive(&mut self) -> io::Result<usize> {
        loop {
            match recv(&self.descriptor, self.buffer.as_mut_slice(), RecvFlags::TRUNC) {
                Ok((_, count)) if count > self.buffer.len() => {
                    return Err(io::Error::other("the kernel's answer is longer than the buffer"));
                }
                Ok((_, count)) => return Ok(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

struct Message<'a> {
    kind: u16,
    sequence: u32,
    payload: &'a [u8],
}

impl Message<'_> {
    /// The errno of an error message; `None` for an acknowledgement.
    fn error(&self) -> Option<io::Error> {
        let code = self.payload.first_chunk::<4>().map_or(0, |code| i32::from_ne_bytes(*code));
        (code != 0).then(|| io::Error::from_raw_os_error(code.saturating_neg()))
    }
}

/// The messages of one read; stops at the first malformed one.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let length = u32::from_ne_bytes(*self.0.first_chunk::<4>()?);
        let length = usize::try_from(length).ok()?;
        let payload = self.0.get(HEADER..length)?;
        let kind = u16::from_ne_bytes(self.0.get(4..6)?.try_into().ok()?);
        let sequence = u32::from_ne_bytes(self.0.get(8..12)?.try_into().ok()?);
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind, sequence, payload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_answers_end_the_reading() {
        for bytes in [&[][..], &[0; 15], &[3; 40], &[0; 64]] {
            assert_eq!(Messages(bytes).count(), 0);
        }
    }

    #[test]
    fn an_error_message_carries_its_errno() {
        let mut bytes = 20u32.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&KIND_ERROR.to_ne_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&9u32.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&(-17i32).to_ne_bytes());
        let messages: Vec<_> = Messages(&bytes).collect();
        assert_eq!(messages[0].sequence, 9);
        assert_eq!(messages[0].error().and_then(|error| error.raw_os_error()), Some(17));
    }
}
