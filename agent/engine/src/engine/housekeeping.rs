//! Keeping the store of images in order beside everything else: what a crash left goes when the engine opens, what
//! was kept for a container goes after it, and where that is wished, unused images go when the disk fills.
//!
//! Only what a registry has, too, goes for want of room, and what has no name; never what was made or loaded here,
//! what a container uses, or what was pulled or used a short while ago. The longest unused goes first.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Weak};

use tokio::sync::Notify;

use super::Inner;
use crate::EngineError;
use crate::config::ImageGc;
use crate::container::create::now_ms;
use crate::content::Digest;
use crate::image::Reference;

/// Goes on for as long as the engine exists, which it does not keep.
pub(super) async fn keep(engine: Weak<Inner>, garbage: Arc<Notify>, gc: Option<ImageGc>) {
    loop {
        let Some(inner) = engine.upgrade() else { return };
        inner.collect_quietly().await;
        drop(inner);
        let Some(gc) = gc else {
            garbage.notified().await;
            continue;
        };
        // Until a container is gone for which something was kept.
        while tokio::time::timeout(gc.every, garbage.notified()).await.is_err() {
            let Some(inner) = engine.upgrade() else { return };
            if let Err(error) = make_room(&inner, gc).await {
                tracing::warn!(%error, "unused images cannot be removed to make room");
            }
        }
    }
}

/// Removes unused images if the file system is too full, until it is not.
async fn make_room(inner: &Arc<Inner>, gc: ImageGc) -> Result<(), EngineError> {
    let full = |mark: u8| fullness(&inner.config.data_dir).is_some_and(|percent| percent >= u64::from(mark));
    if !full(gc.high) {
        return Ok(());
    }
    inner.images.collect(|| inner.images_in_use()).await?;
    let spare = u64::try_from(gc.spare.as_millis()).unwrap_or(u64::MAX);
    let (mut count, mut bytes) = (0, 0);
    for id in inner.images.expendable(now_ms().saturating_sub(spare)).await? {
        if !full(gc.low) {
            break;
        }
        let users = |all: &BTreeSet<Digest>, names: &[Reference]| inner.image_users(all, names);
        if let Some(freed) = inner.images.make_room(&id, &users, &|| inner.images_in_use()).await? {
            tracing::info!(image = %id, bytes = freed.bytes(), "removed an unused image to make room");
            (count, bytes) = (count + 1, bytes + freed.bytes());
        }
    }
    let percent = fullness(&inner.config.data_dir).unwrap_or_default();
    if full(gc.low) {
        tracing::warn!(
            percent,
            removed = count,
            bytes,
            "the file system stays fuller than it should be: no further image may be removed"
        );
    }
    Ok(())
}

/// How full the file system of a directory is, in percent, as `df` counts it; `None` when it does not say.
fn fullness(directory: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(directory).ok()?;
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    let all = used.saturating_add(stat.f_bavail);
    (all > 0).then(|| used.saturating_mul(100).div_ceil(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_says_how_full_it_is() {
        assert!(fullness(Path::new("/")).is_some_and(|percent| percent <= 100));
        assert_eq!(fullness(Path::new("/nowhere")), None);
    }
}
