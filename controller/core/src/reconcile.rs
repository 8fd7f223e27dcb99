//! The reconcilers: each compares what is wanted with what is, in one `plan` function.
//!
//! They run in a fixed order over the services that were touched, each seeing what the ones before it decided:
//! `update`, `replicated`, `restart`, `reaper`; `node_health` comes before all of them, the scheduler after.

pub mod node_health;
pub mod reaper;
pub mod replicated;
pub mod restart;
mod slot;
pub mod update;

pub use self::slot::View;
use crate::{command::Change, ids::Ids, time::Timestamp};

/// What a reconciler decided about one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// In the order they are to be carried out.
    pub changes: Vec<Change>,
    /// When it has to look again although nothing was touched.
    pub due: Option<Timestamp>,
}

impl Outcome {
    fn look_again(&mut self, at: Timestamp) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

/// A reconciler of services.
pub type Reconciler = fn(&View, Timestamp, &mut Ids) -> Outcome;

/// In the order they run.
pub const RECONCILERS: [Reconciler; 4] = [update::plan, replicated::plan, restart::plan, reaper::plan];
