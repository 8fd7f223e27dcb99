//! The wire's words for containers turned into the engine's, and back. Values
//! that the engine could not mean are refused with the field that holds them.

pub mod health;
pub mod isolation;

use std::collections::BTreeSet;
use std::time::Duration;

use agent_engine::container::health::HealthStatus;
use agent_engine::{
    Container, ContainerConfig, ContainerState, Limits, Logging, PortMapping, Protocol, PublishedPort,
    WindowSize,
};
use proto::v1;

/// A field that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct Invalid {
    /// Path of the field in the request.
    pub field: &'static str,
    /// The rule.
    pub rule: String,
}

fn invalid<T>(field: &'static str, rule: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid { field, rule: rule.into() })
}

/// What the engine is asked for; name, task and terminal are the caller's to add.
///
/// # Errors
/// The field that breaks a rule.
pub fn container_config(
    spec: &v1::ContainerSpec,
    ports: &[v1::PublishedPort],
) -> Result<ContainerConfig, Invalid> {
    if spec.image.is_empty() {
        return invalid("spec.image", "say which image to run");
    }
    let limits = spec.limits.unwrap_or_default();
    Ok(ContainerConfig {
        image: spec.image.clone(),
        entrypoint: spec.entrypoint.clone(),
        command: spec.command.clone(),
        env: spec.env.clone(),
        user: spec.user.clone(),
        working_dir: spec.working_dir.clone(),
        hostname: spec.hostname.clone(),
        labels: spec.labels.clone().into_iter().collect(),
        limits: Limits {
            nano_cpus: nonzero(limits.nano_cpus),
            memory_bytes: nonzero(limits.memory_bytes),
            pids: nonzero(limits.pids),
        },
        stop_grace: (spec.stop_grace_seconds > 0)
            .then(|| Duration::from_secs(u64::from(spec.stop_grace_seconds))),
        ports: ports.iter().map(port_mapping).collect::<Result<_, _>>()?,
        log: spec.logging.as_ref().map(logging).transpose()?,
        ..ContainerConfig::default()
    })
}

/// What is to be kept of a container's output; the options are judged when it is made.
///
/// # Errors
/// When there is no such driver.
pub fn logging(asked: &v1::Logging) -> Result<Logging, Invalid> {
    Logging::new(&asked.driver, asked.options.clone().into_iter().collect())
        .or_else(|error| invalid("logging", error.to_string()))
}

fn nonzero(value: u64) -> Option<u64> {
    (value != 0).then_some(value)
}

fn port_mapping(port: &v1::PublishedPort) -> Result<PortMapping, Invalid> {
    let number = |field, value: u32| match u16::try_from(value) {
        Ok(number) if number != 0 => Ok(number),
        _ => invalid(field, format!("{value} is not a port from 1 to 65535")),
    };
    Ok(PortMapping {
        protocol: match port.protocol() {
            v1::Protocol::Udp => Protocol::Udp,
            v1::Protocol::Tcp | v1::Protocol::Unspecified => Protocol::Tcp,
        },
        published: number("ports.published", port.published)?,
        target: number("ports.target", port.target)?,
    })
}

/// A terminal's size; `None` for one without rows or columns.
pub fn window(rows: u32, columns: u32) -> Option<WindowSize> {
    let size = WindowSize { rows: u16::try_from(rows).ok()?, columns: u16::try_from(columns).ok()? };
    (rows > 0 && columns > 0).then_some(size)
}

/// A container as the wire shows it.
pub fn container(container: Container) -> v1::Container {
    let health = health(&container).to_owned();
    let config = container.config;
    v1::Container {
        id: container.id,
        name: container.name,
        image: config.image,
        state: container.state.to_string(),
        pid: container.pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or_default(),
        exit_code: container.exit.as_ref().map(|exit| exit.code),
        address: container.address.map(|address| address.to_string()).unwrap_or_default(),
        created_at_ms: container.created_at_ms,
        started_at_ms: container.started_at_ms.unwrap_or_default(),
        finished_at_ms: container.exit.as_ref().map(|exit| exit.at_ms).unwrap_or_default(),
        task_id: config.task.unwrap_or_default(),
        command: container.command,
        ports: config.ports.iter().map(published_port).collect(),
        mounts: config.mounts.iter().map(crate::api::mount).collect(),
        restart: config.restart.to_string(),
        restart_count: container.restart_count,
        restart_at_ms: container.restart_at_ms.unwrap_or_default(),
        error: container.error.unwrap_or_default(),
        labels: config.labels.into_iter().collect(),
        health,
        terminal: config.terminal,
        size_bytes: None,
    }
}

