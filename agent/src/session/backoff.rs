//! Pauses that double from 100 ms to 8 s, each shortened by a random part so
//! that the agents of a controller that comes back do not all come at once.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LAST: Duration = Duration::from_secs(8);

/// The next pause.
#[derive(Debug, Clone)]
pub struct Backoff {
    next: Duration,
}

impl Backoff {
    /// Begins at 100 ms.
    pub fn new() -> Self {
        Self { next: FIRST }
    }

    /// Begins anew, after a success.
    pub fn reset(&mut self) {
        self.next = FIRST;
    }

    /// Between half of the current step and all of it; the step then doubles.
    pub fn pause(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(LAST);
        // Each `RandomState` has fresh keys: a random number without a crate for it.
        let part = RandomState::new().hash_one(0u8) % 1000;
        step / 2 + step.mul_f64(0.5) * u32::try_from(part).unwrap_or(0) / 1000
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_a_tenth_of_a_second_to_eight_and_begin_anew_after_success() {
        let mut backoff = Backoff::new();
        let mut step = FIRST;
        for _ in 0..12 {
            let pause = backoff.pause();
            assert!(pause >= step / 2 && pause <= step, "{pause:?} for {step:?}");
            step = (step * 2).min(LAST);
        }
        assert_eq!(step, LAST);
        backoff.reset();
        assert!(backoff.pause() <= FIRST);
    }

    #[test]
    fn two_agents_do_not_pause_alike() {
        let pauses: std::collections::BTreeSet<_> = (0..20).map(|_| Backoff::new().pause()).collect();
        assert!(pauses.len() > 5);
    }
}
