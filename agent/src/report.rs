//! The statuses that wait to be sent. The newest of each task replaces the one
//! before: a task's state only grows, so nothing is lost by that, and however
//! long no controller is there, no more waits than there are tasks. The session
//! takes them in batches. What was taken and lost with a session is put again by
//! the supervisor, which compares with the set that opens the next one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::v1::TaskStatus;
use tokio::sync::Notify;

use crate::task::status::Status;

/// How long the first status of a batch waits for more.
const BATCH: Duration = Duration::from_millis(50);
/// The most statuses in one message.
const BATCH_MAX: usize = 1000;

/// The waiting statuses. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Reports {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: Mutex<BTreeMap<String, Status>>,
    filled: Notify,
}

impl Reports {
    fn waiting(&self) -> MutexGuard<'_, BTreeMap<String, Status>> {
        self.inner.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `status` sent, instead of what waits for the same task.
    pub fn put(&self, task_id: &str, status: Status) {
        self.waiting().insert(task_id.to_owned(), status);
        self.inner.filled.notify_one();
    }

    /// Has nothing sent for a task that the controller has forgotten.
    pub fn drop_task(&self, task_id: &str) {
        self.waiting().remove(task_id);
    }

    /// The next batch, never empty. Waits for a first status, then a little for
    /// others. Nothing is taken when the future is dropped before it is done.
    pub async fn batch(&self) -> Vec<TaskStatus> {
        loop {
            if self.waiting().is_empty() {
                self.inner.filled.notified().await;
            }
            tokio::time::sleep(BATCH).await;
            let batch = self.take();
            if !batch.is_empty() {
                return batch;
            }
        }
    }

    fn take(&self) -> Vec<TaskStatus> {
        let mut waiting = self.waiting();
        let mut batch = Vec::with_capacity(waiting.len().min(BATCH_MAX));
        while batch.len() < BATCH_MAX {
            let Some((id, status)) = waiting.pop_first() else { break };
            batch.push(status.to_wire(&id));
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use proto::v1::TaskState;

    use super::*;

    fn status(state: TaskState) -> Status {
        Status::plain(state, 1, "")
    }

    #[tokio::test]
    async fn what_happens_within_a_moment_is_one_message_with_the_newest_of_each() {
        let reports = Reports::default();
        reports.put("a", status(TaskState::Preparing));
        reports.put("b", status(TaskState::Ready));
        reports.put("a", status(TaskState::Running));
        let batch = reports.batch().await;
        let sent: Vec<_> = batch.iter().map(|status| (status.task_id.as_str(), status.state())).collect();
        assert_eq!(sent, [("a", TaskState::Running), ("b", TaskState::Ready)]);
    }

    #[tokio::test]
    async fn a_batch_that_nobody_waited_for_is_still_there() {
        let reports = Reports::default();
        reports.put("a", status(TaskState::Running));
        drop(tokio::time::timeout(Duration::from_millis(5), reports.batch()).await);
        assert_eq!(reports.batch().await.len(), 1);
    }

    #[tokio::test]
    async fn many_statuses_are_several_messages() {
        let reports = Reports::default();
        for number in 0..1500 {
            reports.put(&number.to_string(), status(TaskState::Running));
        }
        assert_eq!(reports.batch().await.len(), 1000);
        assert_eq!(reports.batch().await.len(), 500);
    }
}
