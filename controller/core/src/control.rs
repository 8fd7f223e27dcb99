//! The leader's part: `Control::step` turns inputs into proposals.
//!
//! Nothing is lost when an input is: what has to be done follows from the State, from the leases, and from the
//! reports not yet seen in the State. A step looks only at what was touched since the last one and at
//! deadlines that have passed, so an idle cluster costs nothing and proposes nothing.

mod lease;
mod pass;
mod report;

use std::time::Duration;

use crate::{
    command::{Command, TaskStatus},
    ids::{Ids, NodeId},
    state::State,
    time::Timestamp,
};

/// How often an agent sends a heartbeat.
pub const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long a node counts as up after its last heartbeat.
pub const LEASE: Duration = Duration::from_secs(6);
/// The first lease of every node under a new leader: agents need time to find it.
pub const FIRST_LEASE: Duration = Duration::from_secs(15);
/// Steps that are further apart than this, or go back this far, mean that the leader was stopped or its clock set:
/// nobody could have been heard meanwhile.
pub const GAP: Duration = Duration::from_secs(2);
/// How long a proposal may take before it is made again. Making it twice does no harm.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// The most changes of one plan, which is one entry of the log.
pub const BUDGET: usize = 5_000;

/// What the leader is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Commands were applied; a reason to look at the State at once.
    Changed,
    /// Time has passed.
    Tick,
    /// A node observed something of its tasks. The first report of a session must hold every task of the node:
    /// what an earlier leader had not written yet is lost with it.
    Report {
        /// The node, as its certificate says.
        node: NodeId,
        /// One per task.
        statuses: Vec<TaskStatus>,
    },
    /// A node is alive.
    Heartbeat {
        /// The node.
        node: NodeId,
    },
    /// A node opened its session.
    Connected {
        /// The node.
        node: NodeId,
    },
    /// The session of a node ended. Its lease goes on.
    Disconnected {
        /// The node.
        node: NodeId,
    },
    /// This controller leads from now on.
    BecameLeader,
    /// It does not any more; everything it gathered is dropped.
    LostLeadership,
}

/// The leader's memory: leases, reports under way, and what is left to look at.
#[derive(Debug, Default)]
pub struct Control {
    leading: bool,
    /// When the last step was.
    last: Timestamp,
    leases: lease::Leases,
    reports: report::Reports,
    pass: pass::Pass,
}

impl Control {
    /// A controller that does not lead yet, and does nothing until [`Input::BecameLeader`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it leads.
    #[must_use]
    pub fn is_leading(&self) -> bool {
        self.leading
    }

    /// Takes one input in and says what is to be done about everything known by now.
    pub fn step(&mut self, state: &State, input: Input, now: Timestamp, ids: &mut Ids) -> Vec<Command> {
        if self.leading && self.last.since(now).max(now.since(self.last)) > GAP {
            self.leases.begin(state, now);
        }
        self.last = now;
        match input {
            Input::BecameLeader => {
                *self = Self { leading: true, last: now, ..Self::default() };
                self.leases.begin(state, now);
            }
            Input::LostLeadership => *self = Self::default(),
            Input::Heartbeat { node } | Input::Connected { node } if self.leading => {
                self.leases.renew(state, node, now);
            }
            Input::Report { node, statuses } if self.leading => self.reports.take(state, node, statuses),
            _ => {}
        }
        if !self.leading {
            return Vec::new();
        }
        let report = self.reports.flush(state, now);
        let plan = self.pass.run(state, &mut self.leases, now, ids);
        report.into_iter().chain(plan).collect()
    }
}
