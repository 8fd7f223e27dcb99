//! Wakes who follows a log: the kernel tells when a file in its directory is written, renamed or gone. Where it cannot,
//! because there is no such directory yet or too many follow already, somebody looks every now and then.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::net::unix::pipe::Receiver;

/// Between two looks when nothing tells.
const LOOK: Duration = Duration::from_millis(50);
/// The same when the kernel does, in case it once does not.
const PATIENCE: Duration = Duration::from_secs(1);
/// What is written in so short a time is read at once.
const GATHER: Duration = Duration::from_millis(5);

/// Tells of writes to the files of one directory.
#[derive(Debug)]
pub(super) struct Wake {
    dir: PathBuf,
    /// Like a pipe, it can be waited for and read.
    watch: Option<Receiver>,
}

impl Wake {
    /// From now on; what was written before is to be read first.
    pub(super) fn new(dir: PathBuf) -> Wake {
        let mut wake = Wake { dir, watch: None };
        wake.watch = wake.open().ok();
        wake
    }

    fn open(&self) -> io::Result<Receiver> {
        let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let changes = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVE | WatchFlags::DELETE_SELF;
        inotify::add_watch(&watch, &self.dir, changes | WatchFlags::ONLYDIR)?;
        Receiver::from_owned_fd_unchecked(watch)
    }

    /// Returns when there may be something to read, after so long in any case.
    pub(super) async fn wait(&mut self, most: Duration) {
        let Some(watch) = &self.watch else {
            tokio::time::sleep(LOOK.min(most)).await;
            // What was written before it is there is read at once.
            self.watch = self.open().ok();
            return;
        };
        if let Ok(Ok(())) = tokio::time::timeout(PATIENCE.min(most), watch.readable()).await {
            tokio::time::sleep(GATHER).await;
            // What was told does not matter: everything is looked at.
            let mut told = [0; 4096];
            while watch.try_read(&mut told).is_ok_and(|count| count > 0) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_write_wakes_at_once_and_silence_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let mut wake = Wake::new(dir.path().to_owned());
        let since = Instant::now();
        wake.wait(Duration::from_millis(100)).await;
        assert!(since.elapsed() >= Duration::from_millis(100), "nothing was written");
        // Told also when it happens between a look and the wait for it.
        std::fs::write(&file, "x").unwrap();
        let since = Instant::now();
        wake.wait(Duration::from_secs(10)).await;
        assert!(since.elapsed() < Duration::from_millis(500), "{:?}", since.elapsed());
        let since = Instant::now();
        wake.wait(Duration::from_millis(100)).await;
        assert!(since.elapsed() >= Duration::from_millis(100), "it was told once");
    }

    #[tokio::test]
    async fn a_directory_that_is_not_there_yet_is_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let later = dir.path().join("later");
        let mut wake = Wake::new(later.clone());
        wake.wait(Duration::from_secs(10)).await;
        std::fs::create_dir(&later).unwrap();
        wake.wait(Duration::from_secs(10)).await;
        assert!(wake.watch.is_some());
    }
}
