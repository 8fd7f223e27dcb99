//! The logs of a service: one reader per task, from the node it runs on, merged
//! into one stream. While following, tasks that appear later are read too, from
//! their first line.
//!
//! Lines of one task stay in order; between tasks there is no order but that of
//! arrival. Without `follow` a node that can't be reached is an error, told
//! after everything else was sent; with it, it is tried again.

mod reader;

use std::collections::BTreeSet;
use std::sync::Arc;

use controller_core::{ServiceId, Task, TaskId, TaskState};
use proto::v1;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::Instrument as _;

use self::reader::{Reader, Wish};
use super::{Answers, task};
use crate::error::ApiError;
use crate::server::Context;

/// Lines on their way to the caller; beyond them nodes are read no further.
const BUFFERED_LINES: usize = 256;
/// Tasks that are read at a time.
const READERS: usize = 1024;

type Sender = mpsc::Sender<Result<v1::ServiceLogsResponse, Status>>;

pub(super) fn open(
    context: &Context,
    request: &v1::ServiceLogsRequest,
) -> Result<Answers<v1::ServiceLogsResponse>, ApiError> {
    let service = task::service_id(&context.store.state(), &request.service)?;
    let (sender, answers) = mpsc::channel(BUFFERED_LINES);
    let merger = Merger {
        context: context.clone(),
        service,
        wish: Wish::of(request),
        sender: sender.clone(),
        started: BTreeSet::new(),
        readers: JoinSet::new(),
        failure: None,
    };
    let closing = context.closing.clone();
    let merge = async move {
        let failure = tokio::select! {
            failure = merger.run() => failure,
            () = closing.closed() => Some(ApiError::ShuttingDown.into()),
            () = sender.closed() => None,
        };
        if let Some(status) = failure {
            // An error means that the reader is gone too.
            let _ = sender.send(Err(status)).await;
        }
    };
    tokio::spawn(merge.in_current_span());
    Ok(ReceiverStream::new(answers))
}

struct Merger {
    context: Context,
    service: ServiceId,
    wish: Wish,
    sender: Sender,
    started: BTreeSet<TaskId>,
    /// Dropping them ends them.
    readers: JoinSet<Result<(), Status>>,
    /// The first failure, told at the end.
    failure: Option<Status>,
}

impl Merger {
    async fn run(mut self) -> Option<Status> {
        let mut changes = self.context.store.changes();
        let mut first = true;
        loop {
            changes.borrow_and_update();
            let more = self.start_readers(first);
            first = false;
            let gone = self.context.store.state().service_touched(&self.service).is_none();
            let waits = self.wish.follow && !gone && !self.wish.is_over();
            if self.readers.is_empty() && !waits {
                return self.failure;
            }
            tokio::select! {
                Some(ended) = self.readers.join_next(), if !self.readers.is_empty() => match ended {
                    Ok(Ok(())) => {}
                    Ok(Err(status)) => drop(self.failure.get_or_insert(status)),
                    Err(error) => drop(self.failure.get_or_insert(Status::internal(error.to_string()))),
                },
                changed = changes.changed(), if waits || more => if changed.is_err() {
                    return Some(ApiError::ShuttingDown.into());
                },
                () = self.wish.end(), if waits => {}
            }
        }
    }

    /// Starts a reader for each task that has a log and none yet. True when
    /// some have to wait for others to end.
    fn start_readers(&mut self, first: bool) -> bool {
        if !first && !self.wish.follow && self.readers.is_empty() {
            return false;
        }
        let state = self.context.store.state();
        self.started.retain(|id| state.task(id).is_some());
        for task in state.tasks_of_service(&self.service).filter(|task| has_log(task)) {
            if self.started.contains(&task.id) {
                continue;
            }
            if self.readers.len() >= READERS {
                return true;
            }
            self.started.insert(task.id);
            // What appears while following is new: all of it is wanted.
            let wish = if first { self.wish } else { Wish { tail: None, ..self.wish } };
            let reader = Reader::new(&self.context, task, wish, self.sender.clone());
            self.readers.spawn(reader.run().in_current_span());
        }
        false
    }
}

/// Whether the task ever had a container that could write something.
fn has_log(task: &Arc<Task>) -> bool {
    task.node.is_some() && task.state >= TaskState::Starting && task.state != TaskState::Rejected
}
