//! `/containers`: the list and one container.

use agent_engine::{Container, ContainerState, Engine, PortMapping, Protocol};
use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::ApiError;

/// Parameters of the list.
#[derive(Debug, Deserialize)]
pub(crate) struct ListQuery {
    all: Option<String>,
}

/// `GET /containers/json`.
pub(crate) async fn list(State(engine): State<Engine>, Query(query): Query<ListQuery>) -> Json<Value> {
    let all = query.all.is_some_and(|value| is_true(&value));
    let shown =
        engine.list().into_iter().filter(|container| all || container.state == ContainerState::Running);
    let mut rows: Vec<Value> = shown.map(|container| summary(&container)).collect();
    rows.reverse();
    Json(Value::Array(rows))
}

/// Docker reads these, and nothing else, as false.
fn is_true(value: &str) -> bool {
    !matches!(value.trim().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
}

/// `GET /containers/{name}/json`.
pub(crate) async fn inspect(
    State(engine): State<Engine>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let container = engine.inspect(&name)?;
    let exit = container.exit.as_ref();
    let (path, arguments) =
        container.command.split_first().map_or((String::new(), &[][..]), |(path, rest)| (path.clone(), rest));
    Ok(Json(json!({
        "Id": container.id,
        "Created": rfc3339(container.created_at_ms),
        "Path": path,
        "Args": arguments,
        "Name": format!("/{}", container.name),
        "Image": container.image_digest,
        "State": {
            "Status": container.state.to_string(),
            "Running": container.state == ContainerState::Running,
            "Paused": false,
            "Restarting": false,
            "Dead": false,
            "Pid": container.pid.unwrap_or(0),
            "ExitCode": exit.map_or(0, |exit| exit.code),
            "OOMKilled": exit.is_some_and(|exit| exit.oom_killed),
            "Error": container.error.clone().unwrap_or_default(),
            "StartedAt": rfc3339(container.started_at_ms.unwrap_or(0)),
            "FinishedAt": rfc3339(exit.map_or(0, |exit| exit.at_ms)),
        },
        "Config": {
            "Image": container.config.image,
            "Hostname": container.config.hostname,
            "User": container.config.user,
            "Env": container.config.env,
            "Cmd": container.command,
            "WorkingDir": container.config.working_dir,
            "Labels": container.config.labels,
            "Tty": container.config.terminal,
            "OpenStdin": container.config.open_stdin,
        },
        "NetworkSettings": { "Networks": networks(&container), "Ports": port_map(&container.config.ports) },
        "Mounts": [],
    })))
}

/// Go's zero time stands for a moment that has not come.
fn rfc3339(at_ms: u64) -> String {
    let moment = i64::try_from(at_ms).ok().filter(|ms| *ms > 0).map(jiff::Timestamp::from_millisecond);
    match moment {
        Some(Ok(moment)) => moment.to_string(),
        _ => "0001-01-01T00:00:00Z".to_owned(),
    }
}

fn summary(container: &Container) -> Value {
    json!({
        "Id": container.id,
        "Names": [format!("/{}", container.name)],
        "Image": container.config.image,
        "ImageID": container.image_digest,
        "Command": container.command.join(" "),
        "Created": container.created_at_ms / 1000,
        "Ports": container.config.ports.iter().map(port).collect::<Vec<_>>(),
        "Labels": container.config.labels,
        "State": container.state.to_string(),
        "Status": status(container),
        "HostConfig": { "NetworkMode": "bridge" },
        "NetworkSettings": { "Networks": networks(container) },
        "Mounts": [],
    })
}

fn status(container: &Container) -> String {
    match (container.state, &container.exit) {
        (ContainerState::Created, _) => "Created".to_owned(),
        (ContainerState::Exited, Some(exit)) => format!("Exited ({})", exit.code),
        (ContainerState::Exited, None) => "Exited".to_owned(),
        (ContainerState::Running, _) => "Up".to_owned(),
    }
}

fn networks(container: &Container) -> Value {
    let address = container.address.map(|address| address.to_string()).unwrap_or_default();
    json!({ "bridge": { "IPAddress": address } })
}

fn protocol(port: &PortMapping) -> &'static str {
    match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

fn port(port: &PortMapping) -> Value {
    json!({ "IP": "0.0.0.0", "PrivatePort": port.target, "PublicPort": port.published, "Type": protocol(port) })
}

fn port_map(ports: &[PortMapping]) -> Value {
    let entry = |port: &PortMapping| {
        let bindings = json!([{ "HostIp": "0.0.0.0", "HostPort": port.published.to_string() }]);
        (format!("{}/{}", port.target, protocol(port)), bindings)
    };
    Value::Object(ports.iter().map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_as_docker_reads_them() {
        for (value, expected) in
            [("1", true), ("true", true), ("yes", true), ("0", false), ("False", false), ("", false)]
        {
            assert_eq!(is_true(value), expected, "{value:?}");
        }
    }

    #[test]
    fn a_published_port_has_both_sides() {
        let mapping = PortMapping { protocol: Protocol::Udp, published: 8053, target: 53 };
        assert_eq!(port(&mapping)["PublicPort"], 8053);
        assert_eq!(port_map(&[mapping])["53/udp"][0]["HostPort"], "8053");
    }
}
