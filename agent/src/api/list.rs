//! Which containers a list shows, and what of each.

use agent_engine::image::Reference;
use agent_engine::{Container, ContainerState, Protocol};
use proto::v1;
use regex::RegexBuilder;
use tonic::Status;

use super::Api;
use super::filter::Filters;
use crate::{convert, error};

const KEYS: [&str; 13] = [
    "ancestor", "before", "exited", "health", "id", "is-task", "label", "name", "network", "publish",
    "since", "status", "volume",
];
const STATES: [&str; 7] = ["created", "dead", "exited", "paused", "removing", "restarting", "running"];

/// A moment in the order of containers.
type Made = (u64, String);

pub(super) async fn list(
    api: &Api,
    request: v1::ListContainersRequest,
) -> Result<v1::ListContainersResponse, Status> {
    let last = usize::try_from(request.last).unwrap_or(usize::MAX);
    let filters = Filters::new(request.filters, &KEYS)?;
    let all = request.all || last > 0 || !filters.values("status").is_empty();
    let mut shown = select(&filters, all, api.engine.list())?;
    if last > 0 {
        shown.drain(..shown.len().saturating_sub(last));
    }
    let mut containers = Vec::with_capacity(shown.len());
    for container in shown {
        // It may be removed at this moment.
        let size = if request.size { api.engine.size(&container.id).await.ok() } else { None };
        containers.push(v1::Container { size_bytes: size, ..convert::container(container) });
    }
    Ok(v1::ListContainersResponse { containers })
}

/// Those that are asked for, oldest first.
fn select(filters: &Filters, all: bool, mut containers: Vec<Container>) -> Result<Vec<Container>, Status> {
    let wrong =
        |key: &str, value: &str, rule: &str| error::invalid_field("filter", format!("{key}={value}: {rule}"));
    if let Some(state) = filters.values("status").iter().find(|state| !STATES.contains(&state.as_str())) {
        return Err(wrong("status", state, &format!("it is one of {}", STATES.join(", "))));
    }
    let mut codes: Vec<i32> = Vec::new();
    for text in filters.values("exited") {
        codes.push(text.parse().map_err(|_| wrong("exited", text, "it is an exit code"))?);
    }
    let mut ports = Vec::new();
    for text in filters.values("publish") {
        let port = ports_of(text);
        ports.push(port.ok_or_else(|| wrong("publish", text, "it is PORT[-PORT][/tcp|/udp]"))?);
    }
    let before = bound(filters, "before", &containers)?;
    let since = bound(filters, "since", &containers)?;
    containers.retain(|container| {
        let state = container.state.to_string();
        let made = (container.created_at_ms, container.id.clone());
        let code = container.exit.as_ref().map(|exit| exit.code);
        (all || container.state.is_alive())
            && filters.admits("status", |wanted| wanted == state)
            && (codes.is_empty()
                || (container.state == ContainerState::Exited
                    && code.is_some_and(|code| codes.contains(&code))))
            && before.as_ref().is_none_or(|bound| made < *bound)
            && since.as_ref().is_none_or(|bound| made > *bound)
            && (ports.is_empty() || ports.iter().any(|port| publishes(container, *port)))
            && filters.admits("id", |wanted| matches(wanted, &container.id))
            && filters.admits("name", |wanted| matches(wanted.trim_start_matches('/'), &container.name))
            && filters.admits("is-task", |wanted| (wanted == "true") == container.config.task.is_some())
            && filters.admits("network", |wanted| wanted == "bridge")
            && filters.admits("volume", |wanted| has_volume(container, wanted))
            && filters.admits("health", |wanted| convert::health(container) == wanted)
            && filters.admits("ancestor", |wanted| is_of(wanted, container))
            && filters.admits_labels(|key| container.config.labels.get(key).cloned())
    });
    Ok(containers)
}

/// When the container of a `before` or `since` was made. The last of several counts.
fn bound(filters: &Filters, key: &str, containers: &[Container]) -> Result<Option<Made>, Status> {
    let Some(wanted) = filters.values(key).last() else { return Ok(None) };
    let is_meant = |container: &&Container| container.name == *wanted || container.id.starts_with(wanted);
    let found = containers.iter().find(is_meant).filter(|_| !wanted.is_empty());
    let missing = || Status::not_found(format!("filter {key}: no container {wanted:?}"));
    found.map(|container| Some((container.created_at_ms, container.id.clone()))).ok_or_else(missing)
}

type Ports = (u16, u16, Option<Protocol>);

fn ports_of(text: &str) -> Option<Ports> {
    let (numbers, protocol) = match text.split_once('/') {
        None => (text, None),
        Some((numbers, "tcp")) => (numbers, Some(Protocol::Tcp)),
        Some((numbers, "udp")) => (numbers, Some(Protocol::Udp)),
        Some(_) => return None,
    };
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    Some((first.parse().ok()?, last.parse().ok()?, protocol))
}

fn publishes(container: &Container, (first, last, protocol): Ports) -> bool {
    container.config.ports.iter().any(|port| {
        (first..=last).contains(&port.published) && protocol.is_none_or(|protocol| protocol == port.protocol)
    })
}

/// By name or source, or by where it is in the container.
fn has_volume(container: &Container, wanted: &str) -> bool {
    container.config.mounts.iter().any(|mount| mount.source == wanted || mount.target == wanted)
}

/// An expression as Docker takes it; one that is none matches nothing but itself.
fn matches(expression: &str, text: &str) -> bool {
    let compiled = RegexBuilder::new(expression).size_limit(1 << 20).build();
    expression == text || compiled.is_ok_and(|compiled| compiled.is_match(text))
}

/// By the name the container was made from, or by the beginning of the image's digest.
fn is_of(wanted: &str, container: &Container) -> bool {
    let same = |one: &str, other: &str| match (one.parse::<Reference>(), other.parse::<Reference>()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    };
    let digest = container.image_digest.split(':').nth(1).unwrap_or_default();
    let hex = wanted.trim_start_matches("sha256:");
    same(wanted, &container.config.image) || (hex.len() >= 6 && digest.starts_with(hex))
}

#[cfg(test)]
mod tests;
