//! What containers use.

use agent_engine::{Container, Usage};
use proto::v1;
use tonic::Status;

use super::Api;
use crate::error;

pub(super) async fn one(
    api: &Api,
    request: &v1::ContainerUsageRequest,
) -> Result<v1::ContainerUsageResponse, Status> {
    let container = api.engine.inspect(&request.container).map_err(|fault| error::engine(&fault))?;
    let usage = api.engine.usage(&container.id).await.map_err(|fault| error::engine(&fault))?;
    Ok(told(container, Some(usage)))
}

pub(super) async fn list(
    api: &Api,
    request: &v1::ListContainerUsageRequest,
) -> Result<v1::ListContainerUsageResponse, Status> {
    let wanted = match request.containers.as_slice() {
        [] => api.engine.list(),
        names => {
            let each = names.iter().map(|name| api.engine.inspect(name));
            each.collect::<Result<_, _>>().map_err(|fault| error::engine(&fault))?
        }
    };
    let mut usages = Vec::new();
    for container in wanted {
        let usage = match container.state.is_alive() {
            true => api.engine.usage_now(&container.id).await.ok(),
            false => None,
        };
        if usage.is_some() || request.all {
            usages.push(told(container, usage));
        }
    }
    Ok(v1::ListContainerUsageResponse { usages })
}

fn told(container: Container, usage: Option<Usage>) -> v1::ContainerUsageResponse {
    let named = v1::ContainerUsageResponse { id: container.id, name: container.name, ..Default::default() };
    let Some(usage) = usage else { return named };
    v1::ContainerUsageResponse {
        cpu_ns: usage.counted.cpu_ns,
        memory_bytes: usage.counted.memory_bytes,
        memory_limit_bytes: usage.counted.memory_limit_bytes,
        pids: usage.counted.pids,
        pids_limit: usage.counted.pids_limit,
        at_ns: usage.at_ns,
        host_memory_bytes: usage.host_memory_bytes,
        received_bytes: usage.traffic.map(|traffic| traffic.received),
        sent_bytes: usage.traffic.map(|traffic| traffic.sent),
        block_read_bytes: usage.counted.block_io.map(|io| io.read_bytes),
        block_written_bytes: usage.counted.block_io.map(|io| io.written_bytes),
        ..named
    }
}
