//! The gRPC service `Volumes`, and mounts as the wire has them.

use std::collections::HashMap;

use agent_engine::VolumeInUse;
use agent_engine::container::mount::{Bind, Kind, Mount, Spread, Tmpfs, VolumeOptions};
use agent_engine::volume::VolumeConfig;
use proto::v1;
use proto::v1::volumes_server::Volumes;
use tonic::{Request, Response, Status};

use super::{Api, traced};
use crate::convert::Invalid;
use crate::error;

#[tonic::async_trait]
impl Volumes for Api {
    async fn create_volume(
        &self,
        request: Request<v1::CreateVolumeRequest>,
    ) -> Result<Response<v1::CreateVolumeResponse>, Status> {
        traced("CreateVolume", request, async |request| create(self, request).await).await
    }

    async fn list_volumes(
        &self,
        request: Request<v1::ListVolumesRequest>,
    ) -> Result<Response<v1::ListVolumesResponse>, Status> {
        traced("ListVolumes", request, async |_| {
            let volumes = self.engine.volumes().into_iter().map(volume).collect();
            Ok(v1::ListVolumesResponse { volumes })
        })
        .await
    }

    async fn get_volume(
        &self,
        request: Request<v1::GetVolumeRequest>,
    ) -> Result<Response<v1::GetVolumeResponse>, Status> {
        traced("GetVolume", request, async |request| {
            let found = self.engine.volume(&request.name).map_err(|fault| error::engine(&fault))?;
            Ok(v1::GetVolumeResponse { volume: Some(volume(found)) })
        })
        .await
    }

    async fn remove_volume(
        &self,
        request: Request<v1::RemoveVolumeRequest>,
    ) -> Result<Response<v1::RemoveVolumeResponse>, Status> {
        traced("RemoveVolume", request, async |request| {
            self.engine.remove_volume(&request.name).await.map_err(|fault| error::engine(&fault))?;
            Ok(v1::RemoveVolumeResponse {})
        })
        .await
    }

    async fn prune_volumes(
        &self,
        request: Request<v1::PruneVolumesRequest>,
    ) -> Result<Response<v1::PruneVolumesResponse>, Status> {
        traced("PruneVolumes", request, async |request| {
            let names =
                self.engine.prune_volumes(request.all).await.map_err(|fault| error::engine(&fault))?;
            Ok(v1::PruneVolumesResponse { names })
        })
        .await
    }
}

async fn create(api: &Api, request: v1::CreateVolumeRequest) -> Result<v1::CreateVolumeResponse, Status> {
    if !matches!(request.driver.as_str(), "" | "local") {
        let rule = format!("there is no driver {:?}, the only one is local", request.driver);
        return Err(error::invalid_field("driver", rule));
    }
    let config = VolumeConfig {
        anonymous: request.name.is_empty(),
        name: request.name,
        labels: request.labels.into_iter().collect(),
        options: request.options.into_iter().collect(),
    };
    let made = api.engine.create_volume(config).await.map_err(|fault| error::engine(&fault))?;
    Ok(v1::CreateVolumeResponse { volume: Some(volume(made)) })
}

fn volume(found: VolumeInUse) -> v1::Volume {
    let VolumeInUse { volume, containers } = found;
    v1::Volume {
        name: volume.name,
        driver: "local".to_owned(),
        labels: volume.labels.into_iter().collect(),
        options: volume.options.into_iter().collect(),
        anonymous: volume.anonymous,
        mountpoint: volume.mountpoint.display().to_string(),
        created_at_ms: volume.created_at_ms,
        containers,
    }
}

