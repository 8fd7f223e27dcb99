//! Work that several ask for at the same time is done once.
//!
//! The first to ask does it in its own future. Who comes meanwhile waits, and takes a success as its own; if the first
//! fails or is dropped, the next in line starts anew. So nobody's work depends on a task that nobody owns.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

/// What was last achieved under a key, and when.
type Slot<T> = tokio::sync::Mutex<Option<(Instant, T)>>;

/// Shares work by key.
#[derive(Debug)]
pub(crate) struct Shared<T> {
    slots: Mutex<HashMap<String, Weak<Slot<T>>>>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self { slots: Mutex::default() }
    }
}

impl<T: Clone> Shared<T> {
    /// Does `work`, or takes the result of the same work if that ended while this call waited for it.
    pub(crate) async fn run<E>(&self, key: &str, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let arrived = Instant::now();
        let slot = self.slot(key);
        let mut last = slot.lock().await;
        if let Some((_, result)) = last.as_ref().filter(|(ended, _)| *ended >= arrived) {
            return Ok(result.clone());
        }
        let result = work.await?;
        *last = Some((Instant::now(), result.clone()));
        Ok(result)
    }

    fn slot(&self, key: &str) -> Arc<Slot<T>> {
        // Nothing panics while the map is locked, and a map of weak references cannot be half-changed.
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(key).and_then(Weak::upgrade) {
            return slot;
        }
        slots.retain(|_, slot| slot.strong_count() > 0);
        let slot = Arc::new(Slot::new(None));
        slots.insert(key.to_owned(), Arc::downgrade(&slot));
        slot
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    async fn slow(count: &AtomicUsize, outcome: Result<usize, ()>) -> Result<usize, ()> {
        count.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
        outcome
    }

    #[tokio::test]
    async fn work_is_done_once_for_all_who_ask_meanwhile_and_again_for_who_asks_later() {
        let (shared, count) = (Shared::default(), AtomicUsize::new(0));
        let asks = (0..10).map(|_| shared.run("key", slow(&count, Ok(7))));
        assert_eq!(futures::future::join_all(asks).await, vec![Ok(7); 10]);
        assert_eq!(count.load(Ordering::SeqCst), 1);
        shared.run("key", slow(&count, Ok(7))).await.unwrap();
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn after_a_failure_or_a_drop_the_next_in_line_starts_anew() {
        let (shared, count) = (Shared::default(), AtomicUsize::new(0));
        let dropped = tokio::time::timeout(Duration::from_millis(5), shared.run("key", slow(&count, Ok(1))));
        let (dropped, failed, worked) = tokio::join!(
            dropped,
            shared.run("key", slow(&count, Err(()))),
            shared.run("key", slow(&count, Ok(3)))
        );
        assert!(dropped.is_err());
        assert_eq!((failed, worked, count.load(Ordering::SeqCst)), (Err(()), Ok(3), 3));
    }
}
