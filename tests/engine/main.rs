//! The container engine as its users have it: a real agent alone on a host,
//! without any controller, driven by `ctl`.

mod attacks;
mod completion;
mod compressed_logs;
mod crash;
mod events;
mod exec;
mod files;
mod flags;
mod health;
mod images;
mod info;
mod life;
mod logs;
mod restart;
mod soak;
mod speed;
mod stats;
mod unpacking;
mod update;
mod verbs;
mod volumes;

use std::time::Duration;

/// What nobody should have to wait for longer than.
const SOON: Duration = Duration::from_secs(20);

/// A directory for one test, short enough for unix sockets and gone afterwards.
fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("rt-").tempdir_in("/tmp").expect("/tmp is writable")
}

/// Says to a thread that it is over, also when the test fails: a scope waits for its threads.
struct Over<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}
