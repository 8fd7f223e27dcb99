//! Errors as others read them: the one place where they become gRPC statuses,
//! and the one place where a chain of causes becomes a sentence.

use std::error::Error;

use agent_engine::files::FilesError;
use agent_engine::image::PullError;
use agent_engine::volume::VolumeError;
use agent_engine::{CgroupError, EngineError};
use tonic::{Code, Status};

use crate::convert::Invalid;

/// The error with its causes, each once: "cannot do this: that is missing".
pub fn describe(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        // Some errors print their cause themselves.
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text
}

/// The status of a failed or refused engine call.
pub fn engine(error: &EngineError) -> Status {
    let code = match error {
        EngineError::NoSuchContainer(_) | EngineError::NoSuchImage(_) | EngineError::NoSuchExec(_) => {
            Code::NotFound
        }
        EngineError::Ambiguous(..) | EngineError::Invalid { .. } => Code::InvalidArgument,
        EngineError::NameTaken { .. } => Code::AlreadyExists,
        EngineError::State { .. }
        | EngineError::NoLog(_)
        | EngineError::Start { .. }
        | EngineError::Exec { .. }
        | EngineError::Files(FilesError::Refused { .. })
        | EngineError::Network(_) => Code::FailedPrecondition,
        EngineError::Files(FilesError::Missing { .. }) => Code::NotFound,
        EngineError::Image(error) => return pull(error),
        // Not now: it depends on what the container uses.
        EngineError::Cgroup(CgroupError::Limit { .. }) => Code::FailedPrecondition,
        EngineError::Volume(error) => volume_code(error),
        EngineError::Closed => Code::Unavailable,
        _ => Code::Internal,
    };
    let mut status = Status::new(code, describe(error));
    if let EngineError::Start { exit_code, .. } | EngineError::Exec { exit_code, .. } = error {
        status.metadata_mut().insert("exit-code", (*exit_code).into());
    }
    status
}

fn volume_code(error: &VolumeError) -> Code {
    match error {
        VolumeError::NotFound(_) => Code::NotFound,
        VolumeError::Exists { .. } => Code::AlreadyExists,
        VolumeError::InUse { .. } | VolumeError::NoQuota { .. } => Code::FailedPrecondition,
        VolumeError::Name(_) | VolumeError::Option { .. } | VolumeError::Subpath { .. } => {
            Code::InvalidArgument
        }
        VolumeError::Interrupted => Code::Unavailable,
        _ => Code::Internal,
    }
}

/// The status of an image that could not be had.
pub fn pull(error: &PullError) -> Status {
    Status::new(pull_code(error), describe(error))
}

fn pull_code(error: &PullError) -> Code {
    match error {
        PullError::NotFound { .. } => Code::NotFound,
        PullError::Denied { .. } | PullError::Realm { .. } | PullError::WrongLogin { .. } => {
            Code::PermissionDenied
        }
        PullError::Status { .. }
        | PullError::Unreachable { .. }
        | PullError::Stalled { .. }
        | PullError::TooSlow { .. }
        | PullError::Protocol { .. }
        | PullError::RateLimited { .. }
        | PullError::Interrupted
        | PullError::ReaderGone => Code::Unavailable,
        PullError::Absent { .. } => Code::NotFound,
        PullError::Malformed(_) | PullError::Ambiguous { .. } | PullError::Archive { .. } => {
            Code::InvalidArgument
        }
        PullError::InUse { .. } | PullError::SeveralNames { .. } => Code::FailedPrecondition,
        PullError::Damaged { .. }
        | PullError::WrongSize { .. }
        | PullError::WrongLayer { .. }
        | PullError::Inflate { .. }
        | PullError::Unpack { .. } => Code::DataLoss,
        PullError::Unusable { .. }
        | PullError::Untrusted { .. }
        | PullError::NoTls { .. }
        | PullError::Certificates { .. } => Code::FailedPrecondition,
        _ => Code::Internal,
    }
}

/// The status of a request with a field that breaks a rule.
pub fn invalid(error: &Invalid) -> Status {
    Status::invalid_argument(error.to_string())
}

/// The status of a request that lacks or garbles `field`.
pub fn invalid_field(field: &str, rule: impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!("{field}: {rule}"))
}
