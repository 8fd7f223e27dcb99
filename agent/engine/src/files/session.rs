//! The engine's side of one copy: starts the helper, sends the job and the archive, reads the answers. The helper dies
//! with this value, so a caller that goes away takes it along.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::job::{Job, MAX_FRAME, Tag, Work, encode};
use super::view::Target;
use super::{Copied, FileInfo, FilesError};

/// What a helper says.
#[derive(Debug)]
pub enum CopyStep {
    /// What is under the path.
    Info(FileInfo),
    /// The next bytes of the archive.
    Data(Bytes),
    /// The end.
    Done(Copied),
}

/// One helper.
#[derive(Debug)]
pub(crate) struct Session {
    /// Killed when dropped.
    _child: Child,
    answers: BufReader<OwnedReadHalf>,
    writing: Option<OwnedWriteHalf>,
}

impl Session {
    /// Starts `program` as the helper for `target` and tells it what to do.
    pub(crate) async fn start(program: &Path, target: Target, work: Work) -> Result<Self, FilesError> {
        let Target { root, process, own_users } = target;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(FilesError::helper)?;
        let child = Command::new(program)
            .arg("files")
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(root))
            .stderr(Stdio::from(process))
            .kill_on_drop(true)
            .spawn()
            .map_err(|fault| FilesError::helper(format!("start {}: {fault}", program.display())))?;
        ours.set_nonblocking(true).map_err(FilesError::helper)?;
        let (reading, mut writing) = UnixStream::from_std(ours).map_err(FilesError::helper)?.into_split();
        let job = encode(&Job { own_users, work }).map_err(FilesError::helper)?;
        writing.write_all(&job).await.map_err(FilesError::helper)?;
        Ok(Session { _child: child, answers: BufReader::new(reading), writing: Some(writing) })
    }

    /// Sends an archive from `input` beside whatever else happens; without one, its end at once. `None` in the input
    /// is an archive that broke off: the helper is not told of an end then, and this session is of no more use.
    pub(crate) fn feed(&mut self, input: Option<mpsc::Receiver<Option<Bytes>>>) {
        let Some(mut writing) = self.writing.take() else { return };
        let Some(mut input) = input else { return };
        tokio::spawn(async move {
            while let Some(piece) = input.recv().await {
                let Some(piece) = piece else {
                    // Long enough for whoever reads the answers to have dropped the session, which kills the helper.
                    let _ = tokio::time::timeout(std::time::Duration::from_secs(60), input.recv()).await;
                    return;
                };
                // A helper that has failed reads no more; it says why.
                if writing.write_all(&piece).await.is_err() {
                    return;
                }
            }
            let _ = writing.shutdown().await;
        });
    }

    /// The next thing it says.
    pub(crate) async fn next(&mut self) -> Result<CopyStep, FilesError> {
        let lost = |_| FilesError::helper("it ended without a word");
        let tag = self.answers.read_u8().await.map_err(lost)?;
        let length = self.answers.read_u32_le().await.map_err(lost)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let tag = Tag::of(tag).filter(|_| length <= MAX_FRAME);
        let tag = tag.ok_or_else(|| FilesError::helper("it said something unintelligible"))?;
        let mut payload = vec![0; length];
        self.answers.read_exact(&mut payload).await.map_err(lost)?;
        let unclear = |fault: serde_json::Error| FilesError::helper(fault);
        match tag {
            Tag::Data => Ok(CopyStep::Data(payload.into())),
            Tag::Info => serde_json::from_slice(&payload).map(CopyStep::Info).map_err(unclear),
            Tag::Done => serde_json::from_slice(&payload).map(CopyStep::Done).map_err(unclear),
            Tag::Failed => Err(serde_json::from_slice(&payload).map_err(unclear)?),
        }
    }
}
