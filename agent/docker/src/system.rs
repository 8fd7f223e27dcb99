//! What a client asks first: whether anyone is there, and who.

use agent_engine::{ContainerState, Engine};
use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::version::{MAXIMUM, MINIMUM};

const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// `HEAD` and `GET /_ping`: the headers are what clients negotiate by.
pub(crate) async fn ping() -> impl IntoResponse {
    let headers = [
        ("builder-version", "1"),
        ("swarm", "inactive"),
        ("cache-control", "no-cache, no-store, must-revalidate"),
        ("pragma", "no-cache"),
    ];
    (headers, "OK")
}

/// `GET /version`.
pub(crate) async fn version() -> Json<Value> {
    let kernel = kernel();
    Json(json!({
        "Platform": { "Name": "Roadstead" },
        "Components": [{
            "Name": "Engine",
            "Version": RELEASE,
            "Details": {
                "ApiVersion": MAXIMUM.to_string(),
                "MinAPIVersion": MINIMUM.to_string(),
                "Os": "linux",
                "Arch": architecture(),
                "KernelVersion": kernel,
            },
        }],
        "Version": RELEASE,
        "ApiVersion": MAXIMUM.to_string(),
        "MinAPIVersion": MINIMUM.to_string(),
        "Os": "linux",
        "Arch": architecture(),
        "KernelVersion": kernel,
    }))
}

/// `GET /info`.
pub(crate) async fn info(State(engine): State<Engine>) -> Result<Json<Value>, ApiError> {
    let images = engine.images().list().await?;
    let containers = engine.list();
    let running = containers.iter().filter(|container| container.state == ContainerState::Running).count();
    Ok(Json(json!({
        "Containers": containers.len(),
        "ContainersRunning": running,
        "ContainersPaused": 0,
        "ContainersStopped": containers.len() - running,
        "Images": images.len(),
        "Driver": "overlay",
        "Name": hostname(),
        "ServerVersion": RELEASE,
        "OperatingSystem": "Linux",
        "OSType": "linux",
        "Architecture": std::env::consts::ARCH,
        "KernelVersion": kernel(),
        "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
        "Swarm": { "LocalNodeState": "inactive" },
    })))
}

/// Go's name of this machine's architecture, which Docker uses.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn kernel() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}
