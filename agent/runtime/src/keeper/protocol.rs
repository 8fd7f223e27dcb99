//! What the keeper and its clients say to each other: one JSON value per
//! message, preceded by its length. A connection opens with `Hello` both ways
//! and then carries one request at a time; after `Events` it only carries events.
//!
//! Compatible changes add optional fields or requests. Anything else raises
//! [`VERSION`], and a keeper refuses clients of another version by name, because
//! a keeper outlives the agent that started it.

use serde::{Deserialize, Serialize};

use super::Exit;
use crate::container::{ContainerSpec, ExecSpec, WindowSize};

/// Version of this protocol.
pub const VERSION: u32 = 1;

/// The largest message either side accepts, in bytes. A container's
/// specification with a full seccomp profile is some 40 KiB.
pub const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// The most descriptors that come along with one message; the kernel takes 253.
pub const MAX_DESCRIPTORS: usize = 128;

/// One message from a client.
#[derive(Debug, Serialize, Deserialize)]
pub struct Message {
    /// W3C trace context of what the client is doing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// What it wants.
    pub request: Request,
}

/// What a client can ask.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// First message of a connection.
    Hello {
        /// The client's [`VERSION`].
        version: u32,
    },
    /// Make a container up to, not including, the exec of its program.
    Create {
        /// All of it.
        spec: Box<ContainerSpec>,
        /// Whether a network namespace comes along as a descriptor, the first one.
        netns: bool,
        /// How many mounts come along as descriptors after it.
        #[serde(default)]
        mounts: usize,
    },
    /// Let a created container, or a further process that is held, execute its program.
    Start {
        /// Of which container, or which further process.
        id: String,
    },
    /// Send a signal to a container's first process, or to a further one.
    Kill {
        /// Of which container, or which further process.
        id: String,
        /// The signal's number.
        signal: i32,
    },
    /// Set the size of a terminal.
    Resize {
        /// Of which container, or which further process.
        id: String,
        /// The new size.
        size: WindowSize,
    },
    /// Connect a stream socket, which comes along as a descriptor, to a
    /// container's input and output.
    Attach {
        /// Of which container, or which further process.
        id: String,
    },
    /// Run a further process in a running container. Answered when it runs its
    /// program, or could not; the keeper serves others meanwhile.
    Exec {
        /// In which container.
        container: String,
        /// All of it.
        spec: Box<ExecSpec>,
        /// Whether a stream socket comes along that is attached from the first byte.
        attach: bool,
        /// Whether it is to wait at its gate for [`Request::Start`] with its id, on the same connection, which
        /// it does not outlive. Answered when it stands there.
        #[serde(default)]
        hold: bool,
    },
    /// Forget how a further process ended.
    ForgetExec {
        /// Which.
        id: String,
    },
    /// All containers.
    List,
    /// Forget a container that has exited or was never started, and free its cgroup.
    Delete {
        /// Of which container.
        id: String,
    },
    /// From now on this connection only carries events, first a snapshot.
    Events,
    /// End the keeper.
    Shutdown {
        /// End the containers first; without it a keeper that holds running ones refuses.
        kill_containers: bool,
    },
}

/// What the keeper says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To `Hello`.
    Hello {
        /// The keeper's [`VERSION`].
        version: u32,
        /// The keeper's process.
        pid: i32,
    },
    /// To `Create` and `Exec`.
    Created {
        /// The process made, in the keeper's numbering.
        pid: i32,
        /// Steps and what each took, in microseconds.
        timings: Vec<(String, u64)>,
        /// Of a further process: whether it waits at its gate. A keeper that cannot hold one does not say so.
        #[serde(default)]
        held: bool,
    },
    /// To what has no other answer.
    Done,
    /// To `List`, and first event.
    Containers {
        /// All of them.
        containers: Vec<ContainerStatus>,
        /// Further processes in them that run, or whose end nobody has forgotten.
        #[serde(default)]
        execs: Vec<ExecStatus>,
    },
    /// An event: a container has ended, its log and exit record are complete.
    Exited {
        /// Which container.
        id: String,
        /// How it ended.
        exit: Exit,
    },
    /// An event: a further process has ended, and its output is complete.
    ExecExited {
        /// Which.
        id: String,
        /// In which container.
        container: String,
        /// How it ended.
        exit: Exit,
    },
    /// The request failed and changed nothing.
    Error {
        /// What kind of failure.
        kind: ErrorKind,
        /// In words.
        message: String,
    },
}

/// Kinds of failure a client may want to tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// No such container.
    NotFound,
    /// The container exists already.
    Exists,
    /// The container is in the wrong state for the request.
    State,
    /// The request breaks a rule.
    Invalid,
    /// The container could not be made or its program not be run.
    Failed,
    /// The program is not in the container.
    NoProgram,
    /// The program is there and cannot be executed.
    NotExecutable,
    /// The other side speaks another version.
    Version,
    /// The message could not be understood; the connection ends.
    Protocol,
}

/// One container as the keeper sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// Its id.
    pub id: String,
    /// Its first process, also after that has ended.
    pub pid: i32,
    /// Where it is in its life.
    pub state: ContainerState,
    /// How it ended, once it has.
    pub exit: Option<Exit>,
}

/// A further process in a container, as the keeper sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecStatus {
    /// Its id.
    pub id: String,
    /// In which container.
    pub container: String,
    /// Its process, also after that has ended.
    pub pid: i32,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// How it ended, once it has.
    pub exit: Option<Exit>,
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerState {
    /// Made; its program has not been run.
    Created,
    /// Its first process lives.
    Running,
    /// Its first process has ended and was reaped.
    Exited,
}

/// Why bytes are no message.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The length is beyond [`MAX_MESSAGE`], or zero.
    #[error("a message of {0} bytes; at most {MAX_MESSAGE} are allowed")]
    Length(usize),
    /// The bytes are not the JSON of a message.
    #[error("not a message: {0}")]
    Json(#[from] serde_json::Error),
}

/// A message's bytes: its length as four big-endian bytes, then JSON.
///
/// # Errors
/// When it is beyond [`MAX_MESSAGE`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, CodecError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    match u32::try_from(length) {
        Ok(prefix) if length <= MAX_MESSAGE => bytes[..4].copy_from_slice(&prefix.to_be_bytes()),
        _ => return Err(CodecError::Length(length)),
    }
    Ok(bytes)
}

/// The length of the first message in `bytes`, prefix included; `None` while
/// the prefix is not complete.
///
/// # Errors
/// When the length is zero or beyond [`MAX_MESSAGE`].
pub fn message_length(bytes: &[u8]) -> Result<Option<usize>, CodecError> {
    let Some(prefix) = bytes.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*prefix) as usize;
    if length == 0 || length > MAX_MESSAGE {
        return Err(CodecError::Length(length));
    }
    Ok(Some(length + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let bytes =
            encode(&Message { traceparent: None, request: Request::Kill { id: "a".into(), signal: 9 } })
                .unwrap();
        assert_eq!(message_length(&bytes).unwrap(), Some(bytes.len()));
        let back: Message = serde_json::from_slice(&bytes[4..]).unwrap();
        assert!(matches!(back.request, Request::Kill { signal: 9, .. }));
    }

    #[test]
    fn lengths_beyond_the_limit_are_refused_before_any_byte_is_stored() {
        assert!(message_length(&u32::MAX.to_be_bytes()).is_err());
        assert!(message_length(&0u32.to_be_bytes()).is_err());
        assert_eq!(message_length(&[0, 0]).unwrap(), None);
    }
}
