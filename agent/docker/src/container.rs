//! `/containers`: the list and one container.

use std::collections::BTreeMap;

use agent_engine::image::Image;
use agent_engine::{Container, Engine, PortMapping, Protocol};
use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::query::Params;

mod detail;
mod host_config;
mod selection;
mod summary;

/// Images by the digest of their manifest.
type Images = BTreeMap<String, Image>;

/// `GET /containers/json`. `size` is not obeyed: clients ask for it whenever they
/// are to print every field, so rows without sizes serve them better than an error.
pub(crate) async fn list(State(engine): State<Engine>, params: Params) -> Result<Json<Value>, ApiError> {
    let images = images(&engine).await;
    let shown = selection::select(&params, engine.list(), &images)?;
    let now = jiff::Timestamp::now().as_millisecond();
    let row = |container: &Container| {
        summary::summary(&engine, container, images.get(&container.image_digest), now)
    };
    Ok(Json(shown.iter().map(row).collect()))
}

/// `GET /containers/{name}/json`.
pub(crate) async fn inspect(
    State(engine): State<Engine>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let container = engine.inspect(name.trim_start_matches('/'))?;
    let images = images(&engine).await;
    Ok(Json(detail::detail(&engine, &container, images.get(&container.image_digest))))
}

/// Containers with what each has written, as `/system/df` shows them.
pub(crate) async fn with_sizes(engine: &Engine, containers: &[(Container, u64)]) -> Vec<Value> {
    let images = images(engine).await;
    let now = jiff::Timestamp::now().as_millisecond();
    let row = |(container, bytes): &(Container, u64)| {
        let mut row = summary::summary(engine, container, images.get(&container.image_digest), now);
        row["SizeRw"] = json!(bytes);
        row
    };
    containers.iter().map(row).collect()
}

/// They only complete what is shown, so a damaged one must not hide the containers.
async fn images(engine: &Engine) -> Images {
    match engine.images().list().await {
        Ok(images) => images.into_iter().map(|image| (image.manifest_digest.to_string(), image)).collect(),
        Err(error) => {
            tracing::warn!(%error, "containers are shown without what their images say");
            Images::new()
        }
    }
}

/// The image's labels and the container's own, which win.
fn labels(container: &Container, image: Option<&Image>) -> BTreeMap<String, String> {
    let mut labels = image.map(|image| image.config.labels.clone()).unwrap_or_default();
    labels.extend(container.config.labels.clone());
    labels
}

/// Go's zero time stands for a moment that has not come.
fn rfc3339(at_ms: u64) -> String {
    let moment = i64::try_from(at_ms).ok().filter(|ms| *ms > 0).map(jiff::Timestamp::from_millisecond);
    match moment {
        Some(Ok(moment)) => moment.to_string(),
        _ => "0001-01-01T00:00:00Z".to_owned(),
    }
}

/// The one network that every container is in, as it sees it.
fn networks(engine: &Engine, container: &Container) -> Value {
    json!({ "bridge": endpoint(engine, container) })
}

fn endpoint(engine: &Engine, container: &Container) -> Map<String, Value> {
    let place = container.address.map(|address| engine.network().endpoint(&container.id, address));
    let fields = [
        ("IPAMConfig", Value::Null),
        ("Links", Value::Null),
        ("Aliases", Value::Null),
        ("DriverOpts", Value::Null),
        ("DNSNames", Value::Null),
        ("NetworkID", json!("")),
        ("EndpointID", json!("")),
        ("MacAddress", json!(place.as_ref().map(|place| place.mac.clone()).unwrap_or_default())),
        ("Gateway", json!(place.as_ref().map(|place| place.gateway.to_string()).unwrap_or_default())),
        ("IPAddress", json!(place.as_ref().map(|place| place.address.to_string()).unwrap_or_default())),
        ("IPPrefixLen", json!(place.as_ref().map(|place| place.prefix).unwrap_or_default())),
        ("IPv6Gateway", json!("")),
        ("GlobalIPv6Address", json!("")),
        ("GlobalIPv6PrefixLen", json!(0)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A port of the container in Docker's words, such as `80/tcp`.
fn target(port: &PortMapping) -> String {
    format!("{}/{}", port.target, protocol(port))
}

fn protocol(port: &PortMapping) -> &'static str {
    match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

/// Ports of the host lead to a container only while it runs.
fn open_ports(container: &Container) -> &[PortMapping] {
    if container.state.is_alive() { &container.config.ports } else { &[] }
}

/// Ports of the host by the container's port, which may have several.
fn bindings(ports: &[PortMapping]) -> Map<String, Value> {
    let mut bindings = Map::new();
    for port in ports {
        let binding = json!({ "HostIp": "0.0.0.0", "HostPort": port.published.to_string() });
        if let Value::Array(known) = bindings.entry(target(port)).or_insert_with(|| json!([])) {
            known.push(binding);
        }
    }
    bindings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ports_of_the_host_may_lead_to_one_of_the_container() {
        let port = |published, target| PortMapping { protocol: Protocol::Tcp, published, target };
        let bindings = bindings(&[port(8080, 80), port(8081, 80), port(53, 53)]);
        assert_eq!(bindings["80/tcp"][1]["HostPort"], "8081");
        assert_eq!(bindings["53/tcp"], json!([{ "HostIp": "0.0.0.0", "HostPort": "53" }]));
    }
}
