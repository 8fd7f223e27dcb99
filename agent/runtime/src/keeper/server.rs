//! The keeper's loop: one thread, one epoll instance, every event handled to
//! its end before the next. `requests` are the verbs of clients, `exits` what
//! happens when a container ends, `execs` further processes in one, `poller` the epoll instance.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::event::Timespec;
use rustix::event::epoll::{Event, EventFlags};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};

use super::attach::{Peer, Sent};
use super::execution::Execution;
use super::held::Held;
use super::journal::Journal;
use super::protocol::{CodecError, ErrorKind, Message, Reply};
use super::stream::CHUNK;
use super::wire::{Connection, Read};
use crate::process::Staging;

mod execs;
mod exits;
pub(crate) mod poller;
mod requests;
mod verbs;

use poller::{Poller, Target, Watch, Watched};

/// So many clients may be connected at a time.
const MAX_CLIENTS: usize = 512;

/// How long nobody is accepted when the process has run out of descriptors.
const ACCEPT_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// The keeper's whole state.
#[derive(Debug)]
pub(crate) struct Server {
    poller: Poller,
    listener: Watched,
    staging: Staging,
    journal: Journal,
    clients: BTreeMap<u64, Connection>,
    containers: BTreeMap<Rc<str>, Held>,
    /// Further processes in them.
    executions: BTreeMap<Rc<str>, Execution>,
    leaving: BTreeMap<u64, (Watch, Peer)>,
    /// Set once somebody asked for the keeper's end: who.
    stopping: Option<u64>,
    accept_paused: bool,
    buffer: Vec<u8>,
}

impl Server {
    pub(crate) fn new(listener: OwnedFd, staging: Staging, journal: Journal) -> io::Result<Server> {
        let mut poller = Poller::new()?;
        let listener = poller.watch(listener, Target::Listener, Some(EventFlags::IN))?;
        Ok(Server {
            poller,
            listener,
            staging,
            journal,
            clients: BTreeMap::new(),
            containers: BTreeMap::new(),
            executions: BTreeMap::new(),
            leaving: BTreeMap::new(),
            stopping: None,
            accept_paused: false,
            buffer: vec![0; CHUNK],
        })
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Serves until a client ends the keeper.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(256);
        loop {
            let timeout = self.accept_paused.then_some(&ACCEPT_PAUSE);
            self.poller.wait(&mut events, timeout)?;
            if self.accept_paused {
                self.accept_paused = false;
                self.listener.want(&self.poller, Some(EventFlags::IN))?;
            }
            for event in &events {
                self.handle(*event);
            }
            if self.is_over() {
                self.journal.line("shut down", None);
                return Ok(());
            }
        }
    }

    fn handle(&mut self, event: Event) {
        let (token, flags) = (event.data.u64(), event.flags);
        let Some(target) = self.poller.target(token) else {
            return;
        };
        match target {
            Target::Listener => self.accept(),
            Target::Client => self.client_ready(token, flags),
            Target::Process(id) => self.process_ended(&id),
            Target::Execution(id) => self.execution_ended(&id),
            Target::Joining(id) => self.joining_ready(&id),
            Target::Leaving => self.leaving_ready(token),
            Target::Output(id, source) => self.with_streams(&id, |streams, buffer, poller| {
                streams.output_ready(source, buffer, poller);
            }),
            Target::Input(id) => self.with_streams(&id, |streams, _, poller| streams.input_ready(poller)),
            Target::Terminal(id) => self.with_streams(&id, |streams, buffer, poller| {
                streams.terminal_ready(flags, buffer, poller);
            }),
            Target::Peer(id) => self.with_streams(&id, |streams, buffer, poller| {
                streams.peer_ready(token, flags, buffer, poller);
            }),
        }
    }

    fn with_streams(
        &mut self,
        id: &str,
        act: impl FnOnce(&mut super::stream::Streams, &mut [u8], &mut Poller),
    ) {
        let streams = match self.containers.get_mut(id) {
            Some(held) => held.alive().map(|alive| &mut alive.streams),
            None => self.executions.get_mut(id).and_then(Execution::streams),
        };
        let Some(streams) = streams else {
            return;
        };
        act(streams, &mut self.buffer, &mut self.poller);
        if let Some(error) = streams.take_log_error() {
            self.journal.line(&format!("log of {id}: {error}; lines were lost"), None);
        }
    }

