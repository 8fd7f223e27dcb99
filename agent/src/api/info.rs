//! What this host is, has and lacks, for people and for whoever debugs their host.

use std::collections::HashMap;

use agent_engine::cdi::Registry;
use agent_engine::host::{Availability, Feature, Host};
use proto::v1;
use tonic::Status;

use super::Api;
use crate::preflight;
use crate::session::host;

/// How a container is confined that asks for nothing else.
const CONFINEMENT: [&str; 8] = [
    "user namespace of its own with 65,536 ids",
    "no new privileges",
    "14 capabilities, none inheritable or ambient",
    "Docker's list of system calls",
    "private pid, network, ipc, host name and cgroup namespaces",
    "hidden and read-only paths below /proc and /sys",
    "at most 1024 processes",
    "every start is attested",
];

pub(super) async fn get(api: &Api) -> Result<v1::GetInfoResponse, Status> {
    let engine = &api.engine;
    let config = engine.config().clone();
    let directories = config.cdi_dirs.clone();
    let data_dir = config.data_dir.clone();
    let failed = |_| Status::internal("the host could not be looked at");
    let (cdi, disk) =
        tokio::task::spawn_blocking(move || (Registry::read(&directories), Host::disk(&data_dir)))
            .await
            .map_err(failed)?;
    let images = engine.images().list().await.map_err(|error| Status::internal(error.to_string()))?;
    let mut containers = HashMap::new();
    for container in engine.list() {
        *containers.entry(container.state.to_string()).or_insert(0) += 1;
    }
    let (link, attested) = (api.link.borrow().clone(), engine.attestations());
    let capacity = host::capacity();
    let hierarchy = |(path, controllers): &(String, Vec<String>)| v1::CgroupHierarchy {
        path: path.clone(),
        controllers: controllers.clone(),
    };
    Ok(v1::GetInfoResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node_id: link.node_id,
        node_name: link.node_name,
        session: link.connected,
        keeper_pid: u32::try_from(engine.keeper_pid()).unwrap_or_default(),
        hostname: host::hostname(),
        os: host::os(),
        kernel: host::kernel(),
        architecture: std::env::consts::ARCH.to_owned(),
        processors: u32::try_from(capacity.nano_cpus / 1_000_000_000).unwrap_or_default(),
        memory_bytes: capacity.memory_bytes,
        data_dir: config.data_dir.display().to_string(),
        filesystem: engine.host().filesystem().to_owned(),
        disk_bytes: disk.0,
        disk_free_bytes: disk.1,
        bridge: config.bridge,
        subnet: config.subnet,
        containers,
        images: count(images.len()),
        volumes: count(engine.volumes().len()),
        cgroup_version: preflight::cgroup_version().unwrap_or_default().to_owned(),
        hierarchies: engine.host().hierarchies().iter().map(hierarchy).collect(),
        confinement: CONFINEMENT.map(str::to_owned).to_vec(),
        features: engine.host().features().iter().map(feature).collect(),
        cdi_directories: cdi.directories().iter().map(|path| path.display().to_string()).collect(),
        cdi_devices: cdi.names(),
        cdi_failures: cdi
            .unreadable()
            .iter()
            .map(|(file, why)| format!("{}: {why}", file.display()))
            .collect(),
        attested_starts: attested.checked,
        failed_attestations: attested.failed,
        attested_execs: attested.execs,
    })
}

fn feature(feature: &Feature) -> v1::HostFeature {
    let state = match feature.availability {
        Availability::Used => "used",
        Availability::Unused => "unused",
        Availability::Missing => "missing",
    };
    v1::HostFeature { name: feature.name.to_owned(), state: state.to_owned(), detail: feature.detail.clone() }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
