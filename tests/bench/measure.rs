//! Times of two sides that take turns, and what of them is worth printing: the
//! least and the middle one, and the ratio of each.

use std::time::{Duration, Instant};

/// One line of the table.
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) ours: Vec<Duration>,
    pub(crate) peer: &'static str,
    pub(crate) theirs: Vec<Duration>,
}

/// How long it took.
pub(crate) fn time(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

/// Measures both sides `times` times, taking turns.
pub(crate) fn turns(
    times: usize,
    mut ours: impl FnMut() -> Duration,
    mut theirs: impl FnMut() -> Duration,
) -> (Vec<Duration>, Vec<Duration>) {
    (0..times).map(|_| (ours(), theirs())).unzip()
}

/// Prints the heading.
pub(crate) fn head() {
    println!(
        "{:<44} {:>10} {:>10}   {:<22} {:>10} {:>10}   {:>8} {:>8}",
        "", "least", "middle", "peer", "least", "middle", "ratio", "ratio"
    );
}

/// Prints a row; a ratio of 2 means that the peer takes twice as long.
pub(crate) fn print(row: &Row) {
    let (ours, theirs) = (least_and_middle(&row.ours), least_and_middle(&row.theirs));
    let shown = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    println!(
        "{:<44} {:>10} {:>10}   {:<22} {:>10} {:>10}   {:>7.1}x {:>7.1}x",
        row.what,
        shown(ours.0),
        shown(ours.1),
        row.peer,
        shown(theirs.0),
        shown(theirs.1),
        theirs.0.as_secs_f64() / ours.0.as_secs_f64(),
        theirs.1.as_secs_f64() / ours.1.as_secs_f64(),
    );
}

fn least_and_middle(times: &[Duration]) -> (Duration, Duration) {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    (sorted[0], sorted[sorted.len() / 2])
}
