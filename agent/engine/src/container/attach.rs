//! A container's input and output as one asynchronous stream, and the size of
//! its terminal.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use agent_runtime::keeper::client::{Client, ClientError};
use agent_runtime::keeper::protocol::ErrorKind;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::record::{Entry, Phase};
use super::{ContainerEventKind, ContainerState, WindowSize};
use crate::EngineError;
use crate::engine::Inner;

/// So many may wait for one container's start.
const MAX_PENDING: usize = 16;

/// Reads what a container writes, writes what it reads. Shutting the writer
/// down is the end of the container's input, unless it has a terminal.
#[derive(Debug)]
pub struct Attachment {
    /// Whether the bytes read are raw (a terminal) or in frames of
    /// `[1|2, 0, 0, 0, length as four big-endian bytes]` and data (1 output, 2 error).
    pub raw: bool,
    stream: tokio::net::UnixStream,
    left: Option<Left>,
}

/// Called when somebody leaves an attachment before its end.
struct Left(Box<dyn FnOnce() + Send + Sync>);

impl std::fmt::Debug for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Left")
    }
}

impl Attachment {
    /// Of our end of a pair of sockets.
    pub(crate) fn of(ours: UnixStream, raw: bool) -> Result<Attachment, EngineError> {
        let failed = |error| EngineError::file("make", "a pair of sockets", error);
        ours.set_nonblocking(true).map_err(failed)?;
        let stream = tokio::net::UnixStream::from_std(ours).map_err(failed)?;
        Ok(Attachment { raw, stream, left: None })
    }

    /// Has `tell` called when it is dropped before its end was read.
    pub(crate) fn when_left(mut self, tell: impl FnOnce() + Send + Sync + 'static) -> Attachment {
        self.left = Some(Left(Box::new(tell)));
        self
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        if let Some(Left(tell)) = self.left.take() {
            tell();
        }
    }
}

impl Inner {
    pub(crate) async fn attach(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        next_start: bool,
    ) -> Result<Attachment, EngineError> {
        let failed = |error| EngineError::file("make", "a pair of sockets", error);
        // A start that is under way is waited for.
        let _work = entry.work.lock().await;
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let attachment = Attachment::of(ours, entry.live().record.config.terminal)?;
        match entry.state() {
            ContainerState::Exited | ContainerState::Restarting if !next_start => {
                return Err(self.wrong_state(entry, "there is nothing to attach to"));
            }
            ContainerState::Created | ContainerState::Exited | ContainerState::Restarting => {
                let mut live = entry.live();
                if live.pending.len() >= MAX_PENDING {
                    drop(live);
                    return Err(self.wrong_state(entry, "too many wait for its start already"));
                }
                live.pending.push(theirs);
            }
            ContainerState::Running | ContainerState::Paused => {
                let id = entry.id.clone();
                let attach = move |client: &mut Client| client.attach_socket(&id, theirs.as_fd());
                self.keeper.run(None, attach).await?.map_err(|error| self.refused(entry, error))?;
            }
        }
        self.tell(entry, ContainerEventKind::Attached);
        let (this, left) = (Arc::downgrade(self), Arc::clone(entry));
        Ok(attachment.when_left(move || {
            if let Some(this) = this.upgrade().filter(|_| left.state().is_alive()) {
                this.tell(&left, ContainerEventKind::Detached);
            }
        }))
    }

    pub(crate) async fn resize(&self, entry: &Arc<Entry>, size: WindowSize) -> Result<(), EngineError> {
        let _work = entry.work.lock().await;
        if !entry.live().record.config.terminal {
            return Err(self.wrong_state(entry, "it has no terminal"));
        }
        let phase = entry.live().record.phase;
        match phase {
            Phase::Started => {}
            Phase::Created => {
                entry.live().record.config.window = Some(size);
                return Ok(());
            }
            _ => return Err(self.wrong_state(entry, "its terminal is gone")),
        }
        let id = entry.id.clone();
        let resize = move |client: &mut Client| client.resize(&id, size);
        self.keeper.run(None, resize).await?.map_err(|error| self.refused(entry, error))?;
        let WindowSize { rows, columns } = size;
        self.tell(entry, ContainerEventKind::Resized { rows, columns });
        Ok(())
    }

    fn refused(&self, entry: &Entry, error: ClientError) -> EngineError {
        match error {
            ClientError::Refused { kind: ErrorKind::State | ErrorKind::NotFound, .. } => {
                self.wrong_state(entry, "it has just exited")
            }
            error => EngineError::Keeper(error.to_string()),
        }
    }
}

impl AsyncRead for Attachment {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let (before, room) = (buf.filled().len(), buf.remaining());
        let read = match Pin::new(&mut self.stream).poll_read(cx, buf) {
            // It ended without having read all its input, which the socket tells after the last of the output.
            Poll::Ready(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                Poll::Ready(Ok(()))
            }
            other => other,
        };
        if read.is_ready() && buf.filled().len() == before && room > 0 {
            // Whoever leaves now has seen all of it.
            self.left = None;
        }
        read
    }
}

impl AsyncWrite for Attachment {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
