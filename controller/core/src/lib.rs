//! The brain of a Roadstead cluster: a value and a few pure functions.
//!
//! ```text
//!   committed log entry ──► apply(&mut State, &Command) ──► Vec<Event>      on every controller
//!
//!   tick, report, heartbeat ──► Control::step(&State, ..) ──► Vec<Command>  on the leader only
//!                                     │
//!        node_health ► update ► replicated ► restart ► reaper ► schedule    always in this order
//! ```
//!
//! Rules that make a whole cluster a function of its seed:
//! - time, ids and randomness come in as arguments or as fields of a command, never from the machine;
//! - [`apply()`] is total: a command that cannot be carried out answers [`Event::Refused`] and changes nothing;
//! - every collection that is walked is ordered;
//! - restart history, update progress and rollback revisions are in the [`State`], so a new leader goes on
//!   where the old one stopped. Only leases live in the leader's memory.
//!
//! Deliberately absent: files, sockets, clocks, threads, async, protobuf, and any other crate of the product.

#![forbid(unsafe_code)]

pub mod apply;
pub mod assign;
pub mod check;
pub mod command;
pub mod control;
pub mod event;
pub mod explain;
pub mod ids;
pub mod object;
pub mod reconcile;
pub mod refusal;
pub mod resources;
pub mod schedule;
pub mod spec;
pub mod state;
pub mod time;

pub use self::{
    apply::apply,
    check::Violation,
    command::{Change, Command, NodeReport, Plan, Progress, TaskStatus},
    control::{Control, Input},
    event::Event,
    ids::{ClusterId, Ids, NodeId, ServiceId, TaskId},
    object::{
        Cluster, Desired, Node, NodeDescription, NodeStatus, Role, Service, Task, TaskSpec, TaskState, Token,
        UpdateState, UpdateStatus,
    },
    refusal::Refusal,
    resources::Resources,
    spec::{
        ContainerSpec, FailureAction, Logging, Protocol, PublishedPort, ServiceSpec, SpecError, UpdatePolicy,
    },
    state::{State, Usage},
    time::Timestamp,
};
