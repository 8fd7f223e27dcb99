//! Everything about one container. Fields of what the engine does not have yet
//! (mounts, devices, more networks) hold what Docker says of a container without.

use agent_engine::image::Image;
use agent_engine::{Container, ContainerState, Engine};
use serde_json::{Value, json};

use super::{bindings, endpoint, host_config, labels, networks, open_ports, rfc3339, target};
use crate::system::STORAGE;

/// A container as `inspect` shows it.
pub(super) fn detail(engine: &Engine, container: &Container, image: Option<&Image>) -> Value {
    let dir = engine.config().container_dir(&container.id);
    let (path, arguments) = match container.command.split_first() {
        Some((path, arguments)) => (path.as_str(), arguments),
        None => ("", &[][..]),
    };
    json!({
        "Id": container.id,
        "Created": rfc3339(container.created_at_ms),
        "Path": path,
        "Args": arguments,
        "State": state(container),
        "Image": image.map_or_else(|| container.image_digest.clone(), |image| image.id.to_string()),
        "ResolvConfPath": dir.join("resolv.conf"),
        "HostnamePath": dir.join("hostname"),
        "HostsPath": dir.join("hosts"),
        "LogPath": engine.log_path(container).unwrap_or_default(),
        "Name": format!("/{}", container.name),
        "RestartCount": container.restart_count,
        "Driver": STORAGE,
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": null,
        "HostConfig": host_config::host_config(engine, container),
        "GraphDriver": { "Name": STORAGE, "Data": null },
        "Mounts": [],
        "Config": config(container, image),
        "NetworkSettings": network_settings(engine, container, image),
    })
}

fn state(container: &Container) -> Value {
    let exit = container.exit.as_ref();
    json!({
        "Status": container.state.to_string(),
        // Docker counts one that is about to run again as running.
        "Running": container.state.is_alive() || container.state == ContainerState::Restarting,
        "Paused": container.state == ContainerState::Paused,
        "Restarting": container.state == ContainerState::Restarting,
        "OOMKilled": exit.is_some_and(|exit| exit.oom_killed),
        "Dead": false,
        "Pid": container.pid.unwrap_or(0),
        "ExitCode": exit.map_or(0, |exit| exit.code),
        "Error": container.error.as_deref().unwrap_or_default(),
        "StartedAt": rfc3339(container.started_at_ms.unwrap_or(0)),
        "FinishedAt": rfc3339(exit.map_or(0, |exit| exit.at_ms)),
    })
}

fn config(container: &Container, image: Option<&Image>) -> Value {
    let config = &container.config;
    let of_image = image.map(|image| &image.config);
    let (entrypoint, command) = entrypoint_and_command(container, image);
    let user = match (config.user.as_str(), of_image) {
        ("", Some(image)) => image.user.as_str(),
        (user, _) => user,
    };
    let names = |names: Vec<String>| (!names.is_empty()).then(|| set(names));
    let mut value = json!({
        "Hostname": container.hostname,
        "Domainname": "",
        "User": user,
        "AttachStdin": false,
        "AttachStdout": false,
        "AttachStderr": false,
        "Tty": config.terminal,
        "OpenStdin": config.open_stdin,
        "StdinOnce": false,
        "Env": container.env,
        "Cmd": command,
        "Image": config.image,
        "Volumes": names(of_image.map(|image| image.volumes.clone()).unwrap_or_default()),
        "WorkingDir": container.working_dir,
        "Entrypoint": entrypoint,
        "OnBuild": null,
        "Labels": labels(container, image),
    });
    let mut add = |name: &str, field: Option<Value>| {
        if let (Some(object), Some(field)) = (value.as_object_mut(), field) {
            object.insert(name.to_owned(), field);
        }
    };
    add("ExposedPorts", names(exposed(container, image)));
    add("StopTimeout", config.stop_grace.map(|grace| json!(grace.as_secs())));
    let signal = of_image.map(|image| image.stop_signal.as_str()).filter(|signal| !signal.is_empty());
    add("StopSignal", signal.map(|signal| json!(signal)));
    value
}

/// What was merged when the container was made, taken apart again.
fn entrypoint_and_command<'c>(
    container: &'c Container,
    image: Option<&'c Image>,
) -> (Option<&'c [String]>, &'c [String]) {
    let own = container.config.entrypoint.as_slice();
    let of_image = image.map(|image| image.config.entrypoint.as_slice()).unwrap_or_default();
    let entrypoint = if own.is_empty() { of_image } else { own };
    match container.command.strip_prefix(entrypoint) {
        Some(command) if !entrypoint.is_empty() => (Some(entrypoint), command),
        _ => (None, &container.command),
    }
}

/// Docker writes a set as an object of empty objects.
fn set(names: Vec<String>) -> Value {
    Value::Object(names.into_iter().map(|name| (name, json!({}))).collect())
}

/// What the image says it serves, and what is published.
fn exposed(container: &Container, image: Option<&Image>) -> Vec<String> {
    let mut ports = image.map(|image| image.config.exposed_ports.clone()).unwrap_or_default();
    ports.extend(container.config.ports.iter().map(target));
    ports
}

fn network_settings(engine: &Engine, container: &Container, image: Option<&Image>) -> Value {
    let mut ports = bindings(open_ports(container));
    if container.state.is_alive() {
        for name in exposed(container, image) {
            ports.entry(name).or_insert(Value::Null);
        }
    }
    let netns = container.address.map(|address| engine.network().endpoint(&container.id, address).netns);
    let mut value = json!({
        "Bridge": "",
        "HairpinMode": false,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": null,
        "SecondaryIPv6Addresses": null,
        "SandboxID": if netns.is_some() { container.id.as_str() } else { "" },
        "SandboxKey": netns.unwrap_or_default(),
        "Ports": ports,
        "Networks": networks(engine, container),
    });
    // What older clients read: the same for the one network there is.
    if let Some(object) = value.as_object_mut() {
        let legacy = ["EndpointID", "Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPAddress"];
        let legacy = legacy.into_iter().chain(["IPPrefixLen", "IPv6Gateway", "MacAddress"]);
        let mut endpoint = endpoint(engine, container);
        object.extend(legacy.filter_map(|name| endpoint.remove_entry(name)));
    }
    value
}