    fn accept(&mut self) {
        let socket = match accept_with(&self.listener.fd, SocketFlags::CLOEXEC) {
            Ok(socket) => socket,
            Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS) => {
                self.journal.line("out of descriptors or memory; new clients wait", None);
                self.accept_paused = self.listener.want(&self.poller, None).is_ok();
                return;
            }
            Err(_) => return,
        };
        let is_ours = rustix::net::sockopt::socket_peercred(&socket)
            .is_ok_and(|peer| peer.uid == rustix::process::geteuid());
        if !is_ours || self.clients.len() >= MAX_CLIENTS {
            return;
        }
        if let Ok(socket) = self.poller.watch(socket, Target::Client, Some(EventFlags::IN)) {
            self.clients.insert(socket.watch.token, Connection::new(socket));
        }
    }

    fn client_ready(&mut self, token: u64, flags: EventFlags) {
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            let Some(client) = self.clients.get_mut(&token) else {
                return;
            };
            let mut read = client.read();
            loop {
                let is_message = matches!(read, Read::Message(..));
                self.client_said(token, read);
                // A client that does not wait for its answers finds them in order all the same.
                let next = self.clients.get_mut(&token).filter(|client| is_message && !client.waiting);
                let Some(client) = next else {
                    break;
                };
                read = client.next_message();
            }
        }
        self.settle_client(token);
    }

    fn client_said(&mut self, token: u64, read: Read) {
        match read {
            Read::Nothing => {}
            Read::Gone => self.drop_client(token),
            Read::Garbage(error) => self.refuse_garbage(token, &error),
            Read::Message(message, descriptors) => self.request(token, *message, descriptors),
        }
    }

    fn refuse_garbage(&mut self, token: u64, error: &CodecError) {
        self.journal.line(&format!("a client sent garbage: {error}"), None);
        self.reply(token, &Reply::Error { kind: ErrorKind::Protocol, message: error.to_string() });
        if let Some(client) = self.clients.get_mut(&token) {
            client.closing = true;
        }
    }

    /// Sends what a client's socket takes, and reads on only when nothing is owed.
    fn settle_client(&mut self, token: u64) {
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        if !client.send() {
            self.drop_client(token);
            return;
        }
        let wanted = if client.has_output() { EventFlags::OUT } else { EventFlags::IN };
        let wanted = if client.waiting && !client.has_output() { EventFlags::empty() } else { wanted };
        if client.socket.want(&self.poller, Some(wanted)).is_err() {
            self.drop_client(token);
        }
    }

    fn drop_client(&mut self, token: u64) {
        if let Some(client) = self.clients.remove(&token) {
            self.poller.close(client.socket);
            self.give_up_joining(token);
        }
    }

    /// Queues a reply, and sends it as far as possible.
    fn reply(&mut self, token: u64, reply: &Reply) {
        if let Some(client) = self.clients.get_mut(&token) {
            client.waiting = false;
            client.queue(reply);
        }
    }

    fn broadcast(&mut self, event: &Reply) {
        let subscribed = |(token, client): (&u64, &Connection)| client.subscribed.then_some(*token);
        let tokens: Vec<u64> = self.clients.iter().filter_map(subscribed).collect();
        for token in tokens {
            self.reply(token, event);
            self.settle_client(token);
        }
    }

    fn leaving_ready(&mut self, token: u64) {
        if let Some((watch, peer)) = self.leaving.get_mut(&token)
            && peer.send() == Sent::Over
        {
            self.poller.forget(peer.fd(), *watch);
            self.leaving.remove(&token);
        }
    }

    fn request(&mut self, token: u64, message: Message, descriptors: Vec<OwnedFd>) {
        let Some(client) = self.clients.get(&token) else {
            return;
        };
        if client.closing || client.subscribed {
            return;
        }
        match self.answer(token, message, descriptors) {
            Some(Ok(reply)) => self.reply(token, &reply),
            Some(Err(refused)) => {
                self.reply(token, &Reply::Error { kind: refused.kind, message: refused.message });
            }
            None => {}
        }
    }

    /// Whether the keeper was asked to end and owes nobody anything.
    fn is_over(&self) -> bool {
        let Some(asker) = self.stopping else {
            return false;
        };
        self.containers.is_empty() && self.clients.get(&asker).is_none_or(|client| !client.has_output())
    }
}
