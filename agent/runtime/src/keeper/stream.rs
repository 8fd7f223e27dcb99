//! A container's input and output: pipes or a terminal on one side, the log and
//! the attached clients on the other. Output is read as long as no client is
//! full; input of clients is taken as long as the container takes it.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

use super::attach::{Peer, Sent};
use super::log::Log;
use super::output::Source;
use super::server::poller::{Poller, Target, Watch, Watched};
use crate::process::Ends;

/// So many bytes of input wait for the container before clients are not read.
const MAX_INPUT: usize = 64 * 1024;

/// So many clients may be attached to one container.
pub(crate) const MAX_PEERS: usize = 64;

/// What is left in pipes and terminal when a container has ended is at most
/// this much; more means that somebody outside holds them and goes on writing.
const MAX_DRAIN: usize = 8 * 1024 * 1024;

/// One read.
pub(crate) const CHUNK: usize = 64 * 1024;

/// The input and output of a container, or of a further process in one.
#[derive(Debug)]
pub(crate) struct Streams {
    input: Option<Watched>,
    outputs: [Option<Watched>; 2],
    terminal: Option<Watched>,
    framed: bool,
    /// Only a container's own output is kept.
    log: Option<Log>,
    /// The first failure to write the log, until somebody asks.
    log_error: Option<io::Error>,
    to_container: VecDeque<u8>,
    input_ended: bool,
    pub(crate) peers: BTreeMap<u64, (Watch, Peer)>,
}

impl Streams {
    pub(crate) fn new(
        id: &Rc<str>,
        ends: Ends,
        log: Option<Log>,
        poller: &mut Poller,
    ) -> io::Result<Streams> {
        let mut output = |end: Option<OwnedFd>, source| {
            let target = Target::Output(id.clone(), source);
            end.map(|fd| poller.watch(fd, target, Some(EventFlags::IN))).transpose()
        };
        let outputs = [output(ends.stdout, Source::Stdout)?, output(ends.stderr, Source::Stderr)?];
        let framed = ends.terminal.is_none();
        let terminal =
            ends.terminal.map(|fd| poller.watch(fd, Target::Terminal(id.clone()), Some(EventFlags::IN)));
        let input = ends.stdin.map(|fd| poller.watch(fd, Target::Input(id.clone()), None));
        Ok(Streams {
            input: input.transpose()?,
            outputs,
            terminal: terminal.transpose()?,
            framed,
            log,
            log_error: None,
            to_container: VecDeque::new(),
            input_ended: false,
            peers: BTreeMap::new(),
        })
    }

    pub(crate) fn take_log_error(&mut self) -> Option<io::Error> {
        self.log_error.take()
    }

    pub(crate) fn terminal(&self) -> Option<&OwnedFd> {
        self.terminal.as_ref().map(|terminal| &terminal.fd)
    }

    pub(crate) fn attach(&mut self, id: &Rc<str>, socket: OwnedFd, poller: &mut Poller) -> io::Result<()> {
        let watched = poller.watch(socket, Target::Peer(id.clone()), Some(EventFlags::IN))?;
        let peer = Peer::new(watched.fd, self.framed);
        self.peers.insert(watched.watch.token, (watched.watch, peer));
        self.settle(poller);
        Ok(())
    }

    fn takes_input(&self) -> bool {
        !self.input_ended && (self.input.is_some() || self.terminal.is_some())
    }

    /// Reads once from an output pipe.
    pub(crate) fn output_ready(&mut self, source: Source, buffer: &mut [u8], poller: &mut Poller) {
        self.read_output(source, buffer, poller);
        self.settle(poller);
    }

    /// Reads once from the terminal, and writes waiting input to it.
    pub(crate) fn terminal_ready(&mut self, flags: EventFlags, buffer: &mut [u8], poller: &mut Poller) {
        if flags.contains(EventFlags::OUT) {
            self.write_input(poller);
        }
        if self.is_paused()
            && flags.contains(EventFlags::HUP)
            && let Some(terminal) = &mut self.terminal
        {
            // Hang-up cannot be masked; what is left is read when the clients have room.
            let _ = terminal.want(poller, None);
            return;
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) && !self.is_paused() {
            self.read_terminal(buffer, poller);
        }
        self.settle(poller);
    }

    /// Writes waiting input to the container's pipe.
    pub(crate) fn input_ready(&mut self, poller: &mut Poller) {
        self.write_input(poller);
        self.settle(poller);
    }

