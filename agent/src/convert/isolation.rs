//! The wire's isolation turned into the engine's. Only form is judged here; the engine judges values.

use std::net::IpAddr;
use std::time::Duration;

use agent_engine::isolation::{
    Confinement, Device, DeviceValue, Devices, IpcMode, Isolation, Names, NamespaceModes, NetworkMode,
    Resources, Seccomp, Ulimit,
};
use agent_engine::{ContainerConfig, Protocol};
use proto::v1;

use super::{Invalid, invalid};

/// Adds what `given` asks for to `config`.
///
/// # Errors
/// The field that breaks a rule.
pub fn add(config: &mut ContainerConfig, given: v1::Isolation) -> Result<(), Invalid> {
    if let Some(seconds) = given.stop_seconds {
        config.stop_grace = Some(Duration::from_secs(seconds.into()));
    }
    let split = |text: &String| match text.split_once(':') {
        Some((name, address)) => Ok((name.to_owned(), address.to_owned())),
        None => invalid("isolation.extra_hosts", format!("{text:?} is not NAME:ADDRESS")),
    };
    let server = |text: &String| match text.parse::<IpAddr>() {
        Ok(address) => Ok(address),
        Err(_) => invalid("isolation.dns", format!("{text:?} is not an address")),
    };
    *config.isolation = Isolation {
        groups: given.groups,
        names: Names {
            domainname: given.domainname,
            hosts: given.extra_hosts.iter().map(split).collect::<Result<_, _>>()?,
            dns: given.dns.iter().map(server).collect::<Result<_, _>>()?,
            dns_search: given.dns_search,
            dns_options: given.dns_options,
        },
        annotations: given.annotations.into_iter().collect(),
        stop_signal: given.stop_signal,
        init: given.init,
        expose: given.expose.iter().map(|text| exposed(text)).collect::<Result<_, _>>()?,
        publish_all: given.publish_all,
        publish_free: given.publish_free.iter().map(|text| exposed(text)).collect::<Result<_, _>>()?,
        resources: given.resources.map(resources).transpose()?.unwrap_or_default(),
        confinement: given.confinement.map(confinement).transpose()?.unwrap_or_default(),
        namespaces: given.namespaces.as_ref().map(namespaces).transpose()?.unwrap_or_default(),
        devices: given.devices.map(devices).transpose()?.unwrap_or_default(),
        sysctls: given.sysctls.into_iter().collect(),
    };
    Ok(())
}

fn confinement(given: v1::Confinement) -> Result<Confinement, Invalid> {
    let seccomp = match (given.seccomp_unconfined, given.seccomp_profile.is_empty()) {
        (false, true) => Seccomp::Default,
        (true, true) => Seccomp::Unconfined,
        (false, false) => Seccomp::Profile(given.seccomp_profile),
        (true, false) => return invalid("isolation.confinement.seccomp_profile", "it is also unconfined"),
    };
    Ok(Confinement {
        cap_add: given.cap_add,
        cap_drop: given.cap_drop,
        privileged: given.privileged,
        no_new_privileges: given.no_new_privileges,
        seccomp,
        system_paths_unconfined: given.system_paths_unconfined,
    })
}

fn namespaces(given: &v1::NamespaceModes) -> Result<NamespaceModes, Invalid> {
    let network = match given.network.as_str() {
        "" | "bridge" | "default" => NetworkMode::Bridge,
        "none" => NetworkMode::None,
        "host" => NetworkMode::Host,
        other => match other.strip_prefix("container:") {
            Some(name) if !name.is_empty() => NetworkMode::Container(name.to_owned()),
            _ => {
                let rule = format!(
                    "{other:?} is not one of bridge, none, host and container:NAME; there are no others yet"
                );
                return invalid("isolation.namespaces.network", rule);
            }
        },
    };
    let ipc = match given.ipc.as_str() {
        "" | "private" => IpcMode::Private,
        "none" => IpcMode::None,
        "shareable" => IpcMode::Shareable,
        "host" => IpcMode::Host,
        other => match joined(other) {
            Some(name) => IpcMode::Container(name),
            None => {
                let known = "private, none, shareable, host and container:NAME";
                return invalid("isolation.namespaces.ipc", refusal(other, known));
            }
        },
    };
    let pid_of = joined(&given.pid);
    let host = |field, text: &str, own: &str| match text {
        "" => Ok(false),
        "host" => Ok(true),
        text if text == own => Ok(false),
        other => invalid(field, refusal(other, "host and private")),
    };
    Ok(NamespaceModes {
        network,
        ipc,
        pid_host: match pid_of {
            Some(_) => false,
            None => host("isolation.namespaces.pid", &given.pid, "private")?,
        },
        pid_of,
        uts_host: host("isolation.namespaces.uts", &given.uts, "private")?,
        cgroup_host: host("isolation.namespaces.cgroup", &given.cgroup, "private")?,
        user_host: match given.user.as_str() {
            "" => None,
            text => Some(host("isolation.namespaces.user", text, "private")?),
        },
    })
}

