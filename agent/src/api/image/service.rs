//! The gRPC service `Images`: requests handed on to the engine, its answers as messages.

use agent_engine::image::{Description, Removal};
use proto::v1;
use proto::v1::images_server::Images;
use serde_json::json;
use tonic::{Request, Response, Status, Streaming};

use super::{archive, filter, image, platform, reference, usage};
use crate::api::{Answers, Api, traced};
use crate::error;

#[tonic::async_trait]
impl Images for Api {
    async fn inspect_image(
        &self,
        request: Request<v1::InspectImageRequest>,
    ) -> Result<Response<v1::InspectImageResponse>, Status> {
        traced("InspectImage", request, async |request| {
            let platform = platform(&request.platform)?;
            let found = self.engine.images().describe(&request.image, platform.as_ref()).await;
            let found = found.map_err(|fault| error::pull(&fault))?;
            Ok(v1::InspectImageResponse { json: described(found).to_string() })
        })
        .await
    }

    async fn image_history(
        &self,
        request: Request<v1::ImageHistoryRequest>,
    ) -> Result<Response<v1::ImageHistoryResponse>, Status> {
        traced("ImageHistory", request, async |request| {
            let platform = platform(&request.platform)?;
            let lines = self.engine.images().history(&request.image, platform.as_ref()).await;
            let lines = lines.map_err(|fault| error::pull(&fault))?.into_iter();
            let lines = lines.map(|line| v1::ImageHistoryLine {
                created: line.created,
                created_by: line.created_by,
                comment: line.comment,
                size_bytes: line.size,
                layer: line.layer.map(|layer| layer.to_string()).unwrap_or_default(),
            });
            Ok(v1::ImageHistoryResponse { lines: lines.collect() })
        })
        .await
    }

    async fn tag_image(
        &self,
        request: Request<v1::TagImageRequest>,
    ) -> Result<Response<v1::TagImageResponse>, Status> {
        traced("TagImage", request, async |request| {
            let name = request.name.parse().map_err(|fault| error::invalid_field("name", fault))?;
            self.engine.images().tag(&request.image, &name).await.map_err(|fault| error::pull(&fault))?;
            Ok(v1::TagImageResponse {})
        })
        .await
    }

    async fn remove_image(
        &self,
        request: Request<v1::RemoveImageRequest>,
    ) -> Result<Response<v1::RemoveImageResponse>, Status> {
        traced("RemoveImage", request, async |request| {
            let done = self.engine.remove_image(&request.image, request.force).await;
            let (untagged, deleted) = sorted(done.map_err(|fault| error::engine(&fault))?);
            Ok(v1::RemoveImageResponse { untagged, deleted })
        })
        .await
    }

    async fn prune_images(
        &self,
        request: Request<v1::PruneImagesRequest>,
    ) -> Result<Response<v1::PruneImagesResponse>, Status> {
        traced("PruneImages", request, async |request| {
            let pruned = self.engine.prune_images(request.all, filter(request.filters)?).await;
            let (removed, reclaimed) = pruned.map_err(|fault| error::engine(&fault))?;
            let (untagged, deleted) = sorted(removed);
            Ok(v1::PruneImagesResponse { untagged, deleted, bytes: reclaimed.bytes() })
        })
        .await
    }

    type SaveImagesStream = Answers<v1::SaveImagesResponse>;

    async fn save_images(
        &self,
        request: Request<v1::SaveImagesRequest>,
    ) -> Result<Response<Self::SaveImagesStream>, Status> {
        traced("SaveImages", request, async |request| archive::save(self, request).await).await
    }

    type LoadImagesStream = Answers<v1::LoadImagesResponse>;

    async fn load_images(
        &self,
        request: Request<Streaming<v1::LoadImagesRequest>>,
    ) -> Result<Response<Self::LoadImagesStream>, Status> {
        traced("LoadImages", request, async |requests| archive::load(self, requests).await).await
    }

    async fn import_image(
        &self,
        request: Request<Streaming<v1::ImportImageRequest>>,
    ) -> Result<Response<v1::ImportImageResponse>, Status> {
        traced("ImportImage", request, async |requests| archive::import(self, requests).await).await
    }

    async fn disk_usage(
        &self,
        request: Request<v1::DiskUsageRequest>,
    ) -> Result<Response<v1::DiskUsageResponse>, Status> {
        traced("DiskUsage", request, async |_| usage::of(self).await).await
    }
}

/// Names that are gone, and ids of images that are gone.
fn sorted(done: Vec<Removal>) -> (Vec<String>, Vec<String>) {
    let (mut untagged, mut deleted) = (Vec::new(), Vec::new());
    for removal in done {
        match removal {
            Removal::Untagged(name) => untagged.push(name.to_string()),
            Removal::Deleted(id) => deleted.push(id.to_string()),
        }
    }
    (untagged, deleted)
}

/// An image as one object. What is in it only grows.
fn described(found: Description) -> serde_json::Value {
    let shown = image(found.summary);
    let variants = shown.variants.iter().map(|variant| {
        json!({
            "digest": variant.digest,
            "media_type": variant.media_type,
            "kind": kind(variant),
            "platform": variant.platform,
            "about": variant.about,
            "here": variant.here,
            "size_bytes": variant.bytes,
            "unpacked_bytes": variant.unpacked_bytes,
        })
    });
    let config = &found.config;
    json!({
        "id": shown.id,
        "names": shown.names,
        "digests": shown.digests,
        "manifest": found.manifest.to_string(),
        "platform": found.platform.map(|platform| platform.to_string()).unwrap_or_default(),
        "created": config["created"],
        "author": config["author"],
        "size_bytes": found.size,
        "runnable": shown.runnable,
        "layers": found.layers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "config": config["config"],
        "history": config["history"],
        "variants": variants.collect::<Vec<_>>(),
    })
}

fn kind(variant: &v1::ImageVariant) -> &'static str {
    use v1::image_variant::Kind;
    match variant.kind() {
        Kind::Image => "image",
        Kind::Attestation => "attestation",
        Kind::Artifact => "artifact",
    }
}

/// The name that an import gives; none when it is empty.
pub(super) fn optional(name: &str) -> Result<Option<agent_engine::image::Reference>, Status> {
    if name.is_empty() { Ok(None) } else { reference(name).map(Some) }
}
