//! Containers that are among the processes of another one, or share its System V objects and `/dev/shm`: which may
//! (`resolve_sharing`, when one is made), and what a start is given of the other (`open_shared`).
//!
//! Rights over processes and objects are rights of users, so whoever joins them has the other's users and ids too, or, as
//! was asked for, the host's. The other one must run. When it ends, the kernel ends whoever is among its processes.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use agent_runtime::container::{ContainerSpec, DESCRIPTOR};
use agent_runtime::detached;
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType as Type};

use super::isolation::IpcMode;
use super::record::{Entry, Record};
use super::{ContainerConfig, identity};
use crate::EngineError;
use crate::engine::Inner;

/// Where processes share memory by name.
const SHM: &str = "/dev/shm";

/// What a start has open of other containers; until the keeper has it too.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    namespaces: Vec<File>,
}

/// The range of ids of the containers that `record` joins; `None` when it has one of its own or the host's.
pub(crate) fn range(
    entries: &BTreeMap<String, Arc<Entry>>,
    record: &Record,
) -> Result<Option<u32>, EngineError> {
    let isolation = &record.config.isolation;
    if !isolation.own_users() {
        return Ok(None);
    }
    let mut shared = None;
    for other in isolation.namespaces.shares_with() {
        let found = identity::resolve(entries, other)?;
        let range = found.live().record.range;
        if shared.is_some_and(|known| known != range) {
            let rule = "processes and objects are of containers with different users; join those of one";
            return Err(EngineError::invalid("ipc", rule));
        }
        shared = Some(range);
    }
    Ok(shared)
}

impl Inner {
    /// Replaces names by ids, and refuses what may not be joined.
    pub(crate) fn resolve_sharing(&self, config: &mut ContainerConfig) -> Result<(), EngineError> {
        let own_users = config.isolation.own_users();
        let modes = &mut config.isolation.namespaces;
        if let Some(other) = &mut modes.pid_of {
            *other = self.joinable("pid", other, own_users)?.id.clone();
        }
        if let IpcMode::Container(other) = &mut modes.ipc {
            let found = self.joinable("ipc", other, own_users)?;
            let (ipc, name) = {
                let live = found.live();
                (live.record.config.isolation.namespaces.ipc.clone(), live.record.name.clone())
            };
            let rule = match ipc {
                IpcMode::Shareable => {
                    other.clone_from(&found.id);
                    return Ok(());
                }
                IpcMode::Host => format!("{name} has the host's objects; take --ipc host"),
                IpcMode::Container(_) => format!("{name} has those of another container; join that one"),
                IpcMode::Private | IpcMode::None => {
                    format!("those of {name} are its own; make it with --ipc shareable")
                }
            };
            return Err(EngineError::invalid("ipc", rule));
        }
        Ok(())
    }

    fn joinable(&self, field: &'static str, other: &str, own_users: bool) -> Result<Arc<Entry>, EngineError> {
        let found = identity::resolve(&self.entries(), other)?;
        let (name, its_own) = {
            let live = found.live();
            (live.record.name.clone(), live.record.config.isolation.own_users())
        };
        if own_users && !its_own {
            let rule =
                format!("{name} has the host's users, and who joins it has them too; add --userns host");
            return Err(EngineError::invalid(field, rule));
        }
        Ok(found)
    }

    /// Says in the specification of a container about to start what it joins, and adds the mount of a shared
    /// `/dev/shm` to those that are `opened`.
    pub(crate) async fn open_shared(
        &self,
        record: &Record,
        spec: &mut ContainerSpec,
        opened: &mut Vec<OwnedFd>,
    ) -> Result<Shared, EngineError> {
        let isolation = &record.config.isolation;
        let mut shared = Shared::default();
        let of_users: &[(Type, &str)] = if isolation.own_users() { &[(Type::User, "user")] } else { &[] };
        if let Some(other) = &isolation.namespaces.pid_of {
            self.join(other, &[&[(Type::Pid, "pid")][..], of_users].concat(), spec, &mut shared)?;
        }
        if let IpcMode::Container(other) = &isolation.namespaces.ipc {
            let process =
                self.join(other, &[&[(Type::Ipc, "ipc")][..], of_users].concat(), spec, &mut shared)?;
            if !record.config.mounts.iter().any(|mount| mount.target == SHM) {
                opened.push(process.shared_memory().await?);
                process.check(self)?;
                set_shared_memory(spec, opened.len() - 1);
            }
        }
        Ok(shared)
    }

