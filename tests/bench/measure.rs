//! Times of sides that take turns, and what of them is worth printing: the
//! least and the middle one, and ratios.

use std::time::{Duration, Instant};

use itest::calls::Calls;

/// One line of the table of two sides.
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) ours: Vec<Duration>,
    pub(crate) peer: &'static str,
    pub(crate) theirs: Vec<Duration>,
}

/// What one side of several took, turn by turn.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples {
    pub(crate) wall: Vec<Duration>,
    pub(crate) cpu: Vec<Duration>,
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

/// Prints the heading of rows.
pub(crate) fn head() {
    println!(
        "{:<44} {:>10} {:>10}   {:<22} {:>10} {:>10}   {:>8} {:>8}",
        "", "least", "middle", "peer", "least", "middle", "ratio", "ratio"
    );
}

/// Prints a row; a ratio of 2 means that the peer takes twice as long.
pub(crate) fn print(row: &Row) {
    let (ours, theirs) = (least_and_middle(&row.ours), least_and_middle(&row.theirs));
    println!(
        "{:<44} {:>10} {:>10}   {:<22} {:>10} {:>10}   {:>7.1}x {:>7.1}x",
        row.what,
        shown(ours.0),
        shown(ours.1),
        row.peer,
        shown(theirs.0),
        shown(theirs.1),
        ratio(theirs.0, ours.0),
        ratio(theirs.1, ours.1),
    );
}

/// Prints the heading of sides.
pub(crate) fn head_of_sides() {
    println!(
        "{:<24} {:>9} {:>9} {:>7} {:>7}   {:>9} {:>7}   {:>7} {:>6} {:>5} {:>6}",
        "", "least", "middle", "ratio", "ratio", "cpu", "ratio", "calls", "clone", "exec", "fsync"
    );
}

/// Prints a side: its times, how many times those of the reference they are, what it used of the processors, and
/// its system calls per life.
pub(crate) fn print_side(name: &str, side: &Samples, reference: &Samples, calls: &Calls, lives: u64) {
    let (wall, cpu) = (least_and_middle(&side.wall), least_and_middle(&side.cpu));
    let (of_wall, of_cpu) = (least_and_middle(&reference.wall), least_and_middle(&reference.cpu));
    let per_life = |count: u64| count as f64 / lives as f64;
    println!(
        "{:<24} {:>9} {:>9} {:>6.1}x {:>6.1}x   {:>9} {:>6.1}x   {:>7.0} {:>6.1} {:>5.1} {:>6.1}",
        name,
        shown(wall.0),
        shown(wall.1),
        ratio(wall.0, of_wall.0),
        ratio(wall.1, of_wall.1),
        shown(cpu.1),
        ratio(cpu.1, of_cpu.1),
        per_life(calls.all()),
        per_life(calls.of(&["clone", "clone3", "fork", "vfork"])),
        per_life(calls.of(&["execve", "execveat"])),
        per_life(calls.of(&["fsync", "fdatasync", "sync_file_range", "syncfs"])),
    );
}

pub(crate) fn shown(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

pub(crate) fn ratio(over: Duration, under: Duration) -> f64 {
    over.as_secs_f64() / under.as_secs_f64()
}

pub(crate) fn least_and_middle(times: &[Duration]) -> (Duration, Duration) {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    (sorted[0], sorted[sorted.len() / 2])
}
