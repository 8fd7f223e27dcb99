//! Reading the log of one task from its node, across interruptions: after one
//! it goes on behind the last line that was passed on.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use controller_core::{Task, TaskId};
use proto::v1;
use tonic::{Code, Request, Status};

use super::Sender;
use crate::error::ApiError;
use crate::node_client::Destination;
use crate::server::Context;
use crate::telemetry::current_traceparent;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// Which lines are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) follow: bool,
    pub(super) tail: Option<u32>,
    pub(super) since_ns: u64,
    pub(super) until_ns: Option<u64>,
    pub(super) details: bool,
}

impl Wish {
    pub(super) fn of(request: &v1::ServiceLogsRequest) -> Self {
        let since_ns = request.since_ns.unwrap_or_else(|| request.since_ms.saturating_mul(1_000_000));
        Self {
            follow: request.follow,
            tail: request.tail,
            since_ns,
            until_ns: request.until_ns,
            details: request.details,
        }
    }

    /// Whether nothing that is still to be written is wanted.
    pub(super) fn is_over(&self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    /// Waits until then.
    pub(super) async fn end(&self) {
        match self.left() {
            Some(left) => tokio::time::sleep(left).await,
            None => std::future::pending().await,
        }
    }

    fn left(&self) -> Option<Duration> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Some(Duration::from_nanos(self.until_ns?).saturating_sub(now))
    }
}

/// Reads one task's log.
pub(super) struct Reader {
    context: Context,
    task: TaskId,
    slot: u32,
    wish: Wish,
    /// Time of the last line passed on, once there is one.
    last_ns: Option<u64>,
    sender: Sender,
}

impl Reader {
    pub(super) fn new(context: &Context, task: &Task, wish: Wish, sender: Sender) -> Self {
        Self { context: context.clone(), task: task.id, slot: task.slot, wish, last_ns: None, sender }
    }

    /// Ends with the log, or with the reason why it can't be read.
    pub(super) async fn run(mut self) -> Result<(), Status> {
        let mut wait = FIRST_WAIT;
        loop {
            let before = self.last_ns;
            let result = self.read_once().await;
            if self.sender.is_closed() {
                return Ok(());
            }
            let finished = match self.context.store.state().task(&self.task) {
                Some(task) => task.state.is_finished(),
                None => return Ok(()),
            };
            match result {
                Ok(()) if finished || !self.wish.follow || self.wish.is_over() => return Ok(()),
                // The agent has forgotten the container, or has not made it yet.
                Err(status) if status.code() == Code::NotFound && (finished || !self.wish.follow) => {
                    return Ok(());
                }
                Err(status) if !self.wish.follow => return Err(self.explain(&status)),
                Err(status) => tracing::debug!(task = %self.task, %status, "reading a log was interrupted"),
                Ok(()) => {}
            }
            wait = if self.last_ns == before { (wait * 2).min(LONGEST_WAIT) } else { FIRST_WAIT };
            tokio::time::sleep(wait).await;
        }
    }

    async fn read_once(&mut self) -> Result<(), Status> {
        let Some(node) = self.destination() else { return Ok(()) };
        let mut client = self.context.nodes.node(&node).map_err(ApiError::from)?;
        let since_ns = self.last_ns.unwrap_or(self.wish.since_ns);
        let mut request = Request::new(v1::ContainerLogsRequest {
            container: self.task.to_string(),
            follow: self.wish.follow,
            tail: if self.last_ns.is_some() { None } else { self.wish.tail },
            since_ms: since_ns / 1_000_000,
            since_ns: Some(since_ns),
            until_ns: self.wish.until_ns,
            details: self.wish.details,
        });
        if let Some(trace) = current_traceparent().and_then(|trace| trace.parse().ok()) {
            request.metadata_mut().insert("traceparent", trace);
        }
        let mut lines = client.container_logs(request).await?.into_inner();
        let passed = self.last_ns;
        while let Some(message) = lines.message().await? {
            let Some(line) = message.line else { continue };
            if passed.is_some_and(|passed| line.time_ns <= passed) {
                continue;
            }
            self.last_ns = Some(line.time_ns);
            let response = v1::ServiceLogsResponse {
                task_id: self.task.to_string(),
                slot: self.slot,
                node_name: node.name.clone(),
                line: Some(line),
            };
            if self.sender.send(Ok(response)).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Where the task is now; its node may have another address since.
    fn destination(&self) -> Option<Destination> {
        let state = self.context.store.state();
        state.node(&state.task(&self.task)?.node?).map(|node| Destination::of(node))
    }

    fn explain(&self, status: &Status) -> Status {
        let node = self.destination().map(|node| node.name).unwrap_or_default();
        let text = format!("logs of task {} on node {node} could not be read: {}", self.task, reason(status));
        Status::new(status.code(), text)
    }
}

/// tonic says only "transport error"; what happened is in the sources.
fn reason(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        text = error.to_string();
        source = error.source();
    }
    text
}
