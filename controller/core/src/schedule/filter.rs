//! The filters a node has to pass, in a fixed order, and their words.

use std::{collections::BTreeMap, fmt};

use crate::{
    object::NodeStatus,
    resources::{Bytes, Cores},
    schedule::problem::{Need, Problem, Row},
    spec::Constraint,
};

/// Why one node cannot take a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It was admitted and has not connected yet.
    Unknown,
    /// It is down.
    Down {
        /// Why the controllers think so.
        message: String,
    },
    /// A constraint of the service excludes it.
    Constraint(Constraint),
    /// Too little processor is left, in billionths of a core.
    Processor {
        /// What the task reserves.
        wanted: u64,
        /// What is left.
        free: u64,
    },
    /// Too little memory is left, in bytes.
    Memory {
        /// What the task reserves.
        wanted: u64,
        /// What is left.
        free: u64,
    },
}

/// Of one node: "lacks memory: 100 MiB free, 512 MiB wanted".
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("has not connected yet"),
            Self::Down { message } => write!(f, "is down: {message}"),
            Self::Constraint(constraint) => write!(f, "does not match {constraint}"),
            Self::Processor { wanted, free } => {
                write!(f, "lacks processor: {} free, {} wanted", Cores(*free), Cores(*wanted))
            }
            Self::Memory { wanted, free } => {
                write!(f, "lacks memory: {} free, {} wanted", Bytes(*free), Bytes(*wanted))
            }
        }
    }
}

/// The first filter that refuses a node.
pub(super) fn first_reason(row: &Row<'_>, need: &Need) -> Option<Reason> {
    readiness(row)
        .or_else(|| constraints(row, need))
        .or_else(|| processor(row, need))
        .or_else(|| memory(row, need))
}

fn readiness(row: &Row<'_>) -> Option<Reason> {
    match row.status {
        NodeStatus::Ready => None,
        NodeStatus::Unknown => Some(Reason::Unknown),
        NodeStatus::Down => Some(Reason::Down { message: row.node.status_message.clone() }),
    }
}

fn constraints(row: &Row<'_>, need: &Need) -> Option<Reason> {
    need.constraints.iter().find(|constraint| !constraint.allows(row.node)).cloned().map(Reason::Constraint)
}

fn processor(row: &Row<'_>, need: &Need) -> Option<Reason> {
    let (wanted, free) = (need.reserved.nano_cpus, row.free.nano_cpus);
    (wanted > free).then_some(Reason::Processor { wanted, free })
}

fn memory(row: &Row<'_>, need: &Need) -> Option<Reason> {
    let (wanted, free) = (need.reserved.memory_bytes, row.free.memory_bytes);
    (wanted > free).then_some(Reason::Memory { wanted, free })
}

/// What all nodes say together, most frequent first. Free amounts are left out: they change with every task
/// that ends, and a message that changes has to be written.
pub(super) fn summary(problem: &Problem<'_>, need: &Need) -> String {
    let total = problem.rows.len();
    if total == 0 {
        return "no suitable node: the cluster has no nodes".into();
    }
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for reason in problem.rows.iter().filter_map(|row| first_reason(row, need)) {
        let words = match &reason {
            Reason::Unknown => ("has not connected yet".to_owned(), "have not connected yet".to_owned()),
            Reason::Down { .. } => ("is down".to_owned(), "are down".to_owned()),
            Reason::Constraint(constraint) => {
                (format!("does not match {constraint}"), format!("do not match {constraint}"))
            }
            Reason::Processor { wanted, .. } => {
                let wanted = Cores(*wanted);
                (format!("lacks processor ({wanted} wanted)"), format!("lack processor ({wanted} wanted)"))
            }
            Reason::Memory { wanted, .. } => {
                let wanted = Bytes(*wanted);
                (format!("lacks memory ({wanted} wanted)"), format!("lack memory ({wanted} wanted)"))
            }
        };
        *counts.entry(words).or_default() += 1;
    }
    let mut parts: Vec<_> = counts.into_iter().collect();
    parts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let part = |((one, many), count): ((String, String), usize)| {
        format!("{count} of {total} nodes {}", if count == 1 { one } else { many })
    };
    format!("no suitable node: {}", parts.into_iter().map(part).collect::<Vec<_>>().join("; "))
}
