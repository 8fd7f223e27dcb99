//! Ending: by a signal, at the end of standard input, or by request over the
//! API. Everything that runs holds the token and ends when it fires.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// The wish to end. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Shutdown {
    token: CancellationToken,
    stop_containers: Arc<AtomicBool>,
}

impl Shutdown {
    /// Nobody wishes to end yet; `stop_containers` is what a signal means.
    pub fn new(stop_containers: bool) -> Self {
        Self { token: CancellationToken::new(), stop_containers: Arc::new(AtomicBool::new(stop_containers)) }
    }

    /// Fires when the agent is to end.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Whether containers and keeper are to end as well.
    pub fn stop_containers(&self) -> bool {
        self.stop_containers.load(Ordering::SeqCst)
    }

    /// Ends the agent, with `stop_containers` also its containers.
    pub fn request(&self, why: &str, stop_containers: bool) {
        self.stop_containers.fetch_or(stop_containers, Ordering::SeqCst);
        if !self.token.is_cancelled() {
            info!("ending: {why}");
        }
        self.token.cancel();
    }

    /// Ends on SIGTERM and SIGINT.
    ///
    /// # Errors
    /// When a handler cannot be installed.
    pub fn on_signals(&self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            let why = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            shutdown.request(why, false);
        });
        Ok(())
    }

    /// Ends when standard input does. Reading blocks, so a thread of its own
    /// does it, which nobody waits for.
    pub fn on_end_of_input(&self) {
        let shutdown = self.clone();
        std::thread::spawn(move || {
            let mut ignored = [0; 256];
            let mut input = std::io::stdin().lock();
            loop {
                match input.read(&mut ignored) {
                    Ok(0) => break,
                    Err(error) if error.kind() != std::io::ErrorKind::Interrupted => break,
                    _ => {}
                }
            }
            shutdown.request("standard input has ended", false);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_wish_to_stop_containers_is_kept() {
        let shutdown = Shutdown::new(false);
        shutdown.request("first", false);
        assert!(shutdown.token().is_cancelled() && !shutdown.stop_containers());
        shutdown.request("second", true);
        assert!(shutdown.stop_containers());
    }
}
