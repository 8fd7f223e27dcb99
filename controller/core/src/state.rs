//! The State of a cluster: ordered tables with structural sharing, and the indexes kept beside them.
//!
//! A clone costs a few pointers, so every reader, the scheduler and a snapshot hold a consistent version of it.
//! The tables are written by [`crate::apply()`] only. Indexes are derived: they are not dumped, and
//! [`State::check`] compares them with the tables.

mod dump;
mod index;
mod query;
mod verify;

use std::{fmt, sync::Arc};

use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};

pub use self::index::Usage;
pub(crate) use self::index::{Index, ports_held};
use crate::{
    ids::{NodeId, ServiceId, TaskId},
    object::{Cluster, Node, Service, Task, Token},
};

pub(crate) type Table<K, V> = RedBlackTreeMapSync<K, Arc<V>>;

/// Everything the controllers agree on.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(into = "dump::Dump", try_from = "dump::Dump")]
pub struct State {
    pub(crate) version: u64,
    pub(crate) plan_seal: u64,
    pub(crate) cluster: Option<Arc<Cluster>>,
    pub(crate) tokens: Table<String, Token>,
    pub(crate) nodes: Table<NodeId, Node>,
    pub(crate) services: Table<ServiceId, Service>,
    pub(crate) tasks: Table<TaskId, Task>,
    pub(crate) index: Index,
}

impl State {
    /// A State before its first command.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a write: what is put from here on belongs to the next version.
    pub(crate) fn begin(&mut self) {
        self.version += 1;
    }

    pub(crate) fn put_node(&mut self, mut node: Node) {
        node.version += 1;
        self.index.node_changed(self.nodes.get(&node.id).map(Arc::as_ref), &node, self.version);
        self.nodes.insert_mut(node.id, Arc::new(node));
    }

    pub(crate) fn put_service(&mut self, mut service: Service) {
        service.version += 1;
        if let Some(old) = self.services.get(&service.id) {
            self.index.service_removed(old);
        }
        self.index.service_added(&service, self.version);
        self.services.insert_mut(service.id, Arc::new(service));
    }

    pub(crate) fn remove_service(&mut self, id: &ServiceId) {
        if let Some(old) = self.services.get(id) {
            self.index.service_removed(old);
            self.index.touch_service(*id, self.version);
            self.services.remove_mut(id);
        }
    }

    pub(crate) fn put_task(&mut self, mut task: Task) {
        task.version += 1;
        self.index.task_changed(self.tasks.get(&task.id).map(Arc::as_ref), Some(&task), self.version);
        self.tasks.insert_mut(task.id, Arc::new(task));
    }

    pub(crate) fn remove_task(&mut self, id: &TaskId) {
        if let Some(old) = self.tasks.get(id).cloned() {
            self.index.task_changed(Some(&old), None, self.version);
            self.tasks.remove_mut(id);
            if !self.services.contains_key(&old.service)
                && self.tasks_of_service(&old.service).next().is_none()
            {
                self.index.forget_service(&old.service);
            }
        }
    }
}

/// Equal when everything that is dumped is equal.
impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        dump::Dump::from(self.clone()) == dump::Dump::from(other.clone())
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("version", &self.version)
            .field("nodes", &self.nodes.size())
            .field("services", &self.services.size())
            .field("tasks", &self.tasks.size())
            .finish_non_exhaustive()
    }
}
