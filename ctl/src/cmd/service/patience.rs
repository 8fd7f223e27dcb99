//! Watching a service across a restart of the controller: the change is made and
//! durable, so whoever waits for its effect can wait for the controller too.

use std::time::{Duration, Instant};

use tonic::{Code, Status};

use crate::client;
use crate::error::{CommandError, Kind};

/// How long the controller may be away while a service is waited for.
const AWAY: Duration = Duration::from_secs(15);
/// Between two tries to find it again.
const RETRY: Duration = Duration::from_millis(300);

/// Watches anew whenever the controller went away. `watch` notes each word from it in the instant it is given.
///
/// # Errors
/// Those of `watch`; [`Kind::Unavailable`] only when the controller stays away.
pub(super) async fn watch_again(
    mut watch: impl AsyncFnMut(&mut Instant) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let mut heard = Instant::now();
    loop {
        match watch(&mut heard).await {
            Err(error) if error.kind == Kind::Unavailable && heard.elapsed() < AWAY => {
                tokio::time::sleep(RETRY).await;
            }
            outcome => return outcome,
        }
    }
}

/// What the failure of a watch means: a connection that breaks in the middle has no code of its own.
pub(super) fn broken(status: Status) -> CommandError {
    match status.code() {
        Code::Unknown | Code::Internal | Code::Cancelled | Code::Unavailable => {
            let cause = std::error::Error::source(&status).map(client::root_cause);
            let cause = cause.unwrap_or_else(|| status.message().to_owned());
            CommandError::new(Kind::Unavailable, format!("the controller went away ({cause})"))
        }
        _ => status.into(),
    }
}

/// For a watch that ended without an error, as that of a controller that stops.
pub(super) fn ended() -> CommandError {
    CommandError::new(Kind::Unavailable, "the controller ended the watch")
}
