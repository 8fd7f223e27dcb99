//! What images, containers and volumes take of the disk.

use proto::v1;
use tonic::Status;

use crate::api::Api;
use crate::error;

pub(super) async fn of(api: &Api) -> Result<v1::DiskUsageResponse, Status> {
    let usage = api.engine.disk_usage().await.map_err(|fault| error::engine(&fault))?;
    let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let images = usage.images.images.into_iter().map(|one| v1::ImageUsage {
        containers: count(one.users.len()),
        image: Some(super::image(one.image)),
        bytes: one.bytes,
        shared_bytes: one.shared_bytes,
    });
    let containers = usage.containers.into_iter().map(|(container, bytes)| v1::ContainerDiskUsage {
        state: container.state.to_string(),
        image: container.config.image.clone(),
        created_at_ms: container.created_at_ms,
        id: container.id,
        name: container.name,
        bytes,
    });
    let volumes = usage.volumes.into_iter().map(|(volume, bytes)| v1::VolumeUsage {
        name: volume.volume.name,
        bytes,
        containers: count(volume.containers.len()),
    });
    Ok(v1::DiskUsageResponse {
        images: images.collect(),
        containers: containers.collect(),
        volumes: volumes.collect(),
        image_bytes: usage.images.bytes,
        image_unused_bytes: usage.images.unused_bytes,
        garbage_bytes: usage.images.garbage_bytes,
    })
}