    /// A client can be read or written, or has gone.
    pub(crate) fn peer_ready(
        &mut self,
        token: u64,
        flags: EventFlags,
        buffer: &mut [u8],
        poller: &mut Poller,
    ) {
        let Some((watch, peer)) = self.peers.get_mut(&token) else {
            return;
        };
        let mut gone = peer.send() == Sent::Over;
        if !gone && flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            gone = peer.input_closed && flags.contains(EventFlags::HUP);
            let room = MAX_INPUT.saturating_sub(self.to_container.len()).min(buffer.len());
            if !peer.input_closed && room > 0 {
                match rustix::io::read(peer.fd(), &mut buffer[..room]) {
                    Ok(0) => {
                        gone = flags.contains(EventFlags::HUP);
                        peer.input_closed = true;
                        self.input_ended |= !gone && self.input.is_some();
                    }
                    Ok(count) => self.to_container.extend(&buffer[..count]),
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(_) => gone = true,
                }
            }
        }
        if gone {
            poller.forget(peer.fd(), *watch);
            self.peers.remove(&token);
        }
        self.write_input(poller);
        self.settle(poller);
    }

    fn is_paused(&self) -> bool {
        self.peers.values().any(|(_, peer)| peer.is_full())
    }

    fn read_output(&mut self, source: Source, buffer: &mut [u8], poller: &mut Poller) -> usize {
        let slot = &mut self.outputs[source.index()];
        let Some(output) = slot else {
            return 0;
        };
        match rustix::io::read(&output.fd, &mut *buffer) {
            Ok(count) if count > 0 => {
                self.publish(source, &buffer[..count]);
                count
            }
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Ok(_) | Err(_) => {
                if let Some(output) = slot.take() {
                    poller.close(output);
                }
                self.finish_log(source);
                0
            }
        }
    }

    fn read_terminal(&mut self, buffer: &mut [u8], poller: &mut Poller) -> usize {
        let Some(terminal) = &mut self.terminal else {
            return 0;
        };
        match rustix::io::read(&terminal.fd, &mut *buffer) {
            Ok(count) if count > 0 => {
                self.publish(Source::Stdout, &buffer[..count]);
                count
            }
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Ok(_) | Err(_) => {
                // No process has it open any more. The descriptor stays for resizing.
                let _ = terminal.want(poller, None);
                self.input_ended = true;
                self.finish_log(Source::Stdout);
                0
            }
        }
    }

    fn publish(&mut self, source: Source, bytes: &[u8]) {
        if let Some(log) = &mut self.log {
            let appended = log.append(source, bytes);
            self.note(appended);
        }
        for (_, peer) in self.peers.values_mut() {
            peer.queue(source, bytes);
        }
    }

    fn finish_log(&mut self, source: Source) {
        if let Some(log) = &mut self.log {
            let finished = log.finish(source);
            self.note(finished);
        }
    }

    fn note(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.log_error.get_or_insert(error);
        }
    }

    fn write_input(&mut self, poller: &mut Poller) {
        let Some(input) = self.input.as_ref().or(self.terminal.as_ref()) else {
            self.to_container.clear();
            return;
        };
        while !self.to_container.is_empty() {
            let (front, _) = self.to_container.as_slices();
            match rustix::io::write(&input.fd, front) {
                Ok(count) => {
                    self.to_container.drain(..count);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    // Nobody reads it any more.
                    self.to_container.clear();
                    self.input_ended = true;
                }
            }
        }
        if self.input_ended
            && let Some(input) = self.input.take()
        {
            poller.close(input);
        }
    }

    /// Sends to all clients, drops those that have gone, and asks the poller
    /// for exactly what can be used now.
    fn settle(&mut self, poller: &mut Poller) {
        let takes_input = self.takes_input() && self.to_container.len() < MAX_INPUT;
        let ended = !self.takes_input();
        self.peers.retain(|_, (watch, peer)| {
            if ended && !peer.input_closed {
                peer.refuse_input();
            }
            let over = peer.send() == Sent::Over;
            if over || poller.want(peer.fd(), watch, peer.interest(takes_input)).is_err() {
                poller.forget(peer.fd(), *watch);
                return false;
            }
            true
        });
        let reading = if self.is_paused() { None } else { Some(EventFlags::IN) };
        for output in self.outputs.iter_mut().flatten() {
            // Only fails for want of memory; the pipe is read when the container ends.
            let _ = output.want(poller, reading);
        }
        let writing = (!self.to_container.is_empty()).then_some(EventFlags::OUT);
        if let Some(input) = &mut self.input {
            let _ = input.want(poller, writing);
        }
        if let Some(terminal) = &mut self.terminal
            && !self.input_ended
        {
            let wanted = reading.unwrap_or(EventFlags::empty()) | writing.unwrap_or(EventFlags::empty());
            let _ = terminal.want(poller, (!wanted.is_empty()).then_some(wanted));
        }
    }

    /// The container has ended: reads what is left, completes the log, closes
    /// everything but the clients, which still get the rest.
    pub(crate) fn finish(mut self, buffer: &mut [u8], poller: &mut Poller) -> Finished {
        for source in [Source::Stdout, Source::Stderr] {
            let mut drained = 0;
            while self.outputs[source.index()].is_some() && drained < MAX_DRAIN {
                match self.read_output(source, buffer, poller) {
                    0 => break,
                    count => drained += count,
                }
            }
        }
        let mut drained = 0;
        while drained < MAX_DRAIN {
            match self.read_terminal(buffer, poller) {
                0 => break,
                count => drained += count,
            }
        }
        for source in [Source::Stdout, Source::Stderr] {
            self.finish_log(source);
        }
        let [stdout, stderr] = self.outputs;
        for watched in [stdout, stderr, self.input, self.terminal].into_iter().flatten() {
            poller.close(watched);
        }
        Finished { peers: self.peers, log_error: self.log_error }
    }
}

/// What is left of a container's streams when it has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) peers: BTreeMap<u64, (Watch, Peer)>,
    pub(crate) log_error: Option<io::Error>,
}

impl Peer {
    /// What to wait for on this client's socket.
    pub(crate) fn interest(&self, takes_input: bool) -> Option<EventFlags> {
        let mut flags = EventFlags::empty();
        if self.has_output() {
            flags |= EventFlags::OUT;
        }
        if !self.input_closed {
            if takes_input {
                flags |= EventFlags::IN;
            } else if flags.is_empty() {
                // Its hang-up must wait too, or it would be reported for ever.
                return None;
            }
        }
        Some(flags)
    }
}
