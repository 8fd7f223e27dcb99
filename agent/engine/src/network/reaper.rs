//! Takes networks of containers apart in batches: files of namespaces, host ends, addresses. Deleting one link makes
//! the kernel wait 8 to 30 ms for its readers, with its link lock held, which nobody can make a link without; deleting
//! a group waits once. One task takes whatever is waiting, deletes it as one group and answers those who asked.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use super::{error::NetworkError, guard, lease::Leases, link::Links, netns};

/// Requests that may wait; more callers than that wait to get in.
const QUEUE: usize = 1024;
/// Links deleted at once: the kernel holds its link lock all that time, about 0.4 ms each.
const BATCH: usize = 128;
/// What nobody waits for waits for company: under load the link lock is then held a tenth of the time.
const GATHER: Duration = Duration::from_millis(250);

/// What one container has of the network.
#[derive(Debug, Clone)]
pub(super) struct Plug {
    /// The host end of its pair.
    pub(super) name: String,
    /// The file that keeps its namespace, if that is to go too.
    pub(super) netns: Option<PathBuf>,
}

struct Request {
    /// None asks only that everything before is done.
    plug: Option<Plug>,
    /// None when nobody waits.
    done: Option<oneshot::Sender<Result<(), Failure>>>,
}

/// A failure told to everyone in the batch.
#[derive(Clone)]
struct Failure(Arc<NetworkError>);

/// Handle to the deleting task, which ends with the last handle.
#[derive(Debug)]
pub(super) struct Reaper {
    queue: mpsc::Sender<Request>,
}

impl Reaper {
    pub(super) fn start(links: Arc<Links>, leases: Arc<Mutex<Leases>>) -> Self {
        let (queue, requests) = mpsc::channel(QUEUE);
        tokio::spawn(run(Host { links, leases }, requests));
        Self { queue }
    }

    /// Takes this apart; returns when nothing of it is left and its address is free.
    pub(super) async fn delete(&self, plug: Plug) -> Result<(), NetworkError> {
        self.ask(Some(plug)).await
    }

    /// Takes this apart soon, together with others. What fails is logged, and swept by the next agent.
    pub(super) async fn retire(&self, plug: Plug) {
        // The task ends only after the last handle.
        let _ = self.queue.send(Request { plug: Some(plug), done: None }).await;
    }

    /// Returns when all that was to be taken apart is.
    pub(super) async fn flush(&self) -> Result<(), NetworkError> {
        self.ask(None).await
    }

    async fn ask(&self, plug: Option<Plug>) -> Result<(), NetworkError> {
        let (done, answer) = oneshot::channel();
        let request = Request { plug, done: Some(done) };
        self.queue.send(request).await.map_err(|_| NetworkError::Stopped)?;
        answer.await.map_err(|_| NetworkError::Stopped)?.map_err(Failure::into_error)
    }
}

impl Failure {
    fn into_error(self) -> NetworkError {
        let code = match &*self.0 {
            NetworkError::Link { source, .. } => source.raw_os_error(),
            _ => None,
        };
        let source = code.map_or_else(|| io::Error::other(self.0.to_string()), io::Error::from_raw_os_error);
        NetworkError::Link { action: "take a container's network apart".into(), source }
    }
}

struct Host {
    links: Arc<Links>,
    leases: Arc<Mutex<Leases>>,
}

async fn run(host: Host, mut requests: mpsc::Receiver<Request>) {
    let mut batch = Vec::with_capacity(BATCH);
    while let Some(first) = requests.recv().await {
        batch.push(first);
        gather(&mut requests, &mut batch).await;
        let results = host.delete(batch.iter().map(|request| request.plug.clone()).collect()).await;
        for (request, result) in batch.drain(..).zip(results) {
            match request.done {
                // Whoever asked may have gone away; it is gone all the same.
                Some(done) => drop(done.send(result)),
                None => {
                    if let Err(Failure(error)) = result {
                        tracing::warn!(%error, "the network of a container that ended is not gone");
                    }
                }
            }
        }
    }
}

/// Adds what comes within the time, or at this moment once somebody waits.
async fn gather(requests: &mut mpsc::Receiver<Request>, batch: &mut Vec<Request>) {
    let until = Instant::now() + GATHER;
    while batch.len() < BATCH {
        if batch.iter().any(|request| request.done.is_some()) {
            // Others that are leaving at this moment may be in the same batch.
            tokio::task::yield_now().await;
            while batch.len() < BATCH
                && let Ok(request) = requests.try_recv()
            {
                batch.push(request);
            }
            return;
        }
        match timeout_at(until, requests.recv()).await {
            Ok(Some(request)) => batch.push(request),
            Ok(None) | Err(_) => return,
        }
    }
}

impl Host {
    /// One result each, in the order of the requests.
    async fn delete(&self, plugs: Vec<Option<Plug>>) -> Vec<Result<(), Failure>> {
        let leased = |plug: &&Plug| guard(&self.leases).get(&plug.name).is_some();
        let names: Vec<String> =
            plugs.iter().flatten().filter(leased).map(|plug| plug.name.clone()).collect();
        let deleted = match names.is_empty() {
            true => Ok(()),
            false => self.links.delete(&names).await.map_err(|error| Failure(Arc::new(error))),
        };
        if deleted.is_ok() {
            let mut leases = guard(&self.leases);
            names.iter().for_each(|name| leases.release(name));
        }
        let count = plugs.len();
        let remove = |plug: Option<Plug>| match plug.and_then(|plug| plug.netns) {
            Some(path) => netns::remove(&path),
            None => Ok(()),
        };
        let removed = tokio::task::spawn_blocking(move || plugs.into_iter().map(remove).collect::<Vec<_>>());
        let removed =
            removed.await.unwrap_or_else(|_| (0..count).map(|_| Err(NetworkError::Stopped)).collect());
        let own = |result: Result<(), NetworkError>| result.map_err(|error| Failure(Arc::new(error)));
        removed.into_iter().map(|result| deleted.clone().and(own(result))).collect()
    }
}