/// A mount as the engine takes it.
///
/// # Errors
/// The field that breaks a rule.
pub(super) fn mount(asked: v1::Mount) -> Result<Mount, Invalid> {
    let invalid = |field, rule: String| Invalid { field, rule };
    let kind = match asked.kind() {
        v1::MountKind::Bind => Kind::Bind,
        v1::MountKind::Volume => Kind::Volume,
        v1::MountKind::Tmpfs => Kind::Tmpfs,
        v1::MountKind::Image => Kind::Image,
    };
    let propagation = match asked.propagation.as_str() {
        "" | "private" | "rprivate" => None,
        "slave" | "rslave" => Some(Spread::Slave),
        "shared" | "rshared" => Some(Spread::Shared),
        other => return Err(invalid("mounts.propagation", format!("{other:?} is not one"))),
    };
    let bind = Bind {
        propagation,
        non_recursive: asked.non_recursive,
        read_only_non_recursive: asked.read_only_non_recursive,
        create_source: asked.create_source,
        ..Bind::default()
    };
    let volume = VolumeOptions {
        no_copy: asked.no_copy,
        labels: asked.labels.into_iter().collect(),
        driver: asked.driver,
        options: asked.driver_options.into_iter().collect(),
    };
    let tmpfs = Tmpfs {
        size_bytes: (asked.tmpfs_size_bytes > 0).then_some(asked.tmpfs_size_bytes),
        mode: asked.tmpfs_mode,
        options: asked.tmpfs_options,
    };
    for (owner, is_used) in [
        (Kind::Bind, bind != Bind::default()),
        (Kind::Volume, volume != VolumeOptions::default()),
        (Kind::Tmpfs, tmpfs != Tmpfs::default()),
    ] {
        if is_used && owner != kind {
            let rule =
                format!("options of a {} do not go with a mount of type {}", owner.name(), kind.name());
            return Err(invalid("mounts", rule));
        }
    }
    if asked.tmpfs_mode.is_some_and(|mode| mode > 0o7777) {
        return Err(invalid("mounts.tmpfs_mode", "it is a mode of at most 7777".to_owned()));
    }
    Ok(Mount {
        kind,
        source: asked.source,
        target: asked.target,
        read_only: asked.read_only,
        subpath: asked.subpath,
        bind,
        volume,
        tmpfs,
        anonymous: false,
    })
}

/// A mount as the wire shows it.
pub fn shown(mount: &Mount) -> v1::Mount {
    let text = |map: &std::collections::BTreeMap<String, String>| -> HashMap<String, String> {
        map.clone().into_iter().collect()
    };
    let kind = match mount.kind {
        Kind::Bind => v1::MountKind::Bind,
        Kind::Volume => v1::MountKind::Volume,
        Kind::Tmpfs => v1::MountKind::Tmpfs,
        Kind::Image => v1::MountKind::Image,
    };
    let propagation = match mount.bind.propagation {
        Some(Spread::Slave) => "rslave",
        Some(Spread::Shared) => "rshared",
        None => "",
    };
    v1::Mount {
        kind: kind.into(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        read_only: mount.read_only,
        subpath: mount.subpath.clone(),
        propagation: propagation.to_owned(),
        non_recursive: mount.bind.non_recursive,
        read_only_non_recursive: mount.bind.read_only_non_recursive,
        create_source: mount.bind.create_source,
        no_copy: mount.volume.no_copy,
        driver: mount.volume.driver.clone(),
        labels: text(&mount.volume.labels),
        driver_options: text(&mount.volume.options),
        tmpfs_size_bytes: mount.tmpfs.size_bytes.unwrap_or_default(),
        tmpfs_mode: mount.tmpfs.mode,
        tmpfs_options: mount.tmpfs.options.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_survives_the_wire_and_options_of_another_kind_do_not() {
        let bind = v1::Mount {
            kind: v1::MountKind::Bind.into(),
            source: "/a".into(),
            target: "/b".into(),
            propagation: "rslave".into(),
            ..v1::Mount::default()
        };
        assert_eq!(shown(&mount(bind.clone()).unwrap()), bind);
        assert!(mount(v1::Mount { no_copy: true, ..bind.clone() }).is_err());
        assert!(mount(v1::Mount { tmpfs_size_bytes: 1, ..bind.clone() }).is_err());
        assert!(mount(v1::Mount { propagation: "odd".into(), ..bind }).is_err());
    }
}
