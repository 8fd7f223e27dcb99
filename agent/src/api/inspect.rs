//! Everything about one container: what is known of it, and its processes.
//! The JSON only grows: a key that is there keeps its name and meaning.

use agent_engine::{Container, Engine};
use proto::v1;
use serde_json::{Value, json};
use tonic::Status;

use super::Api;
use crate::{convert, error};

pub(super) async fn inspect(
    api: &Api,
    request: &v1::InspectContainerRequest,
) -> Result<v1::InspectContainerResponse, Status> {
    let container = api.engine.inspect(&request.container).map_err(|fault| error::engine(&fault))?;
    let size = if request.size { api.engine.size(&container.id).await.ok() } else { None };
    let text = document(&api.engine, &container, size).to_string();
    let shown = v1::Container { size_bytes: size, ..convert::container(container) };
    Ok(v1::InspectContainerResponse { container: Some(shown), json: text })
}

fn document(engine: &Engine, container: &Container, size: Option<u64>) -> Value {
    let config = &container.config;
    let exit = container.exit.as_ref();
    let mut asked = serde_json::to_value(config).unwrap_or_default();
    if let Some(asked) = asked.as_object_mut() {
        // How the request was traced says nothing about the container.
        asked.remove("traceparent");
    }
    let time = |ms: Option<u64>| ms.and_then(moment);
    json!({
        "id": container.id,
        "name": container.name,
        "image": config.image,
        "image_digest": container.image_digest,
        "created_at": time(Some(container.created_at_ms)),
        "state": {
            "status": container.state.to_string(),
            "running": container.state.is_alive(),
            "pid": container.pid,
            "exit_code": exit.map(|exit| exit.code),
            "signal": exit.and_then(|exit| exit.signal),
            "oom_killed": exit.is_some_and(|exit| exit.oom_killed),
            "error": container.error,
            "started_at": time(container.started_at_ms),
            "finished_at": time(exit.map(|exit| exit.at_ms)),
            "restart_count": container.restart_count,
            "restart_at": time(container.restart_at_ms),
            "health": convert::health(container),
            "health_checks": container.health,
        },
        "command": container.command,
        "env": container.env,
        "working_dir": container.working_dir,
        "hostname": container.hostname,
        "labels": config.labels,
        "task": config.task,
        "network": {
            "name": "bridge",
            "bridge": engine.config().bridge,
            "address": container.address,
            "ports": config.ports,
        },
        "limits": config.limits,
        "size_bytes": size,
        "log_path": engine.log_path(container),
        "cgroup": engine.cgroup(&container.id).ok(),
        "config": asked,
    })
}

/// RFC 3339, in UTC.
fn moment(ms: u64) -> Option<String> {
    let ms = i64::try_from(ms).ok().filter(|ms| *ms > 0)?;
    Some(jiff::Timestamp::from_millisecond(ms).ok()?.to_string())
}

pub(super) async fn top(
    api: &Api,
    request: &v1::TopContainerRequest,
) -> Result<v1::TopContainerResponse, Status> {
    let processes = api.engine.top(&request.container).await.map_err(|fault| error::engine(&fault))?;
    let processes = processes.into_iter().map(|process| v1::Process {
        pid: process.pid,
        parent: process.parent,
        container_pid: process.container_pid,
        user: process.user,
        state: process.state.to_string(),
        started_at_ms: process.started_at_ms,
        cpu_ms: process.cpu_ms,
        memory_bytes: process.memory_bytes,
        threads: process.threads,
        command: process.command,
    });
    Ok(v1::TopContainerResponse { processes: processes.collect() })
}
