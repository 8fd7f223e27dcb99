//! Which failures are worth another try, and the tries.

use reqwest::StatusCode;

use super::RegistryOptions;
use super::origin::Origin;
use crate::image::PullError;

/// Tries without progress before the failure is reported.
pub(super) const TRIES: u32 = 3;

/// How one try failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// It would fail the same way again.
    Final(PullError),
    /// It may work in a moment.
    Passing(PullError),
    /// The registry answered this status, not yet put into words.
    Status(StatusCode),
    /// The registry asks for credentials: the values of `WWW-Authenticate`.
    Challenged(Vec<String>),
}

impl Failure {
    /// Puts a bare status into words, and says whether it passes.
    pub(super) fn explained(self, origin: &Origin, what: &str) -> Self {
        let (registry, what) = (origin.name.clone(), what.to_owned());
        match self {
            Self::Status(StatusCode::FORBIDDEN) | Self::Challenged(_) => {
                Self::Final(PullError::Denied { registry, what })
            }
            Self::Status(status) => {
                let error = PullError::Status { registry, status: status.to_string(), what };
                if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
                    Self::Passing(error)
                } else {
                    Self::Final(error)
                }
            }
            other => other,
        }
    }
}

/// Waits before try `failures + 1`: the delay, then twice, four times as long.
pub(super) async fn pause(options: &RegistryOptions, failures: u32) {
    tokio::time::sleep(options.retry_delay * 2_u32.saturating_pow(failures.saturating_sub(1).min(8))).await;
}

/// Tries until it works, fails for good, or has failed [`TRIES`] times.
pub(super) async fn run<T, F: Future<Output = Result<T, Failure>>>(
    options: &RegistryOptions,
    mut attempt: impl FnMut() -> F,
) -> Result<T, PullError> {
    let mut failures = 0;
    loop {
        let error = match attempt().await {
            Ok(value) => return Ok(value),
            Err(Failure::Passing(error)) => error,
            Err(Failure::Final(error)) => return Err(error),
            // Whoever sends explains these two; reaching here they can only be final.
            Err(Failure::Status(_) | Failure::Challenged(_)) => return Err(PullError::Interrupted),
        };
        failures += 1;
        if failures >= TRIES {
            return Err(error);
        }
        tracing::debug!(%error, failures, "trying again");
        pause(options, failures).await;
    }
}
