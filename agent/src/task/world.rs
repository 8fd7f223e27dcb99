//! What the supervisor acts on: the containers of this host's tasks, or in tests
//! something that behaves like them.

use std::sync::Arc;

use proto::v1::TaskAssignment;
use tokio_util::sync::CancellationToken;

use super::machine::Seen;

/// The containers of tasks.
///
/// Each piece of work may be repeated: an agent that was killed in the middle
/// does the same again, and finds it done or half done. Errors are sentences
/// for the person who reads `ctl service ps`.
pub trait World: Send + Sync + 'static {
    /// The container of a task, as it is now.
    fn see(&self, task_id: &str) -> Seen;

    /// Every task that has a container here.
    fn tasks(&self) -> Vec<String>;

    /// Gets the image if it is missing and makes the container. Gives up early,
    /// with an error that nobody reads, when `cancel` fires.
    fn prepare(
        &self,
        task: Arc<TaskAssignment>,
        cancel: CancellationToken,
    ) -> impl Future<Output = Result<(), String>> + Send;

    /// Starts the container. When this answers, its published ports lead to it.
    fn start(&self, task: Arc<TaskAssignment>) -> impl Future<Output = Result<(), String>> + Send;

    /// Stops the container, gently first.
    fn stop(&self, task_id: &str) -> impl Future<Output = Result<(), String>> + Send;

    /// Removes what is left of it.
    fn remove(&self, task_id: &str) -> impl Future<Output = Result<(), String>> + Send;
}