    fn join(
        &self,
        other: &str,
        kinds: &[(Type, &str)],
        spec: &mut ContainerSpec,
        shared: &mut Shared,
    ) -> Result<Process, EngineError> {
        let process = self.process_of(other)?;
        for (kind, name) in kinds {
            let namespace = process.open(name)?;
            set_path(spec, *kind, &namespace);
            shared.namespaces.push(namespace);
        }
        process.check(self)?;
        Ok(process)
    }

    fn process_of(&self, other: &str) -> Result<Process, EngineError> {
        let entry = identity::resolve(&self.entries(), other)?;
        let (is_alive, pid) = (entry.state().is_alive(), entry.live().pid);
        match pid {
            Some(pid) if is_alive => Ok(Process { entry, pid }),
            _ => Err(self.wrong_state(&entry, "another container is to join it: start it first")),
        }
    }
}

/// The first process of a container that is joined.
struct Process {
    entry: Arc<Entry>,
    pid: i32,
}

impl Process {
    fn open(&self, namespace: &str) -> Result<File, EngineError> {
        let path = format!("/proc/{}/ns/{namespace}", self.pid);
        File::open(&path).map_err(|error| EngineError::file("open", path, error))
    }

    /// Refuses what was opened if the process has ended meanwhile: its number may be another's.
    fn check(&self, inner: &Inner) -> Result<(), EngineError> {
        let cgroup = std::fs::read_to_string(format!("/proc/{}/cgroup", self.pid)).unwrap_or_default();
        match cgroup.contains(&self.entry.id) {
            true => Ok(()),
            false => Err(inner.wrong_state(&self.entry, "it has ended just now; start it first")),
        }
    }

    /// A mount of its `/dev/shm`.
    async fn shared_memory(&self) -> Result<OwnedFd, EngineError> {
        let namespace = self.open("mnt")?;
        let failed = |error| EngineError::file("share", SHM, error);
        let (answer, answered) = tokio::sync::oneshot::channel();
        // A thread of its own: it goes to the other container's mounts and does not come back.
        std::thread::Builder::new()
            .name("shared-memory".to_owned())
            .spawn(move || drop(answer.send(detached::memory_of(namespace.as_fd(), SHM))))
            .map_err(failed)?;
        answered.await.map_err(|_| EngineError::Closed)?.map_err(failed)
    }
}

/// The path leads through this process's descriptor: a number of a process can be another's by the time it is used.
fn set_path(spec: &mut ContainerSpec, kind: Type, namespace: &File) {
    let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd()));
    let Some(linux) = spec.oci.linux_mut() else { return };
    let mut listed = linux.namespaces().clone().unwrap_or_default();
    listed.retain(|namespace| namespace.typ() != kind);
    let mut joined = LinuxNamespace::default();
    joined.set_typ(kind).set_path(Some(path));
    listed.push(joined);
    linux.set_namespaces(Some(listed));
}

fn set_shared_memory(spec: &mut ContainerSpec, descriptor: usize) {
    let options = ["rbind", "rprivate", "nosuid", "nodev", "noexec"].map(str::to_owned).to_vec();
    let mounts = spec.oci.mounts_mut().iter_mut().flatten();
    for mount in mounts.filter(|mount| mount.destination().as_os_str() == SHM) {
        mount.set_typ(Some(DESCRIPTOR.to_owned()));
        mount.set_source(Some(PathBuf::from(descriptor.to_string())));
        mount.set_options(Some(options.clone()));
    }
}