/// The container that is to be joined.
fn joined(given: &str) -> Option<String> {
    given.strip_prefix("container:").filter(|name| !name.is_empty()).map(str::to_owned)
}

fn refusal(given: &str, known: &str) -> String {
    match given.starts_with("container:") {
        true => format!("{given:?}: another container's cannot be joined, only its network, pid and ipc"),
        false => format!("{given:?} is not one of {known}"),
    }
}

fn devices(given: v1::Devices) -> Result<Devices, Invalid> {
    let device =
        |device: v1::Device| Device { host: device.host, container: device.container, access: device.access };
    Ok(Devices {
        devices: given.devices.into_iter().map(device).collect(),
        rules: given.rules,
        names: given.names,
    })
}

fn exposed(text: &str) -> Result<(u16, Protocol), Invalid> {
    let (number, protocol) = match text.split_once('/') {
        None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), Protocol::Tcp),
        Some((number, "udp")) => (number, Protocol::Udp),
        Some((_, other)) => {
            return invalid("isolation.expose", format!("protocol {other:?} is neither tcp nor udp"));
        }
    };
    match number.parse::<u16>() {
        Ok(port) if port > 0 => Ok((port, protocol)),
        _ => invalid("isolation.expose", format!("{number:?} is not a port from 1 to 65535")),
    }
}

fn resources(given: v1::ResourceLimits) -> Result<Resources, Invalid> {
    let devices = |list: Vec<v1::DeviceValue>| {
        list.into_iter().map(|device| DeviceValue { path: device.path, value: device.value }).collect()
    };
    let weight = match given.blkio_weight.map(u16::try_from).transpose() {
        Ok(weight) => weight,
        Err(_) => return invalid("isolation.resources.blkio_weight", "must be from 10 to 1000"),
    };
    let ulimit = |limit: v1::Ulimit| Ulimit { name: limit.name, soft: limit.soft, hard: limit.hard };
    Ok(Resources {
        memory_swap: given.memory_swap_bytes,
        memory_reservation: given.memory_reservation_bytes,
        memory_swappiness: given.memory_swappiness,
        oom_kill_disable: given.oom_kill_disable,
        oom_score_adj: given.oom_score_adj,
        cpu_shares: given.cpu_shares,
        cpu_period: given.cpu_period_us,
        cpu_quota: given.cpu_quota_us,
        cpu_rt_runtime: given.cpu_rt_runtime_us,
        cpu_rt_period: given.cpu_rt_period_us,
        cpuset_cpus: given.cpuset_cpus,
        cpuset_mems: given.cpuset_mems,
        pids_unlimited: given.pids_unlimited,
        blkio_weight: weight,
        blkio_weight_device: devices(given.blkio_weight_device),
        device_read_bps: devices(given.device_read_bps),
        device_write_bps: devices(given.device_write_bps),
        device_read_iops: devices(given.device_read_iops),
        device_write_iops: devices(given.device_write_iops),
        ulimits: given.ulimits.into_iter().map(ulimit).collect(),
        shm_bytes: given.shm_bytes,
        cgroup_parent: (!given.cgroup_parent.is_empty()).then_some(given.cgroup_parent),
        root_bytes: given.root_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_is_judged_by_field() {
        let add = |given| add(&mut ContainerConfig::default(), given).unwrap_err().field;
        let d = v1::Isolation::default;
        assert_eq!(add(v1::Isolation { dns: vec!["x".into()], ..d() }), "isolation.dns");
        assert_eq!(add(v1::Isolation { extra_hosts: vec!["x".into()], ..d() }), "isolation.extra_hosts");
        assert_eq!(add(v1::Isolation { expose: vec!["80/sctp".into()], ..d() }), "isolation.expose");
    }

    #[test]
    fn an_address_of_version_6_keeps_its_colons() {
        let mut config = ContainerConfig::default();
        add(&mut config, v1::Isolation { extra_hosts: vec!["db:::1".into()], ..v1::Isolation::default() })
            .unwrap();
        assert_eq!(config.isolation.names.hosts, [("db".to_owned(), "::1".to_owned())]);
    }
}
