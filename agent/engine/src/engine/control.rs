//! The verbs that steer a container which is there: pause, rename and the like.

use std::sync::Arc;

use super::{Engine, to_its_end};
use crate::EngineError;
use crate::events::{Events, Listening};

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

    /// What has happened lately on this engine, and what happens from now on.
    pub fn listen(&self) -> Listening {
        self.inner.told.listen()
    }

    /// Where those tell of events who make other things than containers.
    pub fn told(&self) -> &Events {
        &self.inner.told
    }
}
