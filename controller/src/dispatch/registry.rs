//! Which session of a node counts: the one that was opened last.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use controller_core::NodeId;
use tokio::sync::oneshot;

#[derive(Debug)]
struct Current {
    serial: u64,
    /// Dropped when a newer session takes over.
    _end: oneshot::Sender<()>,
}

#[derive(Debug, Default)]
struct Table {
    last_serial: u64,
    current: BTreeMap<NodeId, Current>,
}

/// The sessions of this controller.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<Table>);

/// A session's place in the table; leaves it when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    node: NodeId,
    serial: u64,
    sessions: Arc<Sessions>,
    ended: oneshot::Receiver<()>,
}

impl Sessions {
    /// Takes the node's seat; whoever sits there is told to leave.
    pub(super) fn take(self: &Arc<Self>, node: NodeId) -> Seat {
        let (end, ended) = oneshot::channel();
        let mut table = self.table();
        table.last_serial += 1;
        let serial = table.last_serial;
        table.current.insert(node, Current { serial, _end: end });
        Seat { node, serial, sessions: Arc::clone(self), ended }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Different for each session of this controller.
    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    /// Whether no newer session has taken over.
    pub(super) fn is_current(&self) -> bool {
        self.sessions.table().current.get(&self.node).is_some_and(|current| current.serial == self.serial)
    }

    /// Returns when a newer session has taken over.
    pub(super) async fn superseded(&mut self) {
        // Nothing is ever sent: the sender is dropped.
        let _ = (&mut self.ended).await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.sessions.table();
        if table.current.get(&self.node).is_some_and(|current| current.serial == self.serial) {
            table.current.remove(&self.node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_session_of_a_node_counts_and_leaves_no_trace() {
        let sessions = Arc::new(Sessions::default());
        let mut ids = controller_core::Ids::new(1);
        let (one, other) = (ids.node(), ids.node());
        let mut first = sessions.take(one);
        let unrelated = sessions.take(other);
        let second = sessions.take(one);
        first.superseded().await;
        assert!(!first.is_current() && second.is_current() && unrelated.is_current());
        drop(first);
        assert!(second.is_current());
        drop((second, unrelated));
        assert!(sessions.table().current.is_empty());
    }
}
