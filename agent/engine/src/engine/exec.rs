//! The verbs of further processes in running containers.

use std::sync::Arc;

use agent_runtime::keeper::Exit;

use super::{Engine, to_its_end};
use crate::container::WindowSize;
use crate::container::exec::{ExecConfig, ExecInfo};
use crate::{Attachment, EngineError};

impl Engine {
    /// Runs a further process in a running container; answers when it runs, with
    /// its output and input from the first byte where the configuration asks for them.
    ///
    /// # Errors
    /// When the container does not run, or the program cannot be run in it.
    pub async fn exec(
        &self,
        container: &str,
        config: ExecConfig,
    ) -> Result<(ExecInfo, Option<Attachment>), EngineError> {
        self.inner.check_open()?;
        let (inner, entry) = (Arc::clone(&self.inner), self.inner.resolve(container)?);
        to_its_end(async move { inner.exec(&entry, config).await }).await
    }

    /// A further process, by the id that [`Engine::exec`] gave.
    ///
    /// # Errors
    /// When there is none, or its end is long forgotten.
    pub fn exec_info(&self, exec: &str) -> Result<ExecInfo, EngineError> {
        self.inner.exec_info(exec)
    }

    /// Its output from now on, and its input; at its end when it has ended.
    ///
    /// # Errors
    /// When there is none.
    pub async fn exec_attach(&self, exec: &str) -> Result<Attachment, EngineError> {
        self.inner.exec_attach(exec).await
    }

    /// Waits until it has ended; at once if it already has.
    ///
    /// # Errors
    /// When there is none.
    pub async fn exec_wait(&self, exec: &str) -> Result<Exit, EngineError> {
        self.inner.exec_wait(exec).await
    }

    /// Sets the size of its terminal.
    ///
    /// # Errors
    /// When there is none, or it has no terminal.
    pub async fn exec_resize(&self, exec: &str, size: WindowSize) -> Result<(), EngineError> {
        self.inner.exec_resize(exec, size).await
    }

    /// Sends it a signal, by number.
    ///
    /// # Errors
    /// When there is none, or no such signal.
    pub async fn exec_kill(&self, exec: &str, signal: i32) -> Result<(), EngineError> {
        self.inner.exec_kill(exec, signal).await
    }
}
