//! Talking to a keeper. Synchronous: one connection, one request at a time; an
//! asynchronous caller uses a blocking thread. Dropping a client ends its
//! connection and nothing else.

use std::io::{self, IoSlice, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::Exit;
use super::protocol::{
    self, CodecError, ContainerStatus, ErrorKind, ExecStatus, Message, Reply, Request, VERSION,
};
use crate::container::{ContainerSpec, ExecSpec, WindowSize};

/// How long a keeper may take to answer. It does one thing at a time, and
/// deleting a container may wait for its last processes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to a keeper.
#[derive(Debug)]
pub struct Client {
    socket: UnixStream,
    pid: i32,
    traceparent: Option<String>,
}

/// What [`Client::create`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The container's first process.
    pub pid: i32,
    /// Steps and what each took, in microseconds.
    pub timings: Vec<(String, u64)>,
}

/// Something a keeper tells without being asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Always first: all containers at this moment, and further processes in them.
    Snapshot(Vec<ContainerStatus>, Vec<ExecStatus>),
    /// A further process has ended, and its output is complete.
    ExecExited {
        /// Which.
        id: String,
        /// In which container.
        container: String,
        /// How.
        exit: Exit,
    },
    /// A container has ended; its log and exit record are complete.
    Exited {
        /// Which.
        id: String,
        /// How.
        exit: Exit,
    },
}

