//! The State as plain lists, for snapshots. Each revision of a service is written once, however many tasks
//! carry it, and is shared again after reading.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    ids::{ServiceId, TaskId},
    object::{Cluster, Node, Service, Task, TaskSpec, Token},
    state::State,
};

/// A dump that contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DumpError {
    /// The revision of a task is missing.
    #[error("task {task} is of revision {spec_version} of service {service}, which the dump does not hold")]
    NoRevision {
        /// The task.
        task: TaskId,
        /// Its service.
        service: ServiceId,
        /// The revision.
        spec_version: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SharedRevision {
    service: ServiceId,
    spec_version: u64,
    template: Arc<TaskSpec>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Dump {
    version: u64,
    plan_seal: u64,
    cluster: Option<Arc<Cluster>>,
    tokens: Vec<Arc<Token>>,
    nodes: Vec<Arc<Node>>,
    services: Vec<Arc<Service>>,
    revisions: Vec<SharedRevision>,
    tasks: Vec<Arc<Task>>,
}

impl From<State> for Dump {
    fn from(state: State) -> Self {
        let mut revisions = BTreeMap::new();
        for task in state.tasks.values() {
            revisions.entry((task.service, task.spec_version)).or_insert_with(|| Arc::clone(&task.spec));
        }
        let revision =
            |((service, spec_version), template)| SharedRevision { service, spec_version, template };
        Self {
            version: state.version,
            plan_seal: state.plan_seal,
            cluster: state.cluster,
            tokens: state.tokens.values().cloned().collect(),
            nodes: state.nodes.values().cloned().collect(),
            services: state.services.values().cloned().collect(),
            revisions: revisions.into_iter().map(revision).collect(),
            tasks: state.tasks.values().cloned().collect(),
        }
    }
}

impl TryFrom<Dump> for State {
    type Error = DumpError;

    fn try_from(dump: Dump) -> Result<Self, DumpError> {
        let mut state = Self {
            version: dump.version,
            plan_seal: dump.plan_seal,
            cluster: dump.cluster,
            ..Self::default()
        };
        let mut revisions: BTreeMap<(ServiceId, u64), Arc<TaskSpec>> = BTreeMap::new();
        for revision in dump.revisions {
            revisions.insert((revision.service, revision.spec_version), revision.template);
        }
        for token in dump.tokens {
            state.tokens.insert_mut(token.hash.clone(), token);
        }
        for node in dump.nodes {
            state.index.node_changed(None, &node, dump.version);
            state.nodes.insert_mut(node.id, node);
        }
        for mut service in dump.services {
            if let Some(template) = revisions.get(&(service.id, service.spec_version)) {
                Arc::make_mut(&mut service).template = Arc::clone(template);
            }
            state.index.service_added(&service, dump.version);
            state.services.insert_mut(service.id, service);
        }
        for mut task in dump.tasks {
            let Some(template) = revisions.get(&(task.service, task.spec_version)) else {
                let (service, spec_version) = (task.service, task.spec_version);
                return Err(DumpError::NoRevision { task: task.id, service, spec_version });
            };
            Arc::make_mut(&mut task).spec = Arc::clone(template);
            state.index.task_changed(None, Some(&task), dump.version);
            state.tasks.insert_mut(task.id, task);
        }
        Ok(state)
    }
}
