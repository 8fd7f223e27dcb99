//! Failures as people see them: what failed and why, what to do next, and an
//! exit code that scripts can tell apart.

use std::fmt;

use tonic::{Code, Status};

/// What went wrong, as far as the exit code tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A defect or a failure without a class of its own: exit code 1.
    Internal,
    /// The command line makes no sense (clap uses the same): exit code 2.
    Usage,
    /// The object is not there: exit code 3.
    NotFound,
    /// A name or port is taken, or someone else changed the object: exit code 4.
    Conflict,
    /// Controller, agent or registry can't be reached: exit code 5.
    Unavailable,
    /// The request broke a rule: exit code 6.
    Invalid,
    /// It was accepted, but the tasks did not come to run: exit code 7.
    NotConverged,
    /// The caller may not do that: exit code 8.
    Denied,
    /// This machine lacks something: root, a kernel feature, a free port: exit code 9.
    Environment,
    /// A container could not be run, for no fault of its program: exit code 125.
    Run,
    /// The program in the container can't be executed: exit code 126.
    NotExecutable,
    /// The program is not in the container: exit code 127.
    NoProgram,
}

impl Kind {
    /// The exit code of the process after this command, "ctl container run". With commands that end with the code of
    /// the program in the container, all that is not about that program is 125, so that the two can be told apart.
    pub fn exit_code_of(self, command: &str) -> u8 {
        match (command, self) {
            (_, Self::NotExecutable | Self::NoProgram) => self.exit_code(),
            ("ctl run" | "ctl exec", _) => Self::Run.exit_code(),
            ("ctl container run" | "ctl container create" | "ctl container exec", _) => Self::Run.exit_code(),
            _ => self.exit_code(),
        }
    }

    /// The exit code of the process after any other command.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Conflict => 4,
            Self::Unavailable => 5,
            Self::Invalid => 6,
            Self::NotConverged => 7,
            Self::Denied => 8,
            Self::Environment => 9,
            Self::Run => 125,
            Self::NotExecutable => 126,
            Self::NoProgram => 127,
        }
    }
}

/// A failed command.
#[derive(Debug)]
pub struct CommandError {
    /// Decides the exit code.
    pub kind: Kind,
    /// What failed and why, one line.
    pub message: String,
    /// What to do next, a line each.
    pub hints: Vec<String>,
}

impl CommandError {
    /// An error of a kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hints: Vec::new() }
    }

    /// An error without a class of its own.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// Adds a line that says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The same failure under another exit code.
    #[must_use]
    pub fn of_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CommandError {}

impl From<Status> for CommandError {
    fn from(status: Status) -> Self {
        let kind = match status.code() {
            Code::NotFound => Kind::NotFound,
            Code::AlreadyExists | Code::Aborted => Kind::Conflict,
            Code::Unavailable | Code::DeadlineExceeded => Kind::Unavailable,
            Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition => Kind::Invalid,
            Code::PermissionDenied | Code::Unauthenticated => Kind::Denied,
            _ => Kind::Internal,
        };
        let kind = match status.metadata().get("exit-code").map(|code| code.as_bytes()) {
            Some(b"127") => Kind::NoProgram,
            Some(b"126") => Kind::NotExecutable,
            Some(_) => Kind::Run,
            None => kind,
        };
        let error = Self::new(kind, status.message().to_owned());
        match status.code() {
            Code::Aborted => {
                error.hint("someone else changed it in the meantime: look at it again and repeat")
            }
            // A registry's refusal says itself what to do.
            Code::PermissionDenied if status.message().starts_with("registry ") => error,
            Code::PermissionDenied | Code::Unauthenticated => {
                error.hint("the context's certificate was refused; `ctl dev` writes a fresh context")
            }
            Code::Unknown => error.hint("whether it was done is not known: look before you repeat it"),
            _ => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_exit_code() {
        let kinds = [
            Kind::Internal,
            Kind::Usage,
            Kind::NotFound,
            Kind::Conflict,
            Kind::Unavailable,
            Kind::Invalid,
            Kind::NotConverged,
            Kind::Denied,
            Kind::Environment,
            Kind::Run,
            Kind::NotExecutable,
            Kind::NoProgram,
        ];
        let codes: std::collections::BTreeSet<u8> = kinds.iter().map(|kind| kind.exit_code()).collect();
        assert_eq!(codes.len(), kinds.len());
        assert!(!codes.contains(&0));
    }

    #[test]
    fn a_stale_write_says_to_look_again() {
        let error = CommandError::from(Status::aborted("service web was changed"));
        assert_eq!(error.kind, Kind::Conflict);
        assert_eq!(error.hints.len(), 1);
    }

    #[test]
    fn what_failed_in_a_run_is_told_from_what_the_program_ended_with() {
        for command in
            ["ctl run", "ctl exec", "ctl container run", "ctl container create", "ctl container exec"]
        {
            for kind in [Kind::Usage, Kind::NotFound, Kind::Unavailable, Kind::Environment, Kind::Run] {
                assert_eq!(kind.exit_code_of(command), 125, "{command} {kind:?}");
            }
            for (code, expected) in [(127, 127), (126, 126), (125, 125)] {
                let mut status = Status::failed_precondition("cannot start");
                status.metadata_mut().insert("exit-code", code.into());
                assert_eq!(CommandError::from(status).kind.exit_code_of(command), expected);
            }
        }
        assert_eq!(Kind::NotFound.exit_code_of("ctl container rm"), 3);
    }
}
