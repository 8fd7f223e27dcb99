//! Compresses the old files of logs in the background, one at a time, where a container asks for it.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use agent_runtime::log::Layout;
use tokio::time::{MissedTickBehavior, interval};

use super::Inner;
use crate::container::logging;
use crate::container::logs::packed;
use crate::container::record::Entry;

/// Between two looks.
const ROUND: Duration = Duration::from_secs(2);

/// Those that ask for it: id, state directory, layout and most files of their logs.
fn asked(inner: &Inner) -> Vec<(String, PathBuf, Layout, u32)> {
    let of = |entry: &Arc<Entry>| {
        let (layout, files) = logging::compressed(&entry.live().record.config)?;
        Some((entry.id.clone(), inner.config.container_dir(&entry.id), layout, files))
    };
    inner.entries().values().filter_map(of).collect()
}

/// Goes on for as long as the engine exists.
pub(super) async fn compress_logs(engine: Weak<Inner>) {
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let Some(inner) = engine.upgrade() else { return };
        let asked = asked(&inner);
        drop(inner);
        for (id, dir, layout, files) in asked {
            let container = id.clone();
            let done = tokio::task::spawn_blocking(move || packed::compress(&dir, &id, layout, files)).await;
            match done {
                // Its directory goes with a container that is removed meanwhile.
                Ok(Err(error)) if error.kind() != ErrorKind::NotFound => {
                    tracing::warn!(container, %error, "an old file of its log is not compressed");
                }
                _ => {}
            }
        }
    }
}
