//! Images: pulling one with its progress, and listing those that are here.

use agent_engine::image::{LayerStep, PullProgress, Reference};
use proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::Instrument;

use super::{Answers, Api, STREAM_QUEUE};
use crate::error;

pub(super) fn reference(text: &str) -> Result<Reference, Status> {
    text.parse().map_err(|fault| error::invalid_field("image", fault))
}

pub(super) fn pull(
    api: &Api,
    request: &v1::PullImageRequest,
) -> Result<Answers<v1::PullImageResponse>, Status> {
    let image = reference(&request.image)?;
    let engine = api.engine.clone();
    let (answers, stream) = mpsc::channel(STREAM_QUEUE);
    let work = async move {
        let progress = answers.clone();
        // A client too slow for each step misses some; the next one says more anyway.
        let pulled = engine
            .images()
            .pull(&image, move |step| {
                if let Some(message) = layer(step) {
                    let _ = progress.try_send(Ok(message));
                }
            })
            .await;
        let last = match pulled {
            Ok(image) => Ok(v1::PullImageResponse {
                image_digest: image.manifest_digest.to_string(),
                ..v1::PullImageResponse::default()
            }),
            Err(fault) => Err(error::pull(&fault)),
        };
        // The client may have hung up; the image is here all the same.
        let _ = answers.send(last).await;
    };
    tokio::spawn(work.in_current_span());
    Ok(Box::pin(ReceiverStream::new(stream)))
}

fn layer(progress: PullProgress) -> Option<v1::PullImageResponse> {
    let PullProgress::Layer { digest, step } = progress else { return None };
    let (bytes, total_bytes) = match step {
        LayerStep::Fetching { done, total } => (done, total),
        LayerStep::Waiting | LayerStep::Unpacking | LayerStep::Done => (0, 0),
    };
    Some(v1::PullImageResponse {
        digest: digest.to_string(),
        bytes,
        total_bytes,
        done: step == LayerStep::Done,
        image_digest: String::new(),
    })
}

pub(super) async fn list(api: &Api) -> Result<v1::ListImagesResponse, Status> {
    let images = api.engine.images().list().await.map_err(|fault| error::pull(&fault))?;
    let images = images
        .into_iter()
        .map(|image| v1::Image {
            name: image.name.to_string(),
            digest: image.manifest_digest.to_string(),
            size_bytes: image.size,
            created_at_ms: image.created_at_ms,
        })
        .collect();
    Ok(v1::ListImagesResponse { images })
}
