//! What a container shares with the host or with another container.

use std::path::Path;

use agent_runtime::cgroup::Layout;
use oci_spec::runtime::{LinuxNamespaceType, MountBuilder, Spec};
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::container::ContainerConfig;

/// One choice per namespace; `Default` shares nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NamespaceModes {
    /// Interfaces, addresses and ports.
    pub network: NetworkMode,
    /// Sees and counts the host's processes.
    pub pid_host: bool,
    /// Is among the processes of another container: id, unique beginning of it, or name; the id once it is made.
    pub pid_of: Option<String>,
    /// System V objects, message queues and `/dev/shm`.
    pub ipc: IpcMode,
    /// Has the host's name.
    pub uts_host: bool,
    /// Sees where it is in the host's cgroups.
    pub cgroup_host: bool,
    /// `Some(true)`: its users are the host's. `None`: unless privileged, they are its own.
    pub user_host: Option<bool>,
}

/// Whose network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// Its own, on the host's bridge.
    #[default]
    Bridge,
    /// Its own, with nothing but a loopback interface.
    None,
    /// The host's.
    Host,
    /// That of another container: id, unique beginning of it, or name; the id once it is made.
    Container(String),
}

/// Whose objects between processes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpcMode {
    /// Its own.
    #[default]
    Private,
    /// Its own, without `/dev/shm`.
    None,
    /// Its own, and other containers may join it.
    Shareable,
    /// The host's.
    Host,
    /// That of another container, which is shareable: as [`NetworkMode::Container`].
    Container(String),
}

impl NamespaceModes {
    /// Whether the container has users of its own: a user namespace.
    pub(crate) fn own_users(&self, privileged: bool) -> bool {
        !self.user_host.unwrap_or(privileged)
    }

    /// The containers whose users it has too, because it joins their processes or objects.
    pub(crate) fn shares_with(&self) -> impl Iterator<Item = &String> {
        let objects = match &self.ipc {
            IpcMode::Container(other) => Some(other),
            _ => None,
        };
        self.pid_of.iter().chain(objects)
    }

    pub(super) fn check(&self, config: &ContainerConfig) -> Result<(), EngineError> {
        let privileged = config.isolation.confinement.privileged;
        if privileged && self.user_host == Some(false) {
            let rule = "a privileged container has the host's users, or devices and mounts would refuse it";
            return Err(EngineError::invalid("userns", rule));
        }
        let isolation = &config.isolation;
        let chosen = isolation.publish_all || !isolation.publish_free.is_empty();
        if self.network != NetworkMode::Bridge && (!config.ports.is_empty() || chosen) {
            let rule = "only a container with a network of its own on the bridge can publish ports";
            return Err(EngineError::invalid("publish", rule));
        }
        if self.network != NetworkMode::Bridge && config.task.is_some() {
            return Err(EngineError::invalid("network", "a service's task has a network of its own"));
        }
        if self.pid_host && self.pid_of.is_some() {
            return Err(EngineError::invalid("pid", "it is the host's or another container's, not both"));
        }
        if self.shares_with().next().is_some() && config.task.is_some() {
            return Err(EngineError::invalid("pid", "a service's task has processes and objects of its own"));
        }
        if self.uts_host && !(config.hostname.is_empty() && config.isolation.names.domainname.is_empty()) {
            return Err(EngineError::invalid(
                "hostname",
                "it would rename the host, whose name --uts host shares",
            ));
        }
        if self.ipc != IpcMode::Private
            && self.ipc != IpcMode::Shareable
            && config.isolation.resources.shm_bytes.is_some()
        {
            return Err(EngineError::invalid(
                "shm-size",
                "with --ipc none, host or container:NAME there is no /dev/shm of its own",
            ));
        }
        if self.cgroup_host
            && self.own_users(privileged)
            && Layout::detect().is_ok_and(|layout| !layout.is_v1())
        {
            let rule = "on cgroup version 2 only the host's users may see its cgroups; add --userns host";
            return Err(EngineError::invalid("cgroupns", rule));
        }
        Ok(())
    }

