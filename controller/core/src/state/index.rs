//! The secondary indexes of the State: names, ports, relations, usage of nodes, and what was touched when.
//!
//! All of them are derived from the tables and can be rebuilt from them.

use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};

use crate::{
    ids::{NodeId, ServiceId, TaskId},
    object::{Node, Service, Task},
    resources::Resources,
    spec::Protocol,
};

/// What the unfinished tasks on a node hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Sum of their reservations.
    pub reserved: Resources,
    /// Their number.
    pub tasks: u32,
}

/// When each object was last touched, in both directions.
#[derive(Clone, Debug)]
pub(crate) struct Touches<K: Ord> {
    at: RedBlackTreeMapSync<K, u64>,
    order: RedBlackTreeSetSync<(u64, K)>,
}

impl<K: Ord> Default for Touches<K> {
    fn default() -> Self {
        Self { at: RedBlackTreeMapSync::new_sync(), order: RedBlackTreeSetSync::new_sync() }
    }
}

impl<K: Ord + Copy> Touches<K> {
    fn touch(&mut self, key: K, version: u64) {
        match self.at.get(&key) {
            Some(&at) if at == version => return,
            Some(&at) => {
                self.order.remove_mut(&(at, key));
            }
            None => {}
        }
        self.at.insert_mut(key, version);
        self.order.insert_mut((version, key));
    }

    fn forget(&mut self, key: &K) {
        if let Some(&at) = self.at.get(key) {
            self.order.remove_mut(&(at, *key));
            self.at.remove_mut(key);
        }
    }

    pub(crate) fn at(&self, key: &K) -> Option<u64> {
        self.at.get(key).copied()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.at.keys()
    }

    /// Newest first; walks only what it yields.
    pub(crate) fn since(&self, version: u64) -> impl Iterator<Item = K> + use<'_, K> {
        self.order.iter().rev().take_while(move |(at, _)| *at > version).map(|(_, key)| *key)
    }
}

/// Everything that is looked up other than by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    pub(crate) node_names: RedBlackTreeMapSync<String, NodeId>,
    pub(crate) service_names: RedBlackTreeMapSync<String, ServiceId>,
    pub(crate) ports: RedBlackTreeMapSync<(Protocol, u16), ServiceId>,
    pub(crate) service_tasks: RedBlackTreeSetSync<(ServiceId, u32, TaskId)>,
    pub(crate) node_tasks: RedBlackTreeSetSync<(NodeId, TaskId)>,
    pub(crate) unplaced: RedBlackTreeSetSync<(ServiceId, u32, TaskId)>,
    pub(crate) usage: RedBlackTreeMapSync<NodeId, Usage>,
    pub(crate) services: Touches<ServiceId>,
    pub(crate) nodes: Touches<NodeId>,
    pub(crate) placement: u64,
}

/// The ports a service holds: those it publishes, and those it would return to.
pub(crate) fn ports_held(service: &Service) -> impl Iterator<Item = (Protocol, u16)> + '_ {
    let previous = service.previous.iter().flat_map(|revision| &revision.template.ports);
    service.spec.ports.iter().chain(previous).map(|port| (port.protocol, port.published))
}

impl Index {
    pub(crate) fn touch_service(&mut self, id: ServiceId, version: u64) {
        self.services.touch(id, version);
    }

    pub(crate) fn forget_service(&mut self, id: &ServiceId) {
        self.services.forget(id);
    }

    pub(crate) fn node_changed(&mut self, old: Option<&Node>, new: &Node, version: u64) {
        if let Some(old) = old {
            self.node_names.remove_mut(&old.name);
        }
        self.node_names.insert_mut(new.name.clone(), new.id);
        self.nodes.touch(new.id, version);
        self.placement = version;
    }

    pub(crate) fn service_added(&mut self, service: &Service, version: u64) {
        self.service_names.insert_mut(service.spec.name.clone(), service.id);
        for port in ports_held(service) {
            self.ports.insert_mut(port, service.id);
        }
        self.services.touch(service.id, version);
    }

    pub(crate) fn service_removed(&mut self, service: &Service) {
        self.service_names.remove_mut(&service.spec.name);
        for port in ports_held(service) {
            self.ports.remove_mut(&port);
        }
    }

    /// Moves a task from what it was (`None`: new) to what it is (`None`: gone).
    pub(crate) fn task_changed(&mut self, old: Option<&Task>, new: Option<&Task>, version: u64) {
        let Some(task) = new.or(old) else { return };
        let key = (task.service, task.slot, task.id);
        match (old, new) {
            (None, Some(_)) => self.service_tasks.insert_mut(key),
            (Some(_), None) => {
                self.service_tasks.remove_mut(&key);
            }
            _ => {}
        }
        let (was, is) = (old.is_some_and(Task::is_unplaced), new.is_some_and(Task::is_unplaced));
        if was != is {
            if is {
                self.unplaced.insert_mut(key);
                self.placement = version;
            } else {
                self.unplaced.remove_mut(&key);
            }
        }
        let (from, to) = (old.and_then(|t| t.node), new.and_then(|t| t.node));
        if from != to {
            if let Some(node) = from {
                self.node_tasks.remove_mut(&(node, task.id));
            }
            if let Some(node) = to {
                self.node_tasks.insert_mut((node, task.id));
            }
        }
        self.hold(old, new, version);
        for node in [from, to].into_iter().flatten() {
            self.nodes.touch(node, version);
        }
        self.services.touch(task.service, version);
    }

    fn hold(&mut self, old: Option<&Task>, new: Option<&Task>, version: u64) {
        let old = old.filter(|t| t.holds_resources());
        let new = new.filter(|t| t.holds_resources());
        if old.map(|t| t.node) == new.map(|t| t.node) {
            return;
        }
        if let Some((task, node)) = old.and_then(|t| Some((t, t.node?))) {
            let mut usage = self.usage.get(&node).copied().unwrap_or_default();
            usage.reserved = usage.reserved.minus(task.spec.container.reservations);
            usage.tasks = usage.tasks.saturating_sub(1);
            self.usage.insert_mut(node, usage);
            self.placement = version;
        }
        if let Some((task, node)) = new.and_then(|t| Some((t, t.node?))) {
            let mut usage = self.usage.get(&node).copied().unwrap_or_default();
            usage.reserved = usage.reserved.plus(task.spec.container.reservations);
            usage.tasks = usage.tasks.saturating_add(1);
            self.usage.insert_mut(node, usage);
        }
    }
}
