//! What a client asks first: whether anyone is there, and who.

use agent_engine::image::ImageFilter;
use agent_engine::{ContainerState, Engine};
use axum::Json;
use axum::extract::State;
use axum::http::Method;
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::version::{MAXIMUM, MINIMUM};

mod host;
pub(crate) mod usage;

const RELEASE: &str = env!("CARGO_PKG_VERSION");
/// How images and containers are stored, in Docker's words.
pub(crate) const STORAGE: &str = "overlayfs";
/// Who runs containers; there is no other.
pub(crate) const RUNTIME: &str = "roadstead";

/// `HEAD` and `GET /_ping`: the headers are what clients negotiate by.
pub(crate) async fn ping(method: Method) -> impl IntoResponse {
    let headers = [
        ("builder-version", "1"),
        ("swarm", "inactive"),
        ("cache-control", "no-cache, no-store, must-revalidate"),
        ("pragma", "no-cache"),
    ];
    (headers, if method == Method::HEAD { "" } else { "OK" })
}

/// `GET /version`. Docker's has a Go version, a commit and a time; this has none.
pub(crate) async fn version() -> Json<Value> {
    let (kernel, architecture) = (host::kernel(), host::architecture());
    Json(json!({
        "Platform": { "Name": "Roadstead" },
        "Components": [{
            "Name": "Engine",
            "Version": RELEASE,
            "Details": {
                "ApiVersion": MAXIMUM.to_string(),
                "MinAPIVersion": MINIMUM.to_string(),
                "GitCommit": "",
                "GoVersion": "",
                "Os": "linux",
                "Arch": architecture,
                "KernelVersion": kernel,
                "Experimental": "false",
                "BuildTime": "",
            },
        }],
        "Version": RELEASE,
        "ApiVersion": MAXIMUM.to_string(),
        "MinAPIVersion": MINIMUM.to_string(),
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": architecture,
        "KernelVersion": kernel,
        "Experimental": false,
        "BuildTime": "",
    }))
}

/// `GET /info`.
pub(crate) async fn info(State(engine): State<Engine>) -> Result<Json<Value>, ApiError> {
    let images = engine.images().summaries(&ImageFilter::default(), false).await?;
    let mut all = json!({ "Images": images.len() });
    if let Value::Object(object) = &mut all {
        for part in [containers(&engine), identity(&engine), abilities(&engine), host::facts()] {
            if let Value::Object(part) = part {
                object.extend(part);
            }
        }
    }
    Ok(Json(all))
}

fn containers(engine: &Engine) -> Value {
    let containers = engine.list();
    let count = |state| containers.iter().filter(|container| container.state == state).count();
    let (running, paused) = (count(ContainerState::Running), count(ContainerState::Paused));
    json!({
        "Containers": containers.len(),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": containers.len() - running - paused,
    })
}

fn identity(engine: &Engine) -> Value {
    json!({
        "ID": engine.config().instance(),
        "ServerVersion": RELEASE,
        "DockerRootDir": engine.config().data_dir,
        "SystemTime": jiff::Timestamp::now().to_string(),
        "Labels": [],
        "Debug": false,
        "NFd": 0,
        "NGoroutines": 0,
        "NEventsListener": 0,
        "ExperimentalBuild": false,
        "ProductLicense": "",
        "Warnings": [],
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Swarm": {
            "NodeID": "",
            "NodeAddr": "",
            "LocalNodeState": "inactive",
            "ControlAvailable": false,
            "Error": "",
            "RemoteManagers": null,
        },
    })
}

fn abilities(engine: &Engine) -> Value {
    let settings = &engine.config().registries;
    let registry = |name: &str, secure: bool| {
        let (official, mirrors) = (name == "docker.io", settings.mirrors(name));
        (name.to_owned(), json!({ "Name": name, "Mirrors": mirrors, "Secure": secure, "Official": official }))
    };
    let insecure = settings.insecure().map(|name| registry(name, false));
    let registries: Map<String, Value> =
        std::iter::once(registry("docker.io", true)).chain(insecure).collect();
    json!({
        "Driver": STORAGE,
        "DriverStatus": [],
        "LoggingDriver": "local",
        "Plugins": { "Volume": [], "Network": ["bridge"], "Authorization": null, "Log": ["json-file", "local", "none"] },
        "Runtimes": { RUNTIME: { "path": engine.config().keeper_program } },
        "DefaultRuntime": RUNTIME,
        // Containers go on while the agent is away.
        "LiveRestoreEnabled": true,
        "Isolation": "",
        "InitBinary": "",
        "ContainerdCommit": { "ID": "" },
        "RuncCommit": { "ID": "" },
        "InitCommit": { "ID": "" },
        "SecurityOptions": [
            "name=seccomp,profile=builtin", "name=userns", "name=cgroupns", "name=no-new-privileges",
        ],
        "DefaultAddressPools": null,
        "GenericResources": null,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": {
            "InsecureRegistryCIDRs": ["127.0.0.0/8"],
            "IndexConfigs": registries,
            "Mirrors": [],
        },
    })
}
