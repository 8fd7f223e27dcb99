//! A container's terminal or pipes over a gRPC stream. Output goes down as it
//! comes: raw from a terminal, else taken out of the keeper's frames. Input and
//! window sizes come up. A client that hangs up leaves the container alone.

use agent_engine::{Attachment, Engine};
use proto::v1;
use proto::v1::attach_container_request::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tracing::{Instrument, debug};

use super::{Answers, Api, STREAM_QUEUE};
use crate::{convert, error};

/// The most output in one message.
const PIECE: usize = 32 * 1024;
/// Bytes in front of each frame: stream, three zeros, length.
const FRAME_HEAD: usize = 8;

/// Where output goes, and how it is said there.
pub(super) struct Output<T> {
    pub(super) to: mpsc::Sender<Result<T, Status>>,
    /// Of some bytes, and whether they are of the error output.
    pub(super) say: fn(Vec<u8>, bool) -> T,
}

impl<T> Output<T> {
    /// Whether anybody took it.
    async fn send(&self, data: Vec<u8>, stderr: bool) -> bool {
        self.to.send(Ok((self.say)(data, stderr))).await.is_ok()
    }
}

fn said(data: Vec<u8>, stderr: bool) -> v1::AttachContainerResponse {
    v1::AttachContainerResponse { data, stderr, opened: None }
}

pub(super) async fn attach(
    api: &Api,
    mut requests: Streaming<v1::AttachContainerRequest>,
) -> Result<Answers<v1::AttachContainerResponse>, Status> {
    let open = match requests.message().await? {
        Some(v1::AttachContainerRequest { message: Some(Message::Open(open)) }) => open,
        _ => return Err(error::invalid_field("open", "the first message names the container")),
    };
    let container = api.engine.inspect(&open.container).map_err(|fault| error::engine(&fault))?;
    let attachment = match open.next_start {
        true => api.engine.attach_next(&container.id).await,
        false => api.engine.attach(&container.id).await,
    };
    let attachment = attachment.map_err(|fault| error::engine(&fault))?;
    let raw = attachment.raw;
    let (from, to) = tokio::io::split(attachment);
    let (to_client, stream) = mpsc::channel(STREAM_QUEUE);
    let engine = api.engine.clone();
    if open.describe {
        let opened = v1::AttachOpened {
            id: container.id.clone(),
            name: container.name.clone(),
            terminal: container.config.terminal,
            stdin: container.config.open_stdin || container.config.terminal,
            running: container.pid.is_some(),
        };
        // The channel is new and has room.
        let _ = to_client
            .try_send(Ok(v1::AttachContainerResponse { opened: Some(opened), ..Default::default() }));
    }
    let work = async move {
        let (output, gone) = (Output { to: to_client.clone(), say: said }, to_client);
        tokio::select! {
            () = output_down(from, raw, &output) => {}
            // When the client is gone both halves are dropped, and with them the attachment.
            () = input_up(&engine, &container.id, requests, to, &gone) => gone.closed().await,
        }
    };
    tokio::spawn(work.in_current_span());
    Ok(Box::pin(ReceiverStream::new(stream)))
}

/// Passes output on until its end.
pub(super) async fn output_down<T>(from: ReadHalf<Attachment>, raw: bool, output: &Output<T>) {
    let result = if raw { copy_raw(from, output).await } else { copy_frames(from, output).await };
    if let Err(fault) = result {
        let status = Status::internal(format!("the container's output broke off: {fault}"));
        let _ = output.to.send(Err(status)).await;
    }
}

async fn copy_raw<T>(mut from: impl AsyncRead + Unpin, output: &Output<T>) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let count = from.read(&mut piece).await?;
        if count == 0 || !output.send(piece[..count].to_vec(), false).await {
            return Ok(());
        }
    }
}

/// Frames may be longer than a message, so each is passed on in pieces.
async fn copy_frames<T>(mut from: impl AsyncRead + Unpin, output: &Output<T>) -> std::io::Result<()> {
    let mut head = [0; FRAME_HEAD];
    loop {
        match from.read_exact(&mut head).await {
            Err(fault) if fault.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        };
        let stderr = head[0] == 2;
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let mut left = usize::try_from(length).unwrap_or(usize::MAX);
        while left > 0 {
            let mut data = vec![0; left.min(PIECE)];
            from.read_exact(&mut data).await?;
            left -= data.len();
            if !output.send(data, stderr).await {
                return Ok(());
            }
        }
    }
}

/// Ends when the client has nothing more to say or is gone.
async fn input_up(
    engine: &Engine,
    id: &str,
    mut requests: Streaming<v1::AttachContainerRequest>,
    to: WriteHalf<Attachment>,
    client: &mpsc::Sender<Result<v1::AttachContainerResponse, Status>>,
) {
    let mut to = Some(to);
    while let Ok(Some(request)) = requests.message().await {
        match request.message {
            Some(Message::Stdin(data)) => {
                if let Some(stdin) = &mut to
                    && let Err(fault) = stdin.write_all(&data).await
                {
                    debug!(container = id, %fault, "its input is closed");
                    to = None;
                }
            }
            Some(Message::Resize(size)) => {
                if let Some(size) = convert::window(size.rows, size.columns)
                    && let Err(fault) = engine.resize(id, size).await
                {
                    debug!(container = id, %fault, "not resized");
                }
            }
            Some(Message::StdinClosed(true)) => {
                if let Some(mut stdin) = to.take() {
                    let _ = stdin.shutdown().await;
                }
                // Who only sends may leave now: nothing of it is on its way any more.
                let _ = client.send(Ok(v1::AttachContainerResponse::default())).await;
            }
            Some(Message::StdinClosed(false) | Message::Open(_)) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stream: u8, data: &[u8]) -> Vec<u8> {
        let length = u32::try_from(data.len()).unwrap().to_be_bytes();
        [&[stream, 0, 0, 0][..], &length, data].concat()
    }

    #[tokio::test]
    async fn frames_are_told_apart_and_long_ones_cut() {
        let long = vec![b'x'; PIECE + 5];
        let bytes = [frame(1, b"out"), frame(2, b"err"), frame(1, b""), frame(1, &long)].concat();
        let (to, mut stream) = mpsc::channel(8);
        let output = Output { to, say: said };
        copy_frames(&bytes[..], &output).await.unwrap();
        drop(output);
        let mut got = Vec::new();
        while let Some(Ok(message)) = stream.recv().await {
            got.push((message.data.len(), message.stderr));
        }
        assert_eq!(got, [(3, false), (3, true), (PIECE, false), (5, false)]);
    }

    #[tokio::test]
    async fn a_frame_that_breaks_off_is_an_error() {
        let bytes = &frame(1, b"out")[..9];
        let (to, _stream) = mpsc::channel(8);
        assert!(copy_frames(bytes, &Output { to, say: said }).await.is_err());
    }

    #[tokio::test]
    async fn a_client_that_hung_up_ends_the_copy() {
        let (to, stream) = mpsc::channel(1);
        drop(stream);
        copy_raw(tokio::io::repeat(b'x'), &Output { to, say: said }).await.unwrap();
    }
}
