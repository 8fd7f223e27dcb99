//! The verbs that steer a container which is there: pause, rename and the like.

use std::sync::Arc;

use super::{Engine, to_its_end};
use crate::container::{Process, PruneFilter, Pruned, StopOptions, Update};
use crate::events::{Events, Listening, Subject};
use crate::{Attachment, EngineError, Exit};

impl Engine {
    /// Makes a running container's processes stand still until [`Engine::unpause`].
    ///
    /// # Errors
    /// When it does not run, or a process of it does not stop; then all go on.
    pub async fn pause(&self, container: &str) -> Result<(), EngineError> {
        let (inner, entry) = (Arc::clone(&self.inner), self.inner.resolve(container)?);
        to_its_end(async move { inner.pause(&entry).await }).await
    }

    /// Lets a paused container go on.
    ///
    /// # Errors
    /// When it is not paused.
    pub async fn unpause(&self, container: &str) -> Result<(), EngineError> {
        let (inner, entry) = (Arc::clone(&self.inner), self.inner.resolve(container)?);
        to_its_end(async move { inner.unpause(&entry).await }).await
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// When the name is no name or taken; nothing has changed then.
    pub async fn rename(&self, container: &str, name: &str) -> Result<(), EngineError> {
        let (inner, entry) = (Arc::clone(&self.inner), self.inner.resolve(container)?);
        let name = name.to_owned();
        to_its_end(async move { inner.rename(&entry, &name).await }).await
    }

    /// Ends a running container as asked; of one that has exited, answers how.
    ///
    /// # Errors
    /// When it was never started.
    pub async fn stop_as(&self, container: &str, options: StopOptions) -> Result<Exit, EngineError> {
        let (inner, entry) = (Arc::clone(&self.inner), self.inner.resolve(container)?);
        to_its_end(async move { inner.stop_as(&entry, options).await }).await
    }

    /// Stops it if it runs, then starts it. One that removes itself at its end stays.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub async fn restart(
        &self,
        container: &str,
        options: StopOptions,
        traceparent: Option<String>,
    ) -> Result<(), EngineError> {
        self.inner.check_open()?;
        let (inner, entry) = (Arc::clone(&self.inner), self.inner.resolve(container)?);
        to_its_end(async move { inner.restart(&entry, options, traceparent).await }).await
    }

    /// Waits for the end of a container's present or next run.
    ///
    /// # Errors
    /// When there is no such container, or it is removed without having run again.
    pub async fn wait_for_next(&self, container: &str) -> Result<Exit, EngineError> {
        self.inner.wait_for_next(&self.inner.resolve(container)?).await
    }

    /// As [`Engine::attach`]; of one that has exited, from its next start on.
    ///
    /// # Errors
    /// When too many wait for its start already.
    pub async fn attach_next(&self, container: &str) -> Result<Attachment, EngineError> {
        self.inner.attach(&self.inner.resolve(container)?, true).await
    }

    /// Changes what a container may use, of a running one at once.
    ///
    /// # Errors
    /// When a value breaks a rule or the kernel refuses it; nothing has changed then.
    pub async fn update(&self, container: &str, update: Update) -> Result<(), EngineError> {
        let (inner, entry) = (Arc::clone(&self.inner), self.inner.resolve(container)?);
        to_its_end(async move { inner.update(&entry, &update).await }).await
    }

    /// Removes all containers that do not run and belong to no task, if the filter admits them.
    ///
    /// # Errors
    /// When the engine is shutting down.
    pub async fn prune(&self, filter: PruneFilter) -> Result<Pruned, EngineError> {
        self.inner.check_open()?;
        let inner = Arc::clone(&self.inner);
        let pruned = to_its_end(async move { Ok(inner.prune(&filter).await) }).await?;
        self.inner.told.tell_pruned(Subject::Container, pruned.bytes);
        Ok(pruned)
    }

    /// The processes of a running container.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn top(&self, container: &str) -> Result<Vec<Process>, EngineError> {
        self.inner.top(&self.inner.resolve(container)?).await
    }

    /// Bytes that a container has written into its own layer. Looks at every file of it.
    ///
    /// # Errors
    /// When there is no such container or its layer cannot be read.
    pub async fn size(&self, container: &str) -> Result<u64, EngineError> {
        self.inner.size(&self.inner.resolve(container)?).await
    }

    /// The path of a container's cgroup, below the root of each hierarchy.
    ///
    /// # Errors
    /// When there is no such container.
    pub fn cgroup(&self, container: &str) -> Result<String, EngineError> {
        Ok(self.inner.resolve(container)?.live().record.cgroup(&self.inner.config))
    }

    /// What has happened lately on this engine, and what happens from now on.
    pub fn listen(&self) -> Listening {
        self.inner.told.listen()
    }

    /// Where those tell of events who make other things than containers.
    pub fn told(&self) -> &Events {
        &self.inner.told
    }
}