/// Why a request got no answer, or a bad one.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("connect to the keeper: {0}")]
    Connect(#[source] io::Error),
    /// The connection broke or the keeper did not answer in time.
    #[error("the connection to the keeper: {0}")]
    Io(#[from] io::Error),
    /// It speaks another version of the protocol.
    #[error("the keeper (process {pid}) speaks protocol {theirs}, this program {VERSION}")]
    Version {
        /// The keeper's process.
        pid: i32,
        /// The version it speaks.
        theirs: u32,
    },
    /// It refused.
    #[error("{message}")]
    Refused {
        /// What kind of failure.
        kind: ErrorKind,
        /// In words.
        message: String,
    },
    /// What it said is no answer.
    #[error("the keeper answered out of turn or in a way not understood: {0}")]
    Answer(String),
}

impl From<CodecError> for ClientError {
    fn from(error: CodecError) -> Self {
        ClientError::Answer(error.to_string())
    }
}

impl Client {
    /// Connects and agrees on the version.
    ///
    /// # Errors
    /// [`ClientError::Connect`] when nobody listens, [`ClientError::Version`]
    /// when a keeper of another version does.
    pub fn connect(socket: &Path) -> Result<Client, ClientError> {
        let socket = UnixStream::connect(socket).map_err(ClientError::Connect)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let mut client = Client { socket, pid: 0, traceparent: None };
        match client.ask(Request::Hello { version: VERSION }, &[])? {
            Reply::Hello { version: VERSION, pid } => client.pid = pid,
            Reply::Hello { version, pid } => return Err(ClientError::Version { pid, theirs: version }),
            other => return Err(out_of_turn(&other)),
        }
        Ok(client)
    }

    /// The protocol both sides speak.
    pub fn version(&self) -> u32 {
        VERSION
    }

    /// The keeper's process.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sets the trace context that goes with the requests from here on.
    pub fn set_traceparent(&mut self, traceparent: Option<String>) {
        self.traceparent = traceparent;
    }

    /// Makes a container up to, not including, the exec of its program.
    ///
    /// # Errors
    /// When the keeper refuses or fails; then nothing of it is left.
    pub fn create(
        &mut self,
        spec: &ContainerSpec,
        netns: Option<BorrowedFd<'_>>,
    ) -> Result<Created, ClientError> {
        self.create_with(spec, netns, &[])
    }

    /// As [`Client::create`], with the mounts that the specification names by number.
    ///
    /// # Errors
    /// As [`Client::create`].
    pub fn create_with(
        &mut self,
        spec: &ContainerSpec,
        netns: Option<BorrowedFd<'_>>,
        mounts: &[BorrowedFd<'_>],
    ) -> Result<Created, ClientError> {
        let request =
            Request::Create { spec: Box::new(spec.clone()), netns: netns.is_some(), mounts: mounts.len() };
        let descriptors: Vec<BorrowedFd<'_>> = netns.into_iter().chain(mounts.iter().copied()).collect();
        match self.ask(request, &descriptors)? {
            Reply::Created { pid, timings, .. } => Ok(Created { pid, timings }),
            other => Err(out_of_turn(&other)),
        }
    }

    /// Lets a created container run its program; answers when it does.
    ///
    /// # Errors
    /// When there is no such container or its program cannot be run; the
    /// container is then to be deleted.
    pub fn start(&mut self, id: &str) -> Result<(), ClientError> {
        self.done(Request::Start { id: id.to_owned() }, &[])
    }

    /// Sends a signal to a container's first process.
    ///
    /// # Errors
    /// When there is no such container, it has exited, or there is no such signal.
    pub fn kill(&mut self, id: &str, signal: i32) -> Result<(), ClientError> {
        self.done(Request::Kill { id: id.to_owned(), signal }, &[])
    }

    /// Sets the size of a container's terminal.
    ///
    /// # Errors
    /// When there is no such container or it has no terminal.
    pub fn resize(&mut self, id: &str, size: WindowSize) -> Result<(), ClientError> {
        self.done(Request::Resize { id: id.to_owned(), size }, &[])
    }

    /// A stream of a container's output from now on, and of input to it. With a
    /// terminal the bytes are raw; without, output comes in frames of
    /// `[1|2, 0, 0, 0, length as four big-endian bytes]` and data, and shutting
    /// down writing ends the container's input. Ends when the output has ended.
    ///
    /// # Errors
    /// When there is no such container or it has exited.
    pub fn attach(&mut self, id: &str) -> Result<OwnedFd, ClientError> {
        let (ours, theirs) = UnixStream::pair()?;
        self.attach_socket(id, theirs.as_fd())?;
        Ok(ours.into())
    }

    /// As [`Client::attach`], with a socket whose other end somebody has already.
    ///
    /// # Errors
    /// When there is no such container, it has exited, or this is no stream socket.
    pub fn attach_socket(&mut self, id: &str, socket: BorrowedFd<'_>) -> Result<(), ClientError> {
        self.done(Request::Attach { id: id.to_owned() }, &[socket])
    }

    /// Runs a further process in a running container, with `socket` attached to
    /// it from its first byte; answers its process id when it runs its program.
    ///
    /// # Errors
    /// When there is no such container, it does not run, or the program cannot be run.
    pub fn exec(
        &mut self,
        container: &str,
        spec: &ExecSpec,
        socket: Option<BorrowedFd<'_>>,
    ) -> Result<i32, ClientError> {
        self.ask_exec(container, spec, socket, false).map(|(pid, _)| pid)
    }

    /// As [`Client::exec`], but the process stops before its program, for [`Client::let_in`] on this client: when
    /// this connection ends first, so does the process. Answers its process id, and whether it is held: a keeper
    /// of an earlier build runs the program at once.
    ///
    /// # Errors
    /// As [`Client::exec`], but for the program.
    pub fn exec_held(
        &mut self,
        container: &str,
        spec: &ExecSpec,
        socket: Option<BorrowedFd<'_>>,
    ) -> Result<(i32, bool), ClientError> {
        self.ask_exec(container, spec, socket, true)
    }

    /// Lets a further process that is held execute its program; answers when it does.
    ///
    /// # Errors
    /// When it has ended meanwhile, or the program cannot be run; then nothing of it is left.
    pub fn let_in(&mut self, exec: &str) -> Result<(), ClientError> {
        match self.ask(Request::Start { id: exec.to_owned() }, &[])? {
            Reply::Created { .. } => Ok(()),
            other => Err(out_of_turn(&other)),
        }
    }

    fn ask_exec(
        &mut self,
        container: &str,
        spec: &ExecSpec,
        socket: Option<BorrowedFd<'_>>,
        hold: bool,
    ) -> Result<(i32, bool), ClientError> {
        let request = Request::Exec {
            container: container.to_owned(),
            spec: Box::new(spec.clone()),
            attach: socket.is_some(),
            hold,
        };
        match self.ask(request, socket.as_slice())? {
            Reply::Created { pid, held, .. } => Ok((pid, held)),
            other => Err(out_of_turn(&other)),
        }
    }

    /// Makes the keeper forget how a further process ended.
    ///
    /// # Errors
    /// When it runs.
    pub fn forget_exec(&mut self, id: &str) -> Result<(), ClientError> {
        self.done(Request::ForgetExec { id: id.to_owned() }, &[])
    }

    /// All containers the keeper holds.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn list(&mut self) -> Result<Vec<ContainerStatus>, ClientError> {
        match self.ask(Request::List, &[])? {
            Reply::Containers { containers, .. } => Ok(containers),
            other => Err(out_of_turn(&other)),
        }
    }

    /// Makes the keeper forget a container that has exited or was never
    /// started, and frees its cgroup.
    ///
    /// # Errors
    /// When there is no such container or it runs.
    pub fn delete(&mut self, id: &str) -> Result<(), ClientError> {
        self.done(Request::Delete { id: id.to_owned() }, &[])
    }

    /// Ends the keeper; with `kill_containers` its containers first.
    ///
    /// # Errors
    /// When containers run and are not to be killed.
    pub fn shutdown(mut self, kill_containers: bool) -> Result<(), ClientError> {
        self.done(Request::Shutdown { kill_containers }, &[])
    }

    /// Turns this connection into one that only carries events.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn events(mut self) -> Result<EventReader, ClientError> {
        match self.ask(Request::Events, &[])? {
            Reply::Containers { containers, execs } => {
                self.socket.set_read_timeout(None)?;
                Ok(EventReader { socket: self.socket, snapshot: Some((containers, execs)) })
            }
            other => Err(out_of_turn(&other)),
        }
    }

    fn done(&mut self, request: Request, descriptors: &[BorrowedFd<'_>]) -> Result<(), ClientError> {
        match self.ask(request, descriptors)? {
            Reply::Done => Ok(()),
            other => Err(out_of_turn(&other)),
        }
    }

    fn ask(&mut self, request: Request, descriptors: &[BorrowedFd<'_>]) -> Result<Reply, ClientError> {
        let message = protocol::encode(&Message { traceparent: self.traceparent.clone(), request })?;
        self.send(&message, descriptors)?;
        match receive(&mut self.socket)? {
            Some(Reply::Error { kind, message }) => Err(ClientError::Refused { kind, message }),
            Some(reply) => Ok(reply),
            None => Err(ClientError::Io(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// The descriptors travel with the first byte.
    fn send(&self, bytes: &[u8], mut descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space =
            [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(protocol::MAX_DESCRIPTORS))];
        let mut rest = bytes;
        while !rest.is_empty() {
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
                return Err(io::Error::other("more mounts than fit into one message"));
            }
            match sendmsg(&self.socket, &[IoSlice::new(rest)], &mut control, SendFlags::NOSIGNAL) {
                Ok(count) => {
                    rest = &rest[count..];
                    descriptors = &[];
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Events of a keeper, in order.
#[derive(Debug)]
pub struct EventReader {
    socket: UnixStream,
    snapshot: Option<(Vec<ContainerStatus>, Vec<ExecStatus>)>,
}

impl EventReader {
    /// Waits for the next event; `None` when the keeper has ended the connection.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn next_event(&mut self) -> Result<Option<Event>, ClientError> {
        if let Some((containers, execs)) = self.snapshot.take() {
            return Ok(Some(Event::Snapshot(containers, execs)));
        }
        match receive(&mut self.socket)? {
            Some(Reply::Exited { id, exit }) => Ok(Some(Event::Exited { id, exit })),
            Some(Reply::ExecExited { id, container, exit }) => {
                Ok(Some(Event::ExecExited { id, container, exit }))
            }
            Some(other) => Err(out_of_turn(&other)),
            None => Ok(None),
        }
    }

    /// A second handle of the connection, to end the wait of another thread by
    /// shutting it down.
    ///
    /// # Errors
    /// When the process has run out of descriptors.
    pub fn connection(&self) -> io::Result<UnixStream> {
        self.socket.try_clone()
    }
}

fn out_of_turn(reply: &Reply) -> ClientError {
    ClientError::Answer(format!("{reply:?}"))
}

/// `None` at a clean end of the connection.
fn receive(socket: &mut UnixStream) -> Result<Option<Reply>, ClientError> {
    let mut prefix = [0; 4];
    match socket.read(&mut prefix[..1]) {
        Ok(0) => return Ok(None),
        Ok(_) => socket.read_exact(&mut prefix[1..])?,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return receive(socket),
        Err(error) => return Err(error.into()),
    }
    let length = protocol::message_length(&prefix)?.unwrap_or(4) - 4;
    let mut body = vec![0; length];
    socket.read_exact(&mut body)?;
    serde_json::from_slice(&body).map(Some).map_err(|error| ClientError::Answer(error.to_string()))
}
