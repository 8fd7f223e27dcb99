//! The one place where errors of the domain become gRPC statuses. The messages
//! are for the person at the terminal: what is wrong, with which object, and
//! what to do.

use controller_core::{Refusal, SpecError};
use tonic::{Code, Status};

use crate::ca::CaError;
use crate::node_client::DialError;
use crate::store::ProposeError;

/// Everything an RPC can fail with.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// A field of the request breaks a rule.
    #[error(transparent)]
    Field(#[from] SpecError),
    /// The change could not be made.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// There is no such object.
    #[error("there is no {kind} {name:?}")]
    NotFound {
        /// "service", "node".
        kind: &'static str,
        /// What was asked for.
        name: String,
    },
    /// A certificate could not be issued.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The caller may not do this.
    #[error("{0}")]
    Denied(String),
    /// A node could not be dialled.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// This controller does not lead, or knows no leader.
    #[error("this controller does not lead just now; try again")]
    NotLeading,
    /// This controller ends.
    #[error("the controller is shutting down; try again")]
    ShuttingDown,
    /// Another session of the same node took over.
    #[error("another session of this node took over")]
    Superseded,
    /// The agent broke the order of messages.
    #[error("{0}")]
    Protocol(&'static str),
}

impl ApiError {
    /// For an object that is not there.
    #[must_use]
    pub fn not_found(kind: &'static str, name: &str) -> Self {
        Self::NotFound { kind, name: name.chars().take(128).collect() }
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let code = match &error {
            ApiError::Field(_) | ApiError::Protocol(_) => Code::InvalidArgument,
            ApiError::NotFound { .. } => Code::NotFound,
            ApiError::Denied(_) => Code::PermissionDenied,
            ApiError::Dial(_) | ApiError::NotLeading | ApiError::ShuttingDown => Code::Unavailable,
            ApiError::Superseded => Code::Aborted,
            ApiError::Ca(CaError::Request(_) | CaError::KeyKind) => Code::InvalidArgument,
            ApiError::Ca(_) => Code::Internal,
            ApiError::Propose(error) => match error {
                ProposeError::NotLeader { .. } | ProposeError::Stopped => Code::Unavailable,
                // Not UNAVAILABLE, which invites to try again without looking.
                ProposeError::Unconfirmed { .. } => Code::Unknown,
                ProposeError::Encode(_) => Code::InvalidArgument,
                ProposeError::Refused(refusal) => return refused(refusal),
            },
        };
        if code == Code::Internal {
            tracing::error!(%error, "an RPC failed");
        }
        Self::new(code, error.to_string())
    }
}

fn refused(refusal: &Refusal) -> Status {
    let text = refusal.to_string();
    match refusal {
        Refusal::Invalid(_) => Status::invalid_argument(format!("spec.{text}")),
        Refusal::Renamed { .. } => Status::invalid_argument(format!("spec.name: {text}")),
        Refusal::NameTaken { .. } | Refusal::PortTaken { .. } | Refusal::Exists { .. } => {
            Status::already_exists(text)
        }
        Refusal::Stale { .. } => Status::aborted(text),
        Refusal::NotFound { .. } => Status::not_found(text),
        Refusal::TokenUnknown | Refusal::NotAdmitted { .. } => Status::permission_denied(text),
        Refusal::PlanOutdated => Status::internal(text),
    }
}

#[cfg(test)]
mod tests {
    use controller_core::Protocol;

    use super::*;

    #[test]
    fn each_refusal_has_the_code_that_the_interface_promises() {
        let name = "web".to_owned();
        let object = "service web".to_owned();
        let broken = SpecError { field: "replicas".to_owned(), rule: "must be less".to_owned() };
        let table = [
            (Refusal::Invalid(broken), Code::InvalidArgument, "spec.replicas: must be less"),
            (Refusal::NameTaken { name: name.clone() }, Code::AlreadyExists, "name web"),
            (
                Refusal::PortTaken { port: 80, protocol: Protocol::Tcp, service: name.clone() },
                Code::AlreadyExists,
                "80/tcp",
            ),
            (Refusal::Renamed { name, wished: "x".to_owned() }, Code::InvalidArgument, "spec.name: "),
            (Refusal::Stale { object: object.clone(), have: 2, read: 1 }, Code::Aborted, "version 1"),
            (Refusal::NotFound { object: object.clone() }, Code::NotFound, "service web"),
            (Refusal::Exists { object }, Code::AlreadyExists, "service web"),
            (Refusal::TokenUnknown, Code::PermissionDenied, "token"),
        ];
        for (refusal, code, words) in table {
            let status = Status::from(ApiError::from(ProposeError::Refused(refusal)));
            assert_eq!(status.code(), code, "{status}");
            assert!(status.message().contains(words), "{status}");
        }
    }
}