    /// What is shared and reaches less far than one may think.
    pub(super) fn warnings(&self, own_users: bool) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.network == NetworkMode::Host && own_users {
            warnings.push(
                "from the container's own user namespace, ports below 1024 of the host's network cannot be opened; \
                 add --userns host if the program needs that"
                    .to_owned(),
            );
        }
        warnings
    }

    pub(super) fn apply(&self, oci: &mut Spec) -> Result<(), EngineError> {
        use LinuxNamespaceType as Kind;
        let own_network = matches!(self.network, NetworkMode::Bridge | NetworkMode::None);
        let shared = [
            (Kind::Network, !own_network),
            (Kind::Pid, self.pid_host),
            (Kind::Ipc, self.ipc == IpcMode::Host),
            (Kind::Uts, self.uts_host),
            (Kind::Cgroup, self.cgroup_host),
        ];
        if let Some(namespaces) = oci.linux_mut().as_mut().and_then(|linux| linux.namespaces_mut().as_mut()) {
            namespaces.retain(|namespace| !shared.contains(&(namespace.typ(), true)));
        }
        if self.uts_host {
            oci.set_hostname(None);
        }
        let shm = Path::new("/dev/shm");
        if let Some(mounts) = oci.mounts_mut()
            && matches!(self.ipc, IpcMode::None | IpcMode::Host)
        {
            mounts.retain(|mount| mount.destination() != shm);
            if self.ipc == IpcMode::Host {
                let options = ["rbind", "rprivate", "nosuid", "noexec", "nodev"].map(str::to_owned);
                let mount = MountBuilder::default()
                    .destination(shm)
                    .typ("bind")
                    .source(shm)
                    .options(options.to_vec());
                mounts.push(mount.build().map_err(|error| EngineError::invalid("ipc", error.to_string()))?);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::{PortMapping, Protocol};

    fn refused(change: impl FnOnce(&mut ContainerConfig)) -> String {
        let mut config = ContainerConfig::default();
        change(&mut config);
        config.isolation.clone().check(&config).expect_err("a refusal").to_string()
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let said = refused(|config| {
            config.isolation.confinement.privileged = true;
            config.isolation.namespaces.user_host = Some(false);
        });
        assert!(said.contains("userns"), "{said}");
        let said = refused(|config| {
            config.isolation.namespaces.network = NetworkMode::Host;
            config.ports = vec![PortMapping { protocol: Protocol::Tcp, published: 80, target: 80 }];
        });
        assert!(said.contains("publish"), "{said}");
        let said = refused(|config| {
            config.isolation.namespaces.uts_host = true;
            config.hostname = "other".into();
        });
        assert!(said.contains("hostname"), "{said}");
    }

    #[test]
    fn what_is_shared_is_not_made() {
        use LinuxNamespaceType as Kind;
        let mut oci = agent_runtime::defaults::spec(None);
        let modes = NamespaceModes {
            network: NetworkMode::Host,
            pid_host: true,
            pid_of: None,
            ipc: IpcMode::Host,
            uts_host: true,
            cgroup_host: true,
            user_host: Some(true),
        };
        modes.apply(&mut oci).expect("applied");
        let namespaces =
            oci.linux().as_ref().and_then(|linux| linux.namespaces().clone()).unwrap_or_default();
        assert_eq!(namespaces.iter().map(|namespace| namespace.typ()).collect::<Vec<_>>(), [Kind::Mount]);
    }

    #[test]
    fn a_privileged_container_has_the_hosts_users_and_others_their_own() {
        let modes = NamespaceModes::default();
        assert!(modes.own_users(false) && !modes.own_users(true));
        assert!(!NamespaceModes { user_host: Some(true), ..modes }.own_users(false));
    }
}
