//! Which failures are worth another try, and the tries.

use std::time::Duration;

use reqwest::StatusCode;

use super::origin::Origin;
use super::refusal::Refusal;
use super::{Access, RegistryOptions};
use crate::image::PullError;

/// Tries without progress before the failure of a small request is reported.
const TRIES: u32 = 3;
/// The same for a blob, which is worth more patience: a registry that is restarted comes back in that time.
pub(super) const BLOB_TRIES: u32 = 6;
/// Tries of a blob in all, even if each brings a little more.
const MAX_TRIES: u32 = 40;
/// The longest that a registry may have us wait before we give up instead.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Pauses grow up to here.
const MAX_PAUSE: Duration = Duration::from_secs(8);

/// How one try failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// It would fail the same way again.
    Final(PullError),
    /// It may work in a moment.
    Passing(PullError),
    /// The registry says that it would work after this time.
    Later(PullError, Duration),
    /// The registry's refusal, not yet put into words.
    Refused(Refusal),
    /// The registry asks for credentials: the values of `WWW-Authenticate`.
    Challenged(Vec<String>),
}

impl Failure {
    /// Whether the registry said "not found".
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.status == StatusCode::NOT_FOUND)
    }

    /// Whether the registry knows nothing of an upload, or is elsewhere in it.
    pub(super) fn is_lost_upload(&self) -> bool {
        let lost = [StatusCode::NOT_FOUND, StatusCode::RANGE_NOT_SATISFIABLE];
        matches!(self, Self::Refused(refusal) if lost.contains(&refusal.status))
    }

    /// The same, worth another try.
    pub(super) fn passing(self) -> Self {
        match self {
            Self::Final(error) => Self::Passing(error),
            other => other,
        }
    }

    /// Puts a refusal into words, and says whether it passes.
    pub(super) fn explained(self, origin: &Origin, what: &str) -> Self {
        let (registry, what) = (origin.name.clone(), what.to_owned());
        let refusal = match self {
            Self::Challenged(_) => return Self::Final(PullError::Denied { registry, what }),
            Self::Refused(refusal) if refusal.status == StatusCode::FORBIDDEN => {
                return Self::Final(PullError::Denied { registry, what });
            }
            Self::Refused(refusal) => refusal,
            other => return other,
        };
        let limited = refusal.status == StatusCode::TOO_MANY_REQUESTS;
        let error = if limited {
            PullError::RateLimited { registry, what, wait: refusal.wait, limit: refusal.limit }
        } else {
            let words = refusal.message.map(|message| format!(" ({message})")).unwrap_or_default();
            PullError::Status { registry, status: format!("{}{words}", refusal.status), what }
        };
        match refusal.wait {
            Some(wait) if wait > MAX_WAIT => Self::Final(error),
            Some(wait) if limited || refusal.status == StatusCode::SERVICE_UNAVAILABLE => {
                Self::Later(error, wait)
            }
            _ if limited || refusal.status.is_server_error() => Self::Passing(error),
            _ => Self::Final(error),
        }
    }
}

/// Counts tries.
#[derive(Debug)]
pub(super) struct Tries {
    most: u32,
    failures: u32,
    all: u32,
}

impl Tries {
    pub(super) fn new(most: u32) -> Self {
        Self { most, failures: 0, all: 0 }
    }

    /// Waits before the next try, or answers the error when there is none. `progress`: this try brought something.
    pub(super) async fn after(
        &mut self,
        failure: Failure,
        progress: bool,
        options: &RegistryOptions,
        access: &Access<'_>,
    ) -> Result<(), PullError> {
        let (error, wait) = match failure {
            Failure::Passing(error) => (error, None),
            Failure::Later(error, wait) => (error, Some(wait)),
            Failure::Final(error) => return Err(error),
            // Whoever sends explains these two; reaching here they can only be final.
            Failure::Refused(_) | Failure::Challenged(_) => return Err(PullError::Interrupted),
        };
        self.all += 1;
        self.failures = if progress { 1 } else { self.failures + 1 };
        if self.failures >= self.most || self.all >= MAX_TRIES {
            return Err(error);
        }
        let doubled = 2_u32.saturating_pow(self.failures.saturating_sub(1).min(8));
        let pause = (options.retry_delay * doubled).min(MAX_PAUSE);
        let pause = wait.map_or(pause, |wait| wait.max(pause));
        tracing::debug!(%error, failures = self.failures, ?pause, "trying again");
        if pause >= Duration::from_secs(1) {
            (access.tell)(&error.to_string(), pause);
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// Tries until it works, fails for good, or has failed too often.
pub(super) async fn run<T, F: Future<Output = Result<T, Failure>>>(
    options: &RegistryOptions,
    access: &Access<'_>,
    mut attempt: impl FnMut() -> F,
) -> Result<T, PullError> {
    let mut tries = Tries::new(TRIES);
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(failure) => tries.after(failure, false, options, access).await?,
        }
    }
}
