//! The node itself: what it is doing, and ending it.

use proto::v1;

use super::Api;
use crate::preflight;

pub(super) fn get(api: &Api) -> v1::GetNodeResponse {
    let containers = api.engine.list();
    let running = containers.iter().filter(|container| container.state.is_alive()).count();
    let link = api.link.borrow().clone();
    let attested = api.engine.attestations();
    v1::GetNodeResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        containers_running: count(running),
        containers: count(containers.len()),
        cgroup_version: preflight::cgroup_version().unwrap_or_default().to_owned(),
        node_id: link.node_id,
        session: link.connected,
        keeper_pid: u32::try_from(api.engine.keeper_pid()).unwrap_or_default(),
        attested_starts: attested.checked,
        failed_attestations: attested.failed,
        attested_execs: attested.execs,
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

pub(super) fn shutdown(api: &Api, request: v1::ShutdownRequest) -> v1::ShutdownResponse {
    api.shutdown.request("asked to over its API", request.stop_containers);
    v1::ShutdownResponse {}
}
