//! Making containers, starting them and waiting for them. A container is named
//! by its id, a unique beginning of that, its name, or the id of its task.

use std::time::SystemTime;

use agent_engine::ContainerState;
use agent_engine::image::{PullOptions, Reference};
use proto::v1;
use tonic::Status;

use super::{Api, image, volume};
use crate::{convert, error, telemetry};

pub(super) async fn create(
    api: &Api,
    request: v1::CreateContainerRequest,
) -> Result<v1::CreateContainerResponse, Status> {
    let spec = request.spec.as_ref().ok_or_else(|| error::invalid_field("spec", "it is missing"))?;
    let mut config =
        convert::container_config(spec, &request.ports).map_err(|fault| error::invalid(&fault))?;
    let image = image::reference(&spec.image)?;
    config.name = (!request.name.is_empty()).then(|| request.name.clone());
    config.terminal = request.terminal;
    config.open_stdin = request.stdin;
    config.auto_remove = request.auto_remove;
    config.start_follows = request.start_follows;
    config.restart = request.restart.parse().map_err(|fault| error::invalid_field("restart", fault))?;
    config.health = request.health.clone().map(convert::health::asked);
    config.mounts = request
        .mounts
        .iter()
        .cloned()
        .map(volume::mount)
        .collect::<Result<_, _>>()
        .map_err(|fault| error::invalid(&fault))?;
    config.volumes_from.clone_from(&request.volumes_from);
    if let Some(given) = &request.logging {
        config.log = Some(convert::logging(given).map_err(|fault| error::invalid(&fault))?);
    }
    config.read_only_root = request.read_only;
    config.window = convert::window(request.rows, request.columns);
    config.traceparent = telemetry::context("");
    let pull = request.pull();
    convert::isolation::add(&mut config, *request.isolation.unwrap_or_default())
        .map_err(|fault| error::invalid(&fault))?;
    let warnings = config.isolation.warnings();
    obtain(api, &image, pull).await?;
    let id = api.engine.create(config).await.map_err(|fault| error::engine(&fault))?;
    let name = api.engine.inspect(&id).map(|container| container.name).unwrap_or_default();
    Ok(v1::CreateContainerResponse { id, name, warnings })
}

async fn obtain(api: &Api, image: &Reference, policy: v1::PullPolicy) -> Result<(), Status> {
    match policy {
        v1::PullPolicy::Missing => api.fetcher.ensure(image).await.map_err(|fault| error::pull(&fault)),
        v1::PullPolicy::Always => {
            let pulled = api.fetcher.pull(image, PullOptions::default()).await;
            pulled.map_err(|fault| error::pull(&fault))
        }
        // Creating says so when it is missing.
        v1::PullPolicy::Never => Ok(()),
    }
}

pub(super) async fn start(
    api: &Api,
    request: &v1::StartContainerRequest,
) -> Result<v1::StartContainerResponse, Status> {
    let begun = SystemTime::now();
    let started = api.engine.start_traced(&request.container, telemetry::context("")).await;
    let timings = started.map_err(|fault| error::engine(&fault))?;
    telemetry::start_steps(begun, &timings);
    Ok(v1::StartContainerResponse {})
}

pub(super) async fn wait(
    api: &Api,
    request: &v1::WaitContainerRequest,
) -> Result<v1::WaitContainerResponse, Status> {
    // One that could not be started will not exit: say why instead of waiting for ever.
    let container = api.engine.inspect(&request.container).map_err(|fault| error::engine(&fault))?;
    let is_waiting_for_a_start = !request.next_exit && container.state == ContainerState::Created;
    if let (true, Some(reason)) = (is_waiting_for_a_start, container.error) {
        return Ok(v1::WaitContainerResponse { exit_code: 127, oom_killed: false, error: reason });
    }
    let exit = match request.next_exit {
        true => api.engine.wait_for_next(&container.id).await,
        false => api.engine.wait(&container.id).await,
    };
    let exit = exit.map_err(|fault| error::engine(&fault))?;
    Ok(v1::WaitContainerResponse { exit_code: exit.code, oom_killed: exit.oom_killed, error: String::new() })
}
