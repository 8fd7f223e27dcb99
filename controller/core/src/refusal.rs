//! Why a command was not carried out. A refused command changes nothing.

use serde::{Deserialize, Serialize};

use crate::{
    ids::NodeId,
    spec::{Protocol, SpecError},
};

/// Why a command was not carried out; its text is meant for the person who asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The specification breaks a rule.
    #[error(transparent)]
    Invalid(SpecError),
    /// Another service has the name.
    #[error("the name {name} is taken by another service")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// Another service publishes the port.
    #[error("port {port}/{protocol} is already published by service {service}")]
    PortTaken {
        /// The number.
        port: u16,
        /// Its transport.
        protocol: Protocol,
        /// Name of the service that has it.
        service: String,
    },
    /// A service keeps its name for life.
    #[error("service {name} cannot be renamed to {wished}: remove it and create another")]
    Renamed {
        /// Its name.
        name: String,
        /// What was asked for.
        wished: String,
    },
    /// The object was written since it was read.
    #[error("{object} has changed: version {read} was read, it is {have} now; read it again")]
    Stale {
        /// `service web`.
        object: String,
        /// The current version.
        have: u64,
        /// The version stated.
        read: u64,
    },
    /// There is no such object.
    #[error("there is no {object}")]
    NotFound {
        /// `service abc...`.
        object: String,
    },
    /// An object with this id exists.
    #[error("{object} exists already")]
    Exists {
        /// `service abc...`.
        object: String,
    },
    /// The join token is not known (any more).
    #[error("the join token is unknown or has expired")]
    TokenUnknown,
    /// The node is not admitted.
    #[error("node {node} is not admitted: join with a token first")]
    NotAdmitted {
        /// Its id.
        node: NodeId,
    },
    /// Another plan was carried out first.
    #[error("the plan builds on another state")]
    PlanOutdated,
}
