//! The one epoll instance, and what each of its tokens stands for. Tokens are
//! never used twice, so an event that was fetched before its source was closed
//! finds nothing and is dropped.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

use crate::keeper::output::Source;

/// What a token stands for.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// The listening socket.
    Listener,
    /// A connection of a client.
    Client,
    /// A container's first process.
    Process(Rc<str>),
    /// A further process in a container.
    Execution(Rc<str>),
    /// A further process that has not run its program yet has something to say.
    Joining(Rc<str>),
    /// A container's output pipe.
    Output(Rc<str>, Source),
    /// A container's input pipe.
    Input(Rc<str>),
    /// A container's terminal.
    Terminal(Rc<str>),
    /// A client attached to a container.
    Peer(Rc<str>),
    /// A client that was attached to a container that has ended.
    Leaving,
}

/// A token with what is wanted of its descriptor now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Watch {
    pub(crate) token: u64,
    /// `None`: not registered. Registered, hang-up and error always come.
    interest: Option<EventFlags>,
}

/// A descriptor and its watch.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) fd: OwnedFd,
    pub(crate) watch: Watch,
}

/// The epoll instance.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
    targets: BTreeMap<u64, Target>,
    next: u64,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Poller> {
        Ok(Poller { epoll: epoll::create(CreateFlags::CLOEXEC)?, targets: BTreeMap::new(), next: 1 })
    }

    /// A token for a descriptor, not registered yet.
    pub(crate) fn token(&mut self, target: Target) -> Watch {
        let token = self.next;
        self.next += 1;
        self.targets.insert(token, target);
        Watch { token, interest: None }
    }

    /// Takes a descriptor in, and makes it non-blocking.
    pub(crate) fn watch(
        &mut self,
        fd: OwnedFd,
        target: Target,
        interest: Option<EventFlags>,
    ) -> io::Result<Watched> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        self.adopt(fd, target, interest)
    }

    /// Takes in a descriptor that knows no blocking, such as a pidfd.
    pub(crate) fn adopt(
        &mut self,
        fd: OwnedFd,
        target: Target,
        interest: Option<EventFlags>,
    ) -> io::Result<Watched> {
        let watch = self.token(target);
        let mut watched = Watched { fd, watch };
        match self.want(watched.fd.as_fd(), &mut watched.watch, interest) {
            Ok(()) => Ok(watched),
            Err(error) => {
                self.targets.remove(&watch.token);
                Err(error)
            }
        }
    }

    /// Changes what is wanted of a descriptor.
    pub(crate) fn want(
        &self,
        fd: BorrowedFd<'_>,
        watch: &mut Watch,
        interest: Option<EventFlags>,
    ) -> io::Result<()> {
        let data = EventData::new_u64(watch.token);
        match (watch.interest, interest) {
            (before, after) if before == after => return Ok(()),
            (None, Some(flags)) => epoll::add(&self.epoll, fd, data, flags)?,
            (Some(_), Some(flags)) => epoll::modify(&self.epoll, fd, data, flags)?,
            (_, None) => epoll::delete(&self.epoll, fd)?,
        }
        watch.interest = interest;
        Ok(())
    }

    /// Makes a token stand for something else.
    pub(crate) fn retarget(&mut self, watch: Watch, target: Target) {
        self.targets.insert(watch.token, target);
    }

    /// Forgets a descriptor that is about to be closed.
    pub(crate) fn forget(&mut self, fd: BorrowedFd<'_>, mut watch: Watch) {
        // It leaves the set by itself when its last copy is closed; this is for descriptors others hold too.
        let _ = self.want(fd, &mut watch, None);
        self.targets.remove(&watch.token);
    }

    /// Forgets a descriptor and closes it.
    pub(crate) fn close(&mut self, watched: Watched) {
        let Watched { fd, watch } = watched;
        self.forget(fd.as_fd(), watch);
    }

    pub(crate) fn target(&self, token: u64) -> Option<Target> {
        self.targets.get(&token).cloned()
    }

    /// Waits for events, at most `timeout`; an interrupted wait has none.
    pub(crate) fn wait(&self, events: &mut Vec<Event>, timeout: Option<&Timespec>) -> io::Result<()> {
        events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), timeout) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Watched {
    pub(crate) fn want(&mut self, poller: &Poller, interest: Option<EventFlags>) -> io::Result<()> {
        poller.want(self.fd.as_fd(), &mut self.watch, interest)
    }
}
