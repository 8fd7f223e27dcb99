//! What a container was allowed on its host. Much of it cannot be asked for yet
//! and has the value it has in Docker when it was not.

use agent_engine::container::restart::RestartPolicy;
use agent_engine::{Container, Engine};
use serde_json::{Map, Value, json};

use super::bindings;
use crate::system::RUNTIME;

/// The limit on processes of a container that asks for none.
const PIDS: u64 = 1024;
/// The size of every container's `/dev/shm`, in bytes.
const SHM_SIZE: u64 = 64 << 20;

/// The part of `inspect` with this name.
pub(super) fn host_config(engine: &Engine, container: &Container) -> Value {
    let parts = [unset(container), unlimited(), confinement(container), limits(engine, container)];
    let fields = parts.into_iter().filter_map(|part| match part {
        Value::Object(fields) => Some(fields),
        _ => None,
    });
    Value::Object(fields.flatten().collect::<Map<_, _>>())
}

fn unset(container: &Container) -> Value {
    json!({
        "Binds": null,
        "Cgroup": "",
        "ConsoleSize": [0, 0],
        "ContainerIDFile": "",
        "Dns": [],
        "DnsOptions": [],
        "DnsSearch": [],
        "ExtraHosts": null,
        "GroupAdd": null,
        "Isolation": "",
        "Links": null,
        "OomScoreAdj": 0,
        "PublishAllPorts": false,
        "RestartPolicy": restart_policy(container.config.restart),
        "VolumeDriver": "",
        "VolumesFrom": null,
    })
}

fn unlimited() -> Value {
    json!({
        "BlkioDeviceReadBps": [],
        "BlkioDeviceReadIOps": [],
        "BlkioDeviceWriteBps": [],
        "BlkioDeviceWriteIOps": [],
        "BlkioWeight": 0,
        "BlkioWeightDevice": [],
        "CpuCount": 0,
        "CpuPercent": 0,
        "CpuPeriod": 0,
        "CpuQuota": 0,
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpuShares": 0,
        "CpusetCpus": "",
        "CpusetMems": "",
        "DeviceCgroupRules": null,
        "DeviceRequests": null,
        "Devices": [],
        "IOMaximumBandwidth": 0,
        "IOMaximumIOps": 0,
        "MemoryReservation": 0,
        "MemorySwappiness": null,
        "OomKillDisable": false,
        "Ulimits": [],
    })
}

fn confinement(container: &Container) -> Value {
    let log = container.config.log.clone().unwrap_or_default();
    json!({
        "AutoRemove": container.config.auto_remove,
        "CapAdd": null,
        "CapDrop": null,
        "CgroupnsMode": "private",
        "IpcMode": "private",
        "LogConfig": {
            "Type": log.driver.to_string(),
            "Config": log.options,
        },
        "NetworkMode": "bridge",
        "PidMode": "",
        "PortBindings": bindings(&container.config.ports),
        "Privileged": false,
        "ReadonlyRootfs": false,
        "Runtime": RUNTIME,
        "SecurityOpt": ["no-new-privileges"],
        "ShmSize": SHM_SIZE,
        "UTSMode": "",
        "UsernsMode": "",
    })
}

fn limits(engine: &Engine, container: &Container) -> Value {
    let limits = &container.config.limits;
    let memory = limits.memory_bytes.unwrap_or(0);
    json!({
        "CgroupParent": engine.config().cgroup("").trim_end_matches('/'),
        "Memory": memory,
        // Memory and swap together: none but the memory.
        "MemorySwap": memory,
        "NanoCpus": limits.nano_cpus.unwrap_or(0),
        "PidsLimit": limits.pids.unwrap_or(PIDS),
    })
}

fn restart_policy(policy: RestartPolicy) -> Value {
    let (name, most) = match policy {
        RestartPolicy::No => ("no", 0),
        RestartPolicy::OnFailure { max } => ("on-failure", max.map_or(0, std::num::NonZeroU32::get)),
        RestartPolicy::Always => ("always", 0),
        RestartPolicy::UnlessStopped => ("unless-stopped", 0),
    };
    json!({ "Name": name, "MaximumRetryCount": most })
}
