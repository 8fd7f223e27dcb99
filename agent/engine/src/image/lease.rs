//! Leases: what somebody works with at this moment and no record names yet, or not any more. Whoever pulls, loads,
//! imports, commits or saves holds the digests it relies on, before it looks whether they are here; a collection
//! passes them over, and also those that were let go while it ran, since a record may have come to name them after
//! the collection read the records.
//!
//! Digests of blobs and of unpacked layers share one space: holding too much is harmless. Leases live in memory,
//! because who works dies with the agent; what is left then is swept when the agent starts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::content::Digest;

/// All leases of a host. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Leases {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    held: BTreeMap<Digest, usize>,
    /// Collections that run; at most one does.
    collecting: bool,
    /// Let go since the collection began.
    released: BTreeSet<Digest>,
}

/// What one piece of work holds, until it is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    leases: Leases,
    held: Mutex<BTreeSet<Digest>>,
}

/// While it lives, what is let go counts as held.
#[derive(Debug)]
pub(super) struct Collecting {
    leases: Leases,
}

impl Leases {
    /// A lease of nothing yet.
    pub(super) fn begin(&self) -> Lease {
        Lease { leases: self.clone(), held: Mutex::default() }
    }

    /// Begins a collection.
    pub(super) fn collecting(&self) -> Collecting {
        self.state().collecting = true;
        Collecting { leases: self.clone() }
    }

    /// Does `work`, which takes this away, unless somebody holds it; nobody comes to hold it meanwhile.
    pub(super) fn unless_held<T, E>(
        &self,
        digest: &Digest,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        let state = self.state();
        if state.held.contains_key(digest) || state.released.contains(digest) {
            return Ok(None);
        }
        work().map(Some)
    }

    /// Data behind this lock is valid between any two statements.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Holds a digest, whether it is here or not.
    pub(super) fn hold(&self, digest: &Digest) {
        let mut own = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if own.insert(digest.clone()) {
            *self.leases.state().held.entry(digest.clone()).or_default() += 1;
        }
    }

    /// Holds several.
    pub(super) fn hold_all<'d>(&self, digests: impl IntoIterator<Item = &'d Digest>) {
        digests.into_iter().for_each(|digest| self.hold(digest));
    }

    /// What it holds.
    pub(super) fn held(&self) -> BTreeSet<Digest> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let own = std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner));
        let mut state = self.leases.state();
        for digest in own {
            if let Some(count) = state.held.get_mut(&digest) {
                *count -= 1;
                if *count == 0 {
                    state.held.remove(&digest);
                }
            }
            if state.collecting {
                state.released.insert(digest);
            }
        }
    }
}

impl Drop for Collecting {
    fn drop(&mut self) {
        let mut state = self.leases.state();
        state.collecting = false;
        state.released.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(leases: &Leases, digest: &Digest) -> bool {
        leases.unless_held::<(), ()>(digest, || Ok(())).unwrap().is_some()
    }

    #[test]
    fn what_is_held_stays_and_what_is_let_go_stays_until_the_collection_is_over() {
        let (leases, digest) = (Leases::default(), Digest::of(b"x"));
        let (one, two) = (leases.begin(), leases.begin());
        one.hold(&digest);
        one.hold(&digest);
        two.hold(&digest);
        drop(one);
        assert!(!taken(&leases, &digest), "another one holds it");
        let collecting = leases.collecting();
        drop(two);
        assert!(!taken(&leases, &digest), "it may have been named since");
        drop(collecting);
        assert!(taken(&leases, &digest));
        assert!(leases.state().held.is_empty());
    }
}
