//! Reading the State: by id, by name, by relation, and by what was touched since a version.

use std::sync::Arc;

use crate::{
    check::{self, Violation},
    ids::{NodeId, ServiceId, TaskId},
    object::{Cluster, Node, NodeStatus, Service, Task, Token},
    spec::Protocol,
    state::{State, Usage},
};

impl State {
    /// Grows with every command that changed something.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Seal of the last plan that was carried out; 0 before the first.
    #[must_use]
    pub fn plan_seal(&self) -> u64 {
        self.plan_seal
    }

    /// The cluster, once it is made.
    #[must_use]
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_deref()
    }

    /// A join token by the hash of its secret, expired or not.
    #[must_use]
    pub fn token(&self, hash: &str) -> Option<&Arc<Token>> {
        self.tokens.get(hash)
    }

    /// A node by id.
    #[must_use]
    pub fn node(&self, id: &NodeId) -> Option<&Arc<Node>> {
        self.nodes.get(id)
    }

    /// A node by its unique name.
    #[must_use]
    pub fn node_by_name(&self, name: &str) -> Option<&Arc<Node>> {
        self.index.node_names.get(name).and_then(|id| self.nodes.get(id))
    }

    /// All nodes, by id.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// A service by id.
    #[must_use]
    pub fn service(&self, id: &ServiceId) -> Option<&Arc<Service>> {
        self.services.get(id)
    }

    /// A service by its unique name.
    #[must_use]
    pub fn service_by_name(&self, name: &str) -> Option<&Arc<Service>> {
        self.index.service_names.get(name).and_then(|id| self.services.get(id))
    }

    /// All services, by id.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// Who publishes a port.
    #[must_use]
    pub fn service_by_port(&self, protocol: Protocol, port: u16) -> Option<&Arc<Service>> {
        self.index.ports.get(&(protocol, port)).and_then(|id| self.services.get(id))
    }

    /// A task by id.
    #[must_use]
    pub fn task(&self, id: &TaskId) -> Option<&Arc<Task>> {
        self.tasks.get(id)
    }

    /// All tasks, by id.
    pub fn tasks(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks.values()
    }

    /// The tasks of a service, history included, by slot; also after the service was removed.
    pub fn tasks_of_service(&self, id: &ServiceId) -> impl Iterator<Item = &Arc<Task>> + use<'_> {
        let range = (*id, 0, TaskId::MIN)..=(*id, u32::MAX, TaskId::MAX);
        self.index.service_tasks.range(range).filter_map(|(_, _, task)| self.tasks.get(task))
    }

    /// The tasks in one slot of a service, history included.
    pub fn tasks_in_slot(&self, id: &ServiceId, slot: u32) -> impl Iterator<Item = &Arc<Task>> + use<'_> {
        let range = (*id, slot, TaskId::MIN)..=(*id, slot, TaskId::MAX);
        self.index.service_tasks.range(range).filter_map(|(_, _, task)| self.tasks.get(task))
    }

    /// The tasks placed on a node, finished ones included.
    pub fn tasks_on_node(&self, id: &NodeId) -> impl Iterator<Item = &Arc<Task>> + use<'_> {
        let range = (*id, TaskId::MIN)..=(*id, TaskId::MAX);
        self.index.node_tasks.range(range).filter_map(|(_, task)| self.tasks.get(task))
    }

    /// Whether a task was placed on a node that is down or gone, so that nothing more is heard of it.
    #[must_use]
    pub fn is_lost(&self, task: &Task) -> bool {
        task.node.is_some_and(|id| self.node(&id).is_none_or(|node| node.status == NodeStatus::Down))
    }

    /// The tasks that wait for a node, by service and slot.
    pub fn unplaced_tasks(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.index.unplaced.iter().filter_map(|(_, _, task)| self.tasks.get(task))
    }

    /// What the unfinished tasks on a node hold.
    #[must_use]
    pub fn usage(&self, id: &NodeId) -> Usage {
        self.index.usage.get(id).copied().unwrap_or_default()
    }

    /// Services of which something (the service or a task of it) was written after `version`.
    pub fn services_touched_since(&self, version: u64) -> impl Iterator<Item = ServiceId> + use<'_> {
        self.index.services.since(version)
    }

    /// Nodes of which something (the node or a task on it) was written after `version`.
    pub fn nodes_touched_since(&self, version: u64) -> impl Iterator<Item = NodeId> + use<'_> {
        self.index.nodes.since(version)
    }

    /// The version of the last write to a service or a task of it; `None` when both are gone.
    #[must_use]
    pub fn service_touched(&self, id: &ServiceId) -> Option<u64> {
        self.index.services.at(id)
    }

    /// The version of the last write to a node or a task on it.
    #[must_use]
    pub fn node_touched(&self, id: &NodeId) -> Option<u64> {
        self.index.nodes.at(id)
    }

    /// The version of the last write that may let a waiting task be placed.
    #[must_use]
    pub fn placement_version(&self) -> u64 {
        self.index.placement
    }

    /// Every broken invariant; empty unless there is a bug.
    #[must_use]
    pub fn check(&self) -> Vec<Violation> {
        check::check(self)
    }
}
