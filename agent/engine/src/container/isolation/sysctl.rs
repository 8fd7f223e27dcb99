//! Kernel settings of the namespaces that a container has for itself.

use std::collections::{BTreeMap, HashMap};

use oci_spec::runtime::Spec;

use super::bounded;
use super::namespaces::{IpcMode, NamespaceModes, NetworkMode};
use crate::EngineError;

/// The namespace a setting belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Network,
    Ipc,
    Uts,
}

fn owner(name: &str) -> Option<Owner> {
    const IPC: [&str; 8] =
        ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];
    match name.split_once('.')? {
        ("net", _) => Some(Owner::Network),
        ("kernel", "domainname") => Some(Owner::Uts),
        ("kernel", key) if IPC.contains(&key) => Some(Owner::Ipc),
        ("fs", key) if key.starts_with("mqueue.") => Some(Owner::Ipc),
        _ => None,
    }
}

pub(super) fn check(sysctls: &BTreeMap<String, String>, modes: &NamespaceModes) -> Result<(), EngineError> {
    bounded("sysctl", sysctls.len())?;
    let refuse = |rule: String| Err(EngineError::invalid("sysctl", rule));
    for (name, value) in sysctls {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !name.chars().all(good)
            || name.contains("..")
            || value.contains(['\0', '\n'])
            || value.len() > 4096
        {
            return refuse(format!("{name:?} is not a setting with a dotted name and a value of one line"));
        }
        let own = match owner(name) {
            None => return refuse(format!("{name} belongs to the whole host, not to a container")),
            Some(Owner::Network) => matches!(modes.network, NetworkMode::Bridge | NetworkMode::None),
            Some(Owner::Ipc) => matches!(modes.ipc, IpcMode::Private | IpcMode::None | IpcMode::Shareable),
            Some(Owner::Uts) => !modes.uts_host,
        };
        if !own {
            return refuse(format!("{name} belongs to a namespace that this container shares"));
        }
    }
    Ok(())
}

/// Adds them; the defaults for networks only stay where the network is the container's own.
pub(super) fn apply(sysctls: &BTreeMap<String, String>, modes: &NamespaceModes, oci: &mut Spec) {
    let Some(linux) = oci.linux_mut() else { return };
    let mut all: HashMap<String, String> = linux.sysctl().clone().unwrap_or_default();
    if !matches!(modes.network, NetworkMode::Bridge | NetworkMode::None) {
        all.retain(|name, _| !name.starts_with("net."));
    }
    all.extend(sysctls.iter().map(|(name, value)| (name.clone(), value.clone())));
    linux.set_sysctl(Some(all));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(name: &str, modes: &NamespaceModes) -> bool {
        check(&BTreeMap::from([(name.to_owned(), "1".to_owned())]), modes).is_ok()
    }

    #[test]
    fn only_settings_of_own_namespaces_are_taken() {
        let own = NamespaceModes::default();
        for good in ["net.ipv4.ip_forward", "kernel.shmmax", "fs.mqueue.msg_max", "kernel.domainname"] {
            assert!(check_one(good, &own), "{good}");
        }
        for bad in ["kernel.core_pattern", "vm.swappiness", "fs.file-max", "net..x", "net/ipv4", "", "kernel"]
        {
            assert!(!check_one(bad, &own), "{bad}");
        }
        let shared = NamespaceModes {
            network: NetworkMode::Host,
            ipc: IpcMode::Host,
            uts_host: true,
            ..NamespaceModes::default()
        };
        for name in ["net.ipv4.ip_forward", "kernel.shmmax", "kernel.domainname"] {
            assert!(!check_one(name, &shared), "{name}");
        }
    }

    #[test]
    fn a_shared_network_is_not_set_up() {
        let mut oci = agent_runtime::defaults::spec(None);
        let modes = NamespaceModes { network: NetworkMode::Host, ..NamespaceModes::default() };
        apply(&BTreeMap::new(), &modes, &mut oci);
        let left = oci.linux().as_ref().and_then(|linux| linux.sysctl().clone()).unwrap_or_default();
        assert!(left.is_empty(), "{left:?}");
    }
}
