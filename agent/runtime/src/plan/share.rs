//! The steps by which a container joins namespaces of another one. Pure.
//!
//! Process ids are joined by the keeper before the clone. The rest the child joins itself: System V objects first, while
//! it has the host's rights, then the users. A namespace belongs to the users who make it, so whoever joins users makes
//! all of its others after that, but for process ids, which only a clone can make: those belong to the host, and
//! the child opens `/proc` for them before it gives up the host's rights.
//!
//! The other container's processes see the child from the moment of the clone. It hides before it joins anything: nobody
//! there can trace it or look at what it has open.

use super::step::{HostStep, InitStep, Joins, Slot};
use super::{Namespaces, Network, Slots};

/// Steps in the places the order demands.
#[derive(Debug, Default)]
pub(super) struct Share {
    /// In the keeper, before the clone.
    pub(super) before: Vec<HostStep>,
    /// Where the user namespace is, if one is joined.
    pub(super) user: Option<Slot>,
    /// In the child, before it becomes root of its users.
    pub(super) join: Vec<InitStep>,
    /// In the child, after that.
    pub(super) new: Vec<InitStep>,
}

/// `early` are the steps that need the host's rights.
pub(super) fn plan(namespaces: &Namespaces, early: &[InitStep], slots: &mut Slots) -> Share {
    let mut share = Share::default();
    if !namespaces.joined.any() {
        return share;
    }
    share.join.push(InitStep::Hide);
    let joined = &namespaces.joined;
    for (path, kind) in [(&joined.ipc, Joins::Ipc), (&joined.user, Joins::User)] {
        let Some(path) = path else { continue };
        let slot = slots.next();
        share.before.push(HostStep::OpenNamespace { slot, path: path.clone() });
        if kind == Joins::User {
            share.user = Some(slot);
            share.join.extend(early.iter().cloned());
        }
        share.join.push(InitStep::Join { slot, kind });
    }
    if joined.user.is_some() {
        share.new.push(InitStep::NewNamespaces {
            ipc: namespaces.ipc && joined.ipc.is_none(),
            uts: namespaces.uts,
            network: namespaces.network == Network::New,
        });
    }
    share
}