/// What is thought of a container's health; empty when nobody checks it.
pub fn health(container: &Container) -> &'static str {
    match container.health.as_ref().map(|health| health.status) {
        Some(HealthStatus::Starting) => "starting",
        Some(HealthStatus::Healthy) => "healthy",
        Some(HealthStatus::Unhealthy) => "unhealthy",
        None => "",
    }
}

fn published_port(port: &PortMapping) -> v1::PublishedPort {
    let protocol = match port.protocol {
        Protocol::Tcp => v1::Protocol::Tcp,
        Protocol::Udp => v1::Protocol::Udp,
    };
    v1::PublishedPort {
        protocol: protocol.into(),
        published: u32::from(port.published),
        target: u32::from(port.target),
    }
}

/// The ports of services on this host: held from the moment a task's container
/// is made, and leading to it while it runs and its task is not among those `leaving`.
pub fn service_ports(containers: &[Container], leaving: &BTreeSet<String>) -> Vec<PublishedPort> {
    let mut ports: Vec<PublishedPort> = Vec::new();
    for container in containers {
        let Some(task) = &container.config.task else { continue };
        if container.state == ContainerState::Exited {
            continue;
        }
        let serves = container.state.is_alive() && !leaving.contains(task);
        for mapping in &container.config.ports {
            let key = (mapping.protocol, mapping.published);
            let known = ports.iter().position(|port| (port.protocol, port.port) == key);
            let at = known.unwrap_or_else(|| {
                ports.push(PublishedPort { protocol: key.0, port: key.1, targets: Vec::new() });
                ports.len() - 1
            });
            if let (true, Some(address)) = (serves, container.address) {
                ports[at].targets.push((address, mapping.target));
            }
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn made(task: Option<&str>, state: ContainerState, last_octet: u8) -> Container {
        let ports = vec![PortMapping { protocol: Protocol::Tcp, published: 8080, target: 80 }];
        Container {
            id: String::new(),
            name: String::new(),
            config: ContainerConfig { ports, task: task.map(str::to_owned), ..ContainerConfig::default() },
            image_digest: String::new(),
            command: Vec::new(),
            env: Vec::new(),
            working_dir: String::new(),
            hostname: String::new(),
            state,
            pid: None,
            exit: None,
            health: None,
            restart_count: 0,
            restart_at_ms: None,
            error: None,
            taken_down: false,
            address: Some(Ipv4Addr::new(10, 0, 0, last_octet)),
            created_at_ms: 0,
            started_at_ms: None,
            start_timings: Vec::new(),
        }
    }

    #[test]
    fn a_port_leads_to_running_tasks_and_is_held_for_prepared_ones() {
        use ContainerState::{Created, Exited, Running};
        let containers = [
            made(Some("a"), Running, 2),
            made(Some("b"), Created, 3),
            made(Some("c"), Exited, 4),
            made(None, Running, 5),
        ];
        let targets = vec![(Ipv4Addr::new(10, 0, 0, 2), 80)];
        let expected = vec![PublishedPort { protocol: Protocol::Tcp, port: 8080, targets }];
        let none = BTreeSet::new();
        assert_eq!(service_ports(&containers, &none), expected);
        assert_eq!(service_ports(&containers[1..2], &none)[0].targets, vec![]);
        assert_eq!(service_ports(&containers[2..], &none), vec![]);
    }

    #[test]
    fn a_port_is_held_by_but_does_not_lead_to_a_task_that_is_being_stopped() {
        let containers = [2, 3].map(|octet| made(Some(&octet.to_string()), ContainerState::Running, octet));
        let ports = service_ports(&containers, &BTreeSet::from(["2".to_owned()]));
        assert_eq!(ports[0].targets, vec![(Ipv4Addr::new(10, 0, 0, 3), 80)]);
        assert_eq!(service_ports(&containers[..1], &BTreeSet::from(["2".to_owned()]))[0].targets, vec![]);
    }

    #[test]
    fn values_that_cannot_be_meant_are_refused_by_field() {
        let spec = v1::ContainerSpec { image: "x".into(), ..v1::ContainerSpec::default() };
        let port = |published, target| v1::PublishedPort { protocol: 0, published, target };
        assert_eq!(container_config(&v1::ContainerSpec::default(), &[]).unwrap_err().field, "spec.image");
        assert_eq!(container_config(&spec, &[port(0, 80)]).unwrap_err().field, "ports.published");
        assert_eq!(container_config(&spec, &[port(80, 65_536)]).unwrap_err().field, "ports.target");
        assert_eq!(container_config(&spec, &[port(8080, 80)]).unwrap().ports.len(), 1);
    }

    #[test]
    fn a_window_needs_rows_and_columns() {
        assert_eq!(window(24, 80), Some(WindowSize { rows: 24, columns: 80 }));
        assert_eq!(window(0, 80), None);
        assert_eq!(window(24, 70_000), None);
    }
}
