//! Steering containers that are there: signals, ends, restarts, pauses, names,
//! removal. What belongs to a service is its owner's to name and to remove.

use std::time::Duration;

use agent_engine::container::restart::RestartPolicy;
use agent_engine::container::{Update, signal};
use agent_engine::{Container, ContainerState, PruneFilter, StopOptions};
use proto::v1;
use tonic::Status;

use super::Api;
use crate::{error, telemetry};

/// Signals have numbers from 1 to this.
const SIGNAL_MAX: i32 = 64;

fn find(api: &Api, container: &str) -> Result<Container, Status> {
    api.engine.inspect(container).map_err(|fault| error::engine(&fault))
}

/// Refuses what would surprise the service that a container belongs to.
fn check_is_no_task(container: &Container, verb: &str, instead: &str) -> Result<(), Status> {
    if container.config.task.is_none() {
        return Ok(());
    }
    // The last one is the agent's own; what a service says of itself stands before it.
    let service =
        container.config.env.iter().rev().find_map(|entry| entry.strip_prefix("ROADSTEAD_SERVICE="));
    let service = service.unwrap_or("a service of the cluster");
    Err(Status::failed_precondition(format!(
        "container {} belongs to service {service} and cannot be {verb} by hand; {instead}",
        container.name
    )))
}

fn signal_of(name: &str, number: i32) -> Result<i32, Status> {
    if !name.is_empty() {
        return signal::parse(name).ok_or_else(|| {
            let rule =
                format!("{name:?} is no signal: a name such as TERM or SIGRTMIN+3, or 1 to {SIGNAL_MAX}");
            error::invalid_field("signal", rule)
        });
    }
    if (1..=SIGNAL_MAX).contains(&number) {
        return Ok(number);
    }
    Err(error::invalid_field("signal", format!("{number} is not a signal from 1 to {SIGNAL_MAX}")))
}

fn stop_options(signal: &str, seconds: Option<u32>, wait_forever: bool) -> Result<StopOptions, Status> {
    let grace = seconds.map(|seconds| Duration::from_secs(seconds.into()));
    let signal = if signal.is_empty() { None } else { Some(signal_of(signal, 0)?) };
    Ok(StopOptions { signal, grace: if wait_forever { Some(Duration::MAX) } else { grace } })
}

pub(super) async fn kill(
    api: &Api,
    request: &v1::KillContainerRequest,
) -> Result<v1::KillContainerResponse, Status> {
    let signal = signal_of(&request.signal_name, request.signal)?;
    api.engine.kill(&request.container, signal).await.map_err(|fault| error::engine(&fault))?;
    Ok(v1::KillContainerResponse {})
}

pub(super) async fn stop(
    api: &Api,
    request: &v1::StopContainerRequest,
) -> Result<v1::StopContainerResponse, Status> {
    let options = stop_options(&request.signal, request.grace_seconds, request.wait_forever)?;
    let container = find(api, &request.container)?;
    // One that was never started does not run, which is what is wanted.
    if container.state != ContainerState::Created {
        api.engine.stop_as(&container.id, options).await.map_err(|fault| error::engine(&fault))?;
    }
    Ok(v1::StopContainerResponse {})
}

pub(super) async fn restart(
    api: &Api,
    request: &v1::RestartContainerRequest,
) -> Result<v1::RestartContainerResponse, Status> {
    let options = stop_options(&request.signal, request.grace_seconds, request.wait_forever)?;
    let container = find(api, &request.container)?;
    check_is_no_task(&container, "restarted", "stop it, and another takes its place")?;
    let restarted = api.engine.restart(&container.id, options, telemetry::context(""));
    restarted.await.map_err(|fault| error::engine(&fault))?;
    Ok(v1::RestartContainerResponse {})
}

pub(super) async fn pause(
    api: &Api,
    request: &v1::PauseContainerRequest,
) -> Result<v1::PauseContainerResponse, Status> {
    api.engine.pause(&request.container).await.map_err(|fault| error::engine(&fault))?;
    Ok(v1::PauseContainerResponse {})
}

