//! Deletes host ends in batches. Deleting one link makes the kernel wait 8 to 16 ms for its readers; deleting a
//! group waits once. One task takes whatever is waiting, deletes it as one group and answers all that asked.

use std::{io, sync::Arc};

use tokio::sync::{mpsc, oneshot};

use super::{error::NetworkError, link::Links};

/// Requests that may wait; more callers than that wait to get in.
const QUEUE: usize = 1024;
/// Links deleted at once: the kernel holds its link lock all that time, about 0.4 ms each.
const BATCH: usize = 128;

struct Request {
    name: String,
    done: oneshot::Sender<Result<(), Failure>>,
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
    pub(super) fn start(links: Arc<Links>) -> Self {
        let (queue, requests) = mpsc::channel(QUEUE);
        tokio::spawn(run(links, requests));
        Self { queue }
    }

    /// Deletes the link of this name; returns when it is gone.
    pub(super) async fn delete(&self, name: String) -> Result<(), NetworkError> {
        let (done, answer) = oneshot::channel();
        let request = Request { name, done };
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
        NetworkError::Link { action: "delete a container's interface".into(), source }
    }
}

async fn run(links: Arc<Links>, mut requests: mpsc::Receiver<Request>) {
    let mut batch = Vec::with_capacity(BATCH);
    while requests.recv_many(&mut batch, BATCH).await > 0 {
        // Give others that are leaving at this moment the chance to be in the same batch.
        tokio::task::yield_now().await;
        while batch.len() < BATCH
            && let Ok(request) = requests.try_recv()
        {
            batch.push(request);
        }
        let names: Vec<String> = batch.iter().map(|request| request.name.clone()).collect();
        let result = links.delete(&names).await.map_err(|error| Failure(Arc::new(error)));
        for request in batch.drain(..) {
            // Whoever asked may have gone away; the link is deleted all the same.
            let _ = request.done.send(result.clone());
        }
    }
}
