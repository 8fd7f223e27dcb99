//! Archives of images and of file systems, to and from a client: pieces are handed on as they come.

use agent_engine::ImportOptions;
use agent_engine::image::{Platform, PullProgress};
use bytes::Bytes;
use futures::StreamExt;
use proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tracing::Instrument;

use super::platform;
use super::service::optional;
use crate::api::{Answers, Api, STREAM_QUEUE};
use crate::error;

/// Pieces of an archive that wait for the disk.
const PIECES: usize = 4;

pub(super) async fn save(
    api: &Api,
    request: v1::SaveImagesRequest,
) -> Result<Answers<v1::SaveImagesResponse>, Status> {
    if request.images.is_empty() {
        return Err(error::invalid_field("images", "none is given"));
    }
    let platform = platform(&request.platform)?;
    let pieces = api.engine.images().save(&request.images, platform).await;
    let pieces = ReceiverStream::new(pieces.map_err(|fault| error::pull(&fault))?);
    Ok(Box::pin(pieces.map(|piece| match piece {
        Ok(archive) => Ok(v1::SaveImagesResponse { archive: archive.to_vec() }),
        Err(fault) => Err(error::pull(&fault)),
    })))
}

/// What a message after the first one is.
enum Part {
    Archive(Bytes),
    Complete,
    /// It makes no sense here.
    Other,
}

/// Feeds an archive from a client. One that breaks off is not taken for a whole one.
fn feed<R: Send + 'static>(
    mut requests: Streaming<R>,
    part: impl Fn(R) -> Part + Send + 'static,
) -> mpsc::Receiver<Option<Bytes>> {
    let (pieces, archive) = mpsc::channel(PIECES);
    let work = async move {
        loop {
            let piece = match requests.message().await.ok().flatten().map(&part) {
                Some(Part::Archive(piece)) => Some(piece),
                Some(Part::Complete) => return,
                Some(Part::Other) | None => None,
            };
            let is_broken = piece.is_none();
            if pieces.send(piece).await.is_err() || is_broken {
                return;
            }
        }
    };
    tokio::spawn(work.in_current_span());
    archive
}

pub(super) async fn load(
    api: &Api,
    mut requests: Streaming<v1::LoadImagesRequest>,
) -> Result<Answers<v1::LoadImagesResponse>, Status> {
    use v1::load_images_request::Message;
    use v1::load_images_response::Message as Answer;
    let first = requests.message().await?.and_then(|request| request.message);
    let Some(Message::Open(open)) = first else {
        return Err(error::invalid_field("open", "must be the first message"));
    };
    let platform = platform(&open.platform)?;
    let archive = feed(requests, |request| match request.message {
        Some(Message::Archive(data)) => Part::Archive(data.into()),
        Some(Message::Complete(true)) => Part::Complete,
        _ => Part::Other,
    });
    let engine = api.engine.clone();
    let (answers, stream) = mpsc::channel(STREAM_QUEUE);
    let work = async move {
        let progress = answers.clone();
        let told = move |step| {
            if let PullProgress::Layer { digest, .. } = step {
                let message = Some(Answer::Unpacking(digest.to_string()));
                // A client that is slow misses some.
                let _ = progress.try_send(Ok(v1::LoadImagesResponse { message }));
            }
        };
        match engine.load_images(archive, platform, told).await {
            Ok(loaded) => {
                for image in loaded {
                    let names = image.names.iter().map(ToString::to_string).collect();
                    let loaded = v1::LoadedImage { id: image.id.to_string(), names };
                    let message = Some(Answer::Loaded(loaded));
                    // The client may have hung up; the images are here all the same.
                    let _ = answers.send(Ok(v1::LoadImagesResponse { message })).await;
                }
            }
            Err(fault) => drop(answers.send(Err(error::engine(&fault))).await),
        }
    };
    tokio::spawn(work.in_current_span());
    Ok(Box::pin(ReceiverStream::new(stream)))
}

pub(super) async fn import(
    api: &Api,
    mut requests: Streaming<v1::ImportImageRequest>,
) -> Result<v1::ImportImageResponse, Status> {
    use v1::import_image_request::Message;
    let first = requests.message().await?.and_then(|request| request.message);
    let Some(Message::Open(open)) = first else {
        return Err(error::invalid_field("open", "must be the first message"));
    };
    let options = ImportOptions {
        image: optional(&open.image)?,
        message: open.message,
        changes: open.changes,
        platform: platform(&open.platform)?.unwrap_or_else(Platform::host),
    };
    let archive = feed(requests, |request| match request.message {
        Some(Message::Archive(data)) => Part::Archive(data.into()),
        Some(Message::Complete(true)) => Part::Complete,
        _ => Part::Other,
    });
    let id = api.engine.import_image(archive, options).await.map_err(|fault| error::engine(&fault))?;
    Ok(v1::ImportImageResponse { id: id.to_string() })
}
