//! Files of containers, for the engine's callers: looking, copying out, copying in, and the whole tree.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Engine, Inner};
use crate::EngineError;
use crate::container::ContainerEventKind;
use crate::container::record::Entry;
use crate::files::job::Work;
use crate::files::session::Session;
use crate::files::{Copied, CopyStep, FileInfo, FilesError};

/// Pieces of an archive that wait for a slow reader or writer, of at most 256 KiB each.
const PIECES: usize = 4;

/// What a copy says, in order.
pub type CopySteps = mpsc::Receiver<Result<CopyStep, EngineError>>;

impl Engine {
    /// What is under `path` in a container, its last link followed or not.
    ///
    /// # Errors
    /// [`FilesError::Missing`] when there is nothing.
    pub async fn stat_file(
        &self,
        container: &str,
        path: Vec<u8>,
        follow: bool,
    ) -> Result<FileInfo, EngineError> {
        let mut steps = self.copy(container, Work::Stat { path, follow }, None)?;
        let mut info = None;
        while let Some(step) = steps.recv().await {
            match step? {
                CopyStep::Info(found) => info = Some(found),
                CopyStep::Data(_) | CopyStep::Done(_) => {}
            }
        }
        info.ok_or(EngineError::Closed)
    }

    /// Copies what is under `path` out of a container: first what it is, then an archive, whose first entry is called
    /// `name` (empty: as the last part of the path). Dropping the answers ends the copy.
    ///
    /// # Errors
    /// When there is no such container; all else is in the answers.
    pub fn read_files(
        &self,
        container: &str,
        path: Vec<u8>,
        follow: bool,
        name: Vec<u8>,
    ) -> Result<CopySteps, EngineError> {
        self.used(container, "archive-path", Vec::new())?;
        self.copy(container, Work::Read { path, follow, name }, None)
    }

    /// The merged tree of a container as an archive, without what is mounted on it.
    ///
    /// # Errors
    /// When there is no such container; all else is in the answers.
    pub fn export(&self, container: &str) -> Result<CopySteps, EngineError> {
        self.used(container, "export", Vec::new())?;
        self.copy(container, Work::Export, None)
    }

    /// Unpacks an archive, plain or compressed with gzip, into the directory `path` of a container. What is made
    /// there belongs to the container's root, or with `keep_owners` to whom the archive says. `None` in the input
    /// gives up: what was copied stays.
    ///
    /// # Errors
    /// When something cannot be copied; the error says what was.
    pub async fn write_files(
        &self,
        container: &str,
        path: Vec<u8>,
        keep_owners: bool,
        archive: mpsc::Receiver<Option<Bytes>>,
    ) -> Result<Copied, EngineError> {
        let mut steps = self.copy(container, Work::Write { path, keep_owners }, Some(archive))?;
        let mut done = None;
        while let Some(step) = steps.recv().await {
            if let CopyStep::Done(copied) = step? {
                done = Some(copied);
            }
        }
        self.used(container, "extract-to-dir", Vec::new())?;
        done.ok_or(EngineError::Closed)
    }

    /// Tells that something of it was read or copied.
    pub(super) fn used(
        &self,
        container: &str,
        action: &'static str,
        attributes: Vec<(&'static str, String)>,
    ) -> Result<(), EngineError> {
        let entry = self.inner.resolve(container)?;
        self.inner.tell(&entry, ContainerEventKind::Used { action, attributes });
        Ok(())
    }

    fn copy(
        &self,
        container: &str,
        work: Work,
        input: Option<mpsc::Receiver<Option<Bytes>>>,
    ) -> Result<CopySteps, EngineError> {
        self.inner.check_open()?;
        let (inner, entry) = (Arc::clone(&self.inner), self.inner.resolve(container)?);
        let (answers, steps) = mpsc::channel(PIECES);
        tokio::spawn(async move {
            if let Err(error) = inner.run_copy(&entry, work, input, &answers).await {
                // Nobody may be waiting any more.
                let _ = answers.send(Err(error)).await;
            }
        });
        Ok(steps)
    }
}

impl Inner {
    async fn run_copy(
        &self,
        entry: &Arc<Entry>,
        work: Work,
        input: Option<mpsc::Receiver<Option<Bytes>>>,
        answers: &mpsc::Sender<Result<CopyStep, EngineError>>,
    ) -> Result<(), EngineError> {
        // One that does not run must not start while its layers are in use here.
        let held = if entry.state().is_alive() { None } else { Some(entry.work.lock().await) };
        let (target, view) = self.open_view(entry).await?;
        let outcome = async {
            let mut session = Session::start(&self.config.keeper_program, target, work).await?;
            session.feed(input);
            loop {
                let step = tokio::select! {
                    step = session.next() => step?,
                    () = answers.closed() => return Ok::<_, FilesError>(()),
                };
                let is_last = matches!(step, CopyStep::Done(_));
                if answers.send(Ok(step)).await.is_err() || is_last {
                    return Ok(());
                }
            }
        };
        let outcome = outcome.await;
        self.close_view(view).await;
        drop(held);
        Ok(outcome?)
    }
}
