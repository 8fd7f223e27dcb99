//! The order in which a client may say what, and which verb answers it.

use std::os::fd::OwnedFd;

use super::Server;
use super::execs::Asked;
use crate::keeper::protocol::{ErrorKind, Message, Reply, Request, VERSION};

/// Why a request failed.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) kind: ErrorKind,
    pub(super) message: String,
}

impl Refused {
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Refused {
        Refused { kind, message: message.into() }
    }

    pub(super) fn not_found(id: &str) -> Refused {
        Refused::new(ErrorKind::NotFound, format!("no container or process {id:?}"))
    }
}

impl Server {
    /// Answers a request; `None` when the answer comes later.
    pub(super) fn answer(
        &mut self,
        token: u64,
        message: Message,
        mut descriptors: Vec<OwnedFd>,
    ) -> Option<Result<Reply, Refused>> {
        let trace = message.traceparent;
        if let Request::Hello { version } = message.request {
            return Some(self.hello(token, version));
        }
        if !self.clients.get(&token).is_some_and(|client| client.greeted) {
            return Some(Err(Refused::new(ErrorKind::Protocol, "the first message must be hello")));
        }
        Some(match message.request {
            Request::Hello { .. } => Ok(Reply::Done),
            Request::Create { spec, netns, mounts } => {
                if descriptors.len() != usize::from(netns) + mounts {
                    let message = "the descriptors of the network namespace and the mounts must come along";
                    return Some(Err(Refused::new(ErrorKind::Invalid, message)));
                }
                let mounts = descriptors.split_off(usize::from(netns));
                self.create(&spec, descriptors.first(), mounts, trace)
            }
            Request::Start { id } if self.executions.contains_key(id.as_str()) => {
                return self.let_in(token, &id);
            }
            Request::Start { id } => self.start(&id, trace.as_deref()),
            Request::Kill { id, signal } => self.kill(&id, signal),
            Request::Resize { id, size } => self.resize(&id, size),
            Request::Attach { id } => self.attach(&id, descriptors.pop()),
            Request::Exec { container, spec, attach, hold } => {
                let socket = attach.then(|| descriptors.pop());
                return self.exec(token, &container, &spec, Asked { socket, hold });
            }
            Request::ForgetExec { id } => self.forget_exec(&id),
            Request::List => Ok(self.list()),
            Request::Delete { id } => return self.delete(token, &id, trace.as_deref()),
            Request::Events => {
                if let Some(client) = self.clients.get_mut(&token) {
                    client.subscribed = true;
                }
                Ok(self.list())
            }
            Request::Shutdown { kill_containers } => return self.shut_down(token, kill_containers),
        })
    }

    fn hello(&mut self, token: u64, version: u32) -> Result<Reply, Refused> {
        let Some(client) = self.clients.get_mut(&token) else {
            return Ok(Reply::Done);
        };
        // The answer says our version either way, so that the client can name both.
        client.greeted = version == VERSION;
        client.closing = version != VERSION;
        Ok(Reply::Hello { version: VERSION, pid: std::process::id().cast_signed() })
    }

    fn list(&self) -> Reply {
        Reply::Containers {
            containers: self.containers.values().map(super::Held::status).collect(),
            execs: self.executions.values().filter_map(super::Execution::status).collect(),
        }
    }
}
