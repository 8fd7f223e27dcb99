//! Waiting for something to become true, and saying what it was when it did not.

use std::time::{Duration, Instant};

/// Polls `probe` every 50 ms until it answers; panics with `what` and the last
/// refusal after `timeout`.
///
/// # Panics
/// When the time is over.
#[track_caller]
pub fn until<T>(what: &str, timeout: Duration, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + timeout;
    loop {
        match probe() {
            Ok(value) => return value,
            Err(last) if Instant::now() > deadline => panic!("{what}: not within {timeout:?}; last: {last}"),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
