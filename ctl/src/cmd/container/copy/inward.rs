//! From this machine into a container.

use std::io::Read;
use std::path::Path;

use proto::v1::write_files_request::Message;
use proto::v1::{FileInfo, StatFileRequest, WriteFilesOpen, WriteFilesRequest};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::rules::{self, Found, Source, Target};
use super::{Files, Meter, Options, bytes_of, counted};
use crate::archive::{Copied, PIECE, PieceWriter, pack};
use crate::error::{CommandError, Kind};

/// Pieces on their way.
const QUEUE: usize = 4;

/// Links at the end of a destination that are followed.
const LINKS: usize = 40;

const DIRECTORY: u32 = 0o040_000;
const SYMLINK: u32 = 0o120_000;
const KIND: u32 = 0o170_000;

/// Copies a file or directory.
pub(super) async fn from_path(
    files: &mut Files,
    from: &Path,
    container: &str,
    path: &[u8],
    options: Options,
    meter: &Meter,
) -> Result<Copied, CommandError> {
    let text = bytes_of(from);
    // As everywhere a slash at the end follows a link.
    let follow = options.follow || text.ends_with(b"/") || text.ends_with(b"/.");
    let metadata = if follow { from.metadata() } else { from.symlink_metadata() };
    let metadata = metadata
        .map_err(|error| CommandError::new(Kind::NotFound, format!("{}: {error}", from.display())))?;
    let whole = from.canonicalize().map(|path| bytes_of(&path)).unwrap_or_default();
    let (_, mut name) = rules::split(&text);
    if matches!(name, b"." | b".." | b"" | b"/") {
        name = rules::split(&whole).1;
    }
    let contents = text.ends_with(b"/.") || text == b".";
    let source = Source { name, is_directory: metadata.is_dir(), contents };
    let (path, found) = destination(files, container, path).await?;
    let Target { directory, name } = rules::target(source, &path, found).map_err(|reason| {
        CommandError::new(
            Kind::Invalid,
            format!("{container}:{}: {reason}", crate::archive::printable(&path)),
        )
    })?;
    let (pieces, archive) = mpsc::channel(QUEUE);
    let from = from.to_owned();
    let packing = tokio::task::spawn_blocking(move || {
        let sink = std::io::BufWriter::with_capacity(PIECE, PieceWriter(pieces));
        pack(&from, &name, follow, sink)
    });
    send(files, container, directory, options, archive, packing, meter).await
}

/// Unpacks the archive on standard input into a directory.
pub(super) async fn from_stdin(
    files: &mut Files,
    container: &str,
    path: &[u8],
    options: Options,
    meter: &Meter,
) -> Result<Copied, CommandError> {
    let (pieces, archive) = mpsc::channel(QUEUE);
    let reading = tokio::task::spawn_blocking(move || {
        let mut buffer = vec![0; PIECE];
        let mut stdin = std::io::stdin().lock();
        loop {
            let count = stdin.read(&mut buffer)?;
            if count == 0 {
                return Ok(Copied::default());
            }
            let piece = buffer.get(..count).unwrap_or_default().to_vec();
            if pieces.blocking_send(piece).is_err() {
                return Err(std::io::ErrorKind::BrokenPipe.into());
            }
        }
    });
    send(files, container, path.to_vec(), options, archive, reading, meter).await
}

/// What is at the destination, the links at its end followed: those that lead nowhere are what is created.
async fn destination(
    files: &mut Files,
    container: &str,
    path: &[u8],
) -> Result<(Vec<u8>, Found), CommandError> {
    let mut path = path.to_vec();
    for _ in 0..LINKS {
        let request = StatFileRequest {
            container: container.to_owned(),
            path: path.clone(),
            follow: path.ends_with(b"/"),
        };
        let file: FileInfo = match files.stat_file(request).await {
            Ok(answer) => answer.into_inner().file.unwrap_or_default(),
            Err(status)
                if status.code() == Code::NotFound && status.message().ends_with("in the container") =>
            {
                return Ok((path, Found::Nothing));
            }
            Err(status) => return Err(status.into()),
        };
        match file.mode & KIND {
            DIRECTORY => return Ok((path, Found::Directory)),
            SYMLINK if file.link.starts_with(b"/") => path = file.link,
            SYMLINK => path = [rules::split(&path).0, b"/", file.link.as_slice()].concat(),
            _ => return Ok((path, Found::Other)),
        }
    }
    Err(CommandError::new(Kind::Invalid, "the destination is a chain of links without an end"))
}

async fn send(
    files: &mut Files,
    container: &str,
    path: Vec<u8>,
    options: Options,
    archive: mpsc::Receiver<Vec<u8>>,
    making: tokio::task::JoinHandle<std::io::Result<Copied>>,
    meter: &Meter,
) -> Result<Copied, CommandError> {
    let open = WriteFilesOpen { container: container.to_owned(), path, keep_owners: options.keep_owners };
    let meter = meter.clone();
    let (requests, stream) = mpsc::channel(QUEUE);
    let message = |message| WriteFilesRequest { message: Some(message) };
    let feeding = async move {
        let mut archive = ReceiverStream::new(archive);
        if requests.send(message(Message::Open(open))).await.is_err() {
            return Ok(Copied::default());
        }
        while let Some(piece) = archive.next().await {
            meter.add(piece.len());
            if requests.send(message(Message::Archive(piece))).await.is_err() {
                break;
            }
        }
        drop(archive);
        let made = making.await.map_err(std::io::Error::other)?;
        if made.is_ok() {
            // Whoever has failed says why.
            let _ = requests.send(message(Message::Complete(true))).await;
        }
        made
    };
    let (made, written) = tokio::join!(feeding, files.write_files(ReceiverStream::new(stream)));
    match (made, written) {
        (Ok(ours), Ok(answer)) => {
            let mut copied = counted(answer.into_inner().copied);
            copied.notes.extend(ours.notes);
            Ok(copied)
        }
        // A pipe that broke is the other side's failure.
        (Err(error), Err(status)) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(status.into()),
        (Err(error), _) => Err(CommandError::internal(error.to_string())),
        (Ok(_), Err(status)) => Err(status.into()),
    }
}
