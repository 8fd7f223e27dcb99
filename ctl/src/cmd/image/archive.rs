//! Archives on their way to the agent: a file or standard input, read beside what is sent.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::Path;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::error::{CommandError, Kind};

/// Bytes in one message.
const PIECE: usize = 256 << 10;
/// Messages that wait for the agent.
const QUEUE: usize = 4;

/// Where an archive comes from.
pub(super) fn open(path: Option<&Path>, command: &str) -> Result<Box<dyn Read + Send>, CommandError> {
    match path {
        Some(path) => {
            let file = File::open(path);
            let file = file.map_err(|error| {
                CommandError::new(Kind::Environment, format!("{}: {error}", path.display()))
            })?;
            Ok(Box::new(file))
        }
        None if std::io::stdin().is_terminal() => {
            Err(CommandError::new(Kind::Usage, "standard input is a terminal, and no archive")
                .hint(format!("name a file, or pipe an archive in:  {command}")))
        }
        None => Ok(Box::new(std::io::stdin())),
    }
}

/// The messages of an archive: `first`, pieces made by `piece`, and `last` if it was read to its end. The reading's
/// own failure comes by the handle.
pub(super) fn messages<M: Send + 'static>(
    mut source: Box<dyn Read + Send>,
    first: M,
    piece: impl Fn(Vec<u8>) -> M + Send + 'static,
    last: M,
) -> (ReceiverStream<M>, tokio::task::JoinHandle<std::io::Result<()>>) {
    let (messages, stream) = mpsc::channel(QUEUE);
    let reading = tokio::task::spawn_blocking(move || {
        // An agent that takes no more says why itself.
        if messages.blocking_send(first).is_err() {
            return Ok(());
        }
        let mut buffer = vec![0; PIECE];
        loop {
            let count = source.read(&mut buffer)?;
            let message = match buffer.get(..count) {
                Some(data) if count > 0 => piece(data.to_vec()),
                _ => break,
            };
            if messages.blocking_send(message).is_err() {
                return Ok(());
            }
        }
        let _ = messages.blocking_send(last);
        Ok(())
    });
    (ReceiverStream::new(stream), reading)
}

/// What the reading says, once the agent has answered.
pub(super) async fn finish(
    reading: tokio::task::JoinHandle<std::io::Result<()>>,
) -> Result<(), CommandError> {
    let outcome = reading.await.map_err(std::io::Error::other).flatten();
    outcome
        .map_err(|error| CommandError::new(Kind::Environment, format!("the archive cannot be read: {error}")))
}
