//! From a container to this machine.

use std::io::IsTerminal;
use std::path::Path;

use proto::v1::read_files_response::Message;
use proto::v1::{FileInfo, ReadFilesRequest, ReadFilesResponse};
use tokio::sync::mpsc;
use tonic::Streaming;

use super::rules::{self, Found, Source, Target};
use super::{Files, Meter, Options, bytes_of, counted, path_of};
use crate::archive::{Copied, Keep, PieceReader, Unpacker};
use crate::error::{CommandError, Kind};
use crate::output;

/// Pieces on their way.
const QUEUE: usize = 4;

/// What everything is called in the archive until it gets its name here.
const NAME: &[u8] = b"copy";

/// Writes an archive to standard output.
pub(super) async fn to_stdout(
    files: &mut Files,
    container: &str,
    path: &[u8],
    options: Options,
) -> Result<Copied, CommandError> {
    refuse_terminal()?;
    // Of a directory's contents the directory is ".", so that they are unpacked wherever one is.
    let name = if path.ends_with(b"/.") { b".".to_vec() } else { Vec::new() };
    let request = ReadFilesRequest {
        container: container.to_owned(),
        path: path.to_vec(),
        follow: options.follow,
        name,
    };
    pass_on(files.read_files(request).await?.into_inner()).await
}

/// An archive on a terminal helps nobody.
pub(in crate::cmd::container) fn refuse_terminal() -> Result<(), CommandError> {
    if std::io::stdout().is_terminal() {
        return Err(CommandError::new(
            Kind::Usage,
            "standard output is a terminal, and an archive is not text",
        )
        .hint("redirect it to a file, or pipe it to tar"));
    }
    Ok(())
}

/// Passes an archive on to standard output.
pub(in crate::cmd::container) async fn pass_on(
    mut answers: Streaming<ReadFilesResponse>,
) -> Result<Copied, CommandError> {
    while let Some(answer) = answers.message().await? {
        match answer.message {
            Some(Message::Archive(piece)) => output::bytes(&piece, false)
                .map_err(|error| CommandError::internal(format!("standard output: {error}")))?,
            Some(Message::Done(copied)) => return Ok(counted(Some(copied))),
            Some(Message::File(_)) | None => {}
        }
    }
    Err(broken())
}

/// Copies to a path.
pub(super) async fn to_path(
    files: &mut Files,
    container: &str,
    path: &[u8],
    to: &Path,
    options: Options,
    meter: &Meter,
) -> Result<Copied, CommandError> {
    let request = ReadFilesRequest {
        container: container.to_owned(),
        path: path.to_vec(),
        follow: options.follow,
        name: NAME.to_vec(),
    };
    let mut answers = files.read_files(request).await?.into_inner();
    let Some(Message::File(file)) = answers.message().await?.and_then(|answer| answer.message) else {
        return Err(broken());
    };
    let target = choose(&file, path, to)?;
    let keep = if options.keep_owners { Keep::Owners } else { Keep::Modes };
    let directory = path_of(target.directory);
    let mut unpacker = Unpacker::new(&directory, &target.name, keep)
        .map_err(|error| CommandError::new(Kind::NotFound, error.to_string()))?;
    let (pieces, archive) = mpsc::channel(QUEUE);
    let unpacking = tokio::task::spawn_blocking(move || {
        let outcome = unpacker.run(PieceReader::new(archive));
        (unpacker.copied, outcome)
    });
    let mut failure = None;
    let mut notes = Vec::new();
    loop {
        let message = match answers.message().await {
            Ok(Some(answer)) => answer.message,
            Ok(None) => break,
            Err(status) => {
                failure = Some(CommandError::from(status));
                break;
            }
        };
        let piece = match message {
            Some(Message::Archive(piece)) => {
                meter.add(piece.len());
                Some(piece)
            }
            Some(Message::Done(done)) => {
                notes = done.notes;
                None
            }
            Some(Message::File(_)) | None => continue,
        };
        let is_last = piece.is_none();
        if pieces.send(piece).await.is_err() || is_last {
            break;
        }
    }
    drop(pieces);
    let (mut copied, outcome) =
        unpacking.await.map_err(|error| CommandError::internal(format!("unpacking: {error}")))?;
    match (failure, outcome) {
        (Some(failure), _) => Err(failure),
        (None, Err(error)) => {
            Err(CommandError::internal(format!("{error}; {} entries were copied before", copied.entries)))
        }
        (None, Ok(())) => {
            copied.notes.extend(notes);
            Ok(copied)
        }
    }
}

fn choose(file: &FileInfo, path: &[u8], to: &Path) -> Result<Target, CommandError> {
    let is_directory = file.mode & 0o170_000 == 0o040_000;
    let contents = path.ends_with(b"/.");
    let name = if file.name == b"/" { b"" } else { file.name.as_slice() };
    let contents = contents || name.is_empty();
    let refused = |kind, reason: &str| CommandError::new(kind, format!("{}: {reason}", to.display()));
    let found = match to.metadata() {
        Ok(found) if found.is_dir() => Found::Directory,
        Ok(_) => Found::Other,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Found::Nothing,
        Err(error) => return Err(refused(Kind::NotFound, &error.to_string())),
    };
    let to = match found {
        // A link to a file stands for the file, as with cp.
        Found::Other => bytes_of(&to.canonicalize().unwrap_or_else(|_| to.to_owned())),
        Found::Nothing | Found::Directory => bytes_of(to),
    };
    rules::target(Source { name, is_directory, contents }, &to, found)
        .map_err(|reason| refused(Kind::Invalid, reason))
}

fn broken() -> CommandError {
    CommandError::new(Kind::Unavailable, "the agent ended the copy before it was complete")
}
