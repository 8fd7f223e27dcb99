//! Writes our rules again when somebody else flushes them: a restart of the host's own firewall service empties the
//! whole rule set. Until then published ports would be closed and containers open to direct routing, so this
//! listens to the kernel's announcements instead of waiting for the next change.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::FutureExt;
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_NETFILTER};

use super::{error::NetworkError, guard, publisher::Publisher};

/// The kernel's group of announcements of changes of the packet filter, as a bit.
const CHANGES: u32 = 1 << (7 - 1);
/// A flush is followed by the rules of whoever flushed; write ours after the burst.
const SETTLE: Duration = Duration::from_millis(100);

/// The listening task; ends when this is dropped.
#[derive(Debug)]
pub(super) struct Watcher {
    task: tokio::task::JoinHandle<()>,
}

impl Watcher {
    /// Listens in the network namespace of the calling thread.
    pub(super) fn start(publisher: Arc<Mutex<Publisher>>) -> Result<Self, NetworkError> {
        let announcements = listen().map_err(|source| {
            let action = "listen to changes of the packet filter".to_owned();
            NetworkError::Link { action, source }
        })?;
        Ok(Self { task: tokio::spawn(watch(announcements, publisher)) })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn listen() -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
    socket.socket_mut().bind(&SocketAddr::new(0, CHANGES))?;
    Ok(socket)
}

async fn watch(announcements: TokioSocket, publisher: Arc<Mutex<Publisher>>) {
    // What was announced does not matter, that something changed does: each is cut to this size and thrown away.
    let mut buffer = Vec::with_capacity(64);
    while is_news(&announcements.recv(&mut buffer).await) {
        tokio::time::sleep(SETTLE).await;
        while let Some(result) = announcements.recv(&mut buffer).now_or_never() {
            buffer.clear();
            if !is_news(&result) {
                return;
            }
        }
        buffer.clear();
        let publisher = Arc::clone(&publisher);
        let restored = tokio::task::spawn_blocking(move || guard(&publisher).restore()).await;
        if let Ok(Err(error)) = restored {
            tracing::error!(%error, "cannot write the packet filter rules again");
        }
    }
}

/// More announcements than the socket could keep are news as well.
fn is_news(result: &io::Result<()>) -> bool {
    let overflow = rustix::io::Errno::NOBUFS.raw_os_error();
    result.as_ref().err().is_none_or(|error| error.raw_os_error() == Some(overflow))
}