pub(super) async fn unpause(
    api: &Api,
    request: &v1::UnpauseContainerRequest,
) -> Result<v1::UnpauseContainerResponse, Status> {
    api.engine.unpause(&request.container).await.map_err(|fault| error::engine(&fault))?;
    Ok(v1::UnpauseContainerResponse {})
}

pub(super) async fn rename(
    api: &Api,
    request: &v1::RenameContainerRequest,
) -> Result<v1::RenameContainerResponse, Status> {
    let container = find(api, &request.container)?;
    check_is_no_task(&container, "renamed", "its name tells service, slot and task")?;
    api.engine.rename(&container.id, &request.name).await.map_err(|fault| error::engine(&fault))?;
    Ok(v1::RenameContainerResponse {})
}

pub(super) async fn update(
    api: &Api,
    request: v1::UpdateContainerRequest,
) -> Result<v1::UpdateContainerResponse, Status> {
    let container = find(api, &request.container)?;
    check_is_no_task(&container, "updated", "change the service's limits:  ctl service update")?;
    let policy = request.restart.as_deref().map(str::parse::<RestartPolicy>).transpose();
    let update = Update {
        memory_bytes: request.memory_bytes,
        memory_swap: request.memory_swap_bytes,
        memory_reservation: request.memory_reservation_bytes,
        nano_cpus: request.nano_cpus,
        cpu_shares: request.cpu_shares,
        cpu_period: request.cpu_period_us,
        cpu_quota: request.cpu_quota_us,
        cpuset_cpus: request.cpuset_cpus,
        cpuset_mems: request.cpuset_mems,
        pids: request.pids,
        cpu_rt_runtime: request.cpu_rt_runtime_us,
        cpu_rt_period: request.cpu_rt_period_us,
        blkio_weight: request.blkio_weight.map(|weight| u16::try_from(weight).unwrap_or(u16::MAX)),
        restart: policy.map_err(|fault| error::invalid_field("restart", fault))?,
    };
    api.engine.update(&container.id, update).await.map_err(|fault| error::engine(&fault))?;
    Ok(v1::UpdateContainerResponse {})
}

pub(super) async fn remove(
    api: &Api,
    request: &v1::RemoveContainerRequest,
) -> Result<v1::RemoveContainerResponse, Status> {
    let container = find(api, &request.container)?;
    if !request.force {
        check_is_no_task(
            &container,
            "removed",
            "change the service, or force it and another takes its place",
        )?;
    }
    let removed = if request.volumes {
        api.engine.remove_with_volumes(&container.id, request.force).await
    } else {
        api.engine.remove(&container.id, request.force).await
    };
    removed.map_err(|fault| error::engine(&fault))?;
    Ok(v1::RemoveContainerResponse {})
}

pub(super) async fn prune(
    api: &Api,
    request: v1::PruneContainersRequest,
) -> Result<v1::PruneContainersResponse, Status> {
    let filter = PruneFilter {
        until_ms: request.until_ms,
        labels: request.labels,
        without_labels: request.without_labels,
    };
    let pruned = api.engine.prune(filter).await.map_err(|fault| error::engine(&fault))?;
    Ok(v1::PruneContainersResponse {
        containers: pruned.containers,
        bytes: pruned.bytes,
        failures: pruned.failures,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers_and_nothing_else() {
        assert_eq!(signal_of("", 9).unwrap(), 9);
        assert_eq!(signal_of("SIGUSR1", 0).unwrap(), 10);
        for (name, number) in [("", 0), ("", 65), ("", -1), ("NOPE", 9)] {
            assert!(signal_of(name, number).is_err(), "{name} {number}");
        }
    }

    #[test]
    fn a_stop_that_waits_for_ever_has_no_end() {
        assert_eq!(stop_options("", Some(3), true).unwrap().grace, Some(Duration::MAX));
        let three = stop_options("INT", Some(3), false).unwrap();
        assert_eq!((three.signal, three.grace), (Some(2), Some(Duration::from_secs(3))));
        assert_eq!(stop_options("", None, false).unwrap(), StopOptions::default());
    }
}
