//! Images: pulling one with its progress, and listing those that are here. What else can be done with them is the
//! service in [`service`](self::service).

use agent_engine::image::{
    ImageFilter, ImageSummary, LayerStep, Platform, PullOptions, PullProgress, Reference, VariantKind,
    VariantSummary,
};
use proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::Instrument;

use super::filter::Filters;
use super::push::login;
use super::{Answers, Api, STREAM_QUEUE};
use crate::error;

mod archive;
mod service;
mod usage;

const KEYS: [&str; 7] = ["before", "dangling", "label", "label!", "reference", "since", "until"];

pub(super) fn reference(text: &str) -> Result<Reference, Status> {
    text.parse().map_err(|fault| error::invalid_field("image", fault))
}

/// A platform; `None` when none is asked for.
pub(super) fn platform(text: &str) -> Result<Option<Platform>, Status> {
    let parsed = (!text.is_empty()).then(|| text.parse::<Platform>()).transpose();
    parsed.map_err(|fault| error::invalid_field("platform", fault))
}

pub(super) fn pull(
    api: &Api,
    request: &v1::PullImageRequest,
) -> Result<Answers<v1::PullImageResponse>, Status> {
    let image = reference(&request.image)?;
    let options =
        PullOptions { platform: platform(&request.platform)?, login: login(request.auth.as_ref(), &image)? };
    let engine = api.engine.clone();
    let (answers, stream) = mpsc::channel(STREAM_QUEUE);
    let work = async move {
        let progress = answers.clone();
        // A client too slow for each step misses some; the next one says more anyway.
        let pulled = engine
            .images()
            .pull(&image, &options, move |step| {
                if let Some(message) = shown(step) {
                    let _ = progress.try_send(Ok(message));
                }
            })
            .await;
        let last = match pulled {
            Ok(image) => Ok(v1::PullImageResponse {
                image_digest: image.id.to_string(),
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

fn shown(progress: PullProgress) -> Option<v1::PullImageResponse> {
    let (digest, step) = match progress {
        PullProgress::Layer { digest, step } => (digest, step),
        PullProgress::Delayed { reason, wait } => {
            let note = format!("{reason}; trying again in {} s", wait.as_secs());
            return Some(v1::PullImageResponse { note, ..v1::PullImageResponse::default() });
        }
        PullProgress::Resolving => return None,
    };
    let ((bytes, total_bytes), phase) = match step {
        LayerStep::Fetching { done, total } => ((done, total), v1::TransferPhase::Moving),
        LayerStep::Waiting => ((0, 0), v1::TransferPhase::Waiting),
        LayerStep::Unpacking => ((0, 0), v1::TransferPhase::Unpacking),
        LayerStep::Done => ((0, 0), v1::TransferPhase::Done),
    };
    Some(v1::PullImageResponse {
        digest: digest.to_string(),
        bytes,
        total_bytes,
        done: step == LayerStep::Done,
        phase: phase.into(),
        ..v1::PullImageResponse::default()
    })
}

pub(super) async fn list(
    api: &Api,
    request: v1::ListImagesRequest,
) -> Result<v1::ListImagesResponse, Status> {
    let filter = filter(request.filters)?;
    let images = api.engine.images().summaries(&filter, request.variants).await;
    let images = images.map_err(|fault| error::pull(&fault))?.into_iter().map(image).collect();
    Ok(v1::ListImagesResponse { images })
}

/// The conditions of a list.
fn filter(filters: Vec<v1::Filter>) -> Result<ImageFilter, Status> {
    let filters = Filters::new(filters, &KEYS)?;
    let wrong = |key: &str, rule: &str| error::invalid_field("filter", format!("{key}: {rule}"));
    let dangling = match filters.values("dangling") {
        [] => None,
        [value] if value == "true" || value == "1" => Some(true),
        [value] if value == "false" || value == "0" => Some(false),
        _ => return Err(wrong("dangling", "it is true or false")),
    };
    let until = filters.values("until").last().map(|text| text.parse::<u64>());
    let until_ms =
        until.transpose().map_err(|_| wrong("until", "it is a moment in milliseconds since 1970"))?;
    Ok(ImageFilter {
        dangling,
        references: filters.values("reference").to_vec(),
        labels: filters.values("label").to_vec(),
        without_labels: filters.values("label!").to_vec(),
        before: filters.values("before").last().cloned(),
        since: filters.values("since").last().cloned(),
        until_ms,
    })
}

/// An image as the wire has it.
fn image(image: ImageSummary) -> v1::Image {
    let pins = image.names.iter().map(|name| name.pinned(&image.id).to_string());
    let mut digests: Vec<String> = pins.collect();
    digests.dedup();
    let names: Vec<String> = image.names.iter().map(ToString::to_string).collect();
    v1::Image {
        name: names.first().cloned().unwrap_or_default(),
        digest: image.manifest.to_string(),
        size_bytes: image.size,
        created_at_ms: image.created_at_ms,
        id: image.id.to_string(),
        names,
        labels: image.labels.into_iter().collect(),
        platform: image.platform.map(|platform| platform.to_string()).unwrap_or_default(),
        runnable: image.unpacked,
        variants: image.variants.into_iter().map(variant).collect(),
        digests,
        containers: 0,
    }
}

fn variant(variant: VariantSummary) -> v1::ImageVariant {
    use v1::image_variant::Kind;
    let kind = match variant.kind {
        VariantKind::Image => Kind::Image,
        VariantKind::Attestation => Kind::Attestation,
        VariantKind::Artifact => Kind::Artifact,
    };
    v1::ImageVariant {
        digest: variant.digest.to_string(),
        media_type: variant.media_type,
        kind: kind.into(),
        platform: variant.platform.map(|platform| platform.to_string()).unwrap_or_default(),
        about: variant.about.map(|digest| digest.to_string()).unwrap_or_default(),
        here: variant.is_whole,
        bytes: variant.bytes,
        unpacked_bytes: variant.unpacked_bytes,
    }
}
