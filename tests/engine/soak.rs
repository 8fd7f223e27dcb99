//! Endurance: containers are run, attached to, entered and removed over and over through the agent's API, and
//! agent and keeper hold afterwards what they held before: descriptors, threads, memory, files. A few hundred
//! rounds in `make test`; `make soak` sets SOAK_CYCLES to 10,000. And when nothing happens they do nothing.

mod client;
mod footprint;

use std::time::{Duration, Instant};

use client::Client;
use footprint::Footprint;
use itest::host::Host;
use itest::inventory;
use itest::solo::Solo;

use crate::scratch;

/// Cycles in `make test`.
const FEW: usize = 150;
/// Cycles before the first look, so many at a time: what is kept, such as the last events and some connections to
/// the keeper, is bounded, and there is as much of it as there can be after these.
const BEFORE: (usize, usize) = (240, 16);
/// Cycles that are under way at a time.
const BESIDE: usize = 3;
/// Until threads that had nothing to do for 10 s have ended.
const SETTLED: Duration = Duration::from_millis(11_500);
/// What memory may differ by between two looks without anybody having kept anything, in KiB.
const NOISE_KIB: usize = 768;
/// What it may grow by in 1,000 cycles, in KiB.
const GROWTH_KIB: usize = 24;

fn look(solo: &Solo<'_>) -> Footprint {
    std::thread::sleep(SETTLED);
    Footprint::of(solo)
}

#[test]
fn descriptors_threads_memory_and_files_do_not_grow_with_use() {
    let cycles = std::env::var("SOAK_CYCLES").ok().and_then(|text| text.parse().ok()).unwrap_or(FEW);
    let rounds = if cycles > 1000 { 10 } else { 1 };
    let (scratch, host) = (scratch(), Host::new("soak"));
    let solo = Solo::start(&host, scratch.path());
    let client = Client::new(&solo);
    client.cycles(BEFORE.0, BEFORE.1);
    client.cycles(cycles / 10, BESIDE);
    let before = look(&solo);
    let empty = inventory::of(&host, scratch.path());
    eprintln!("{:>6} cycles: {before}", 0);
    let mut wrong = Vec::new();
    let mut done = 0;
    for _ in 0..rounds {
        let begun = Instant::now();
        client.cycles(cycles / rounds, BESIDE);
        done += cycles / rounds;
        let rate = (cycles / rounds) as f64 / begun.elapsed().as_secs_f64();
        let now = look(&solo);
        eprintln!("{done:>6} cycles: {now}; {rate:.0}/s");
        wrong.extend(now.grown_since(&before, NOISE_KIB + GROWTH_KIB * done / 1000));
    }
    assert!(wrong.is_empty(), "after {done} cycles:\n{}", wrong.join("\n"));
    let left = inventory::added(&empty, &inventory::of(&host, scratch.path()));
    assert!(left.is_empty(), "left on the host: {left}");
}

/// How often the threads of a process have gone to sleep.
fn sleeps(pid: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").flatten();
    let of = |thread: std::fs::DirEntry| {
        let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|line| line.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    threads.map(of).sum()
}

#[test]
fn nobody_wakes_up_while_nothing_happens() {
    const SECONDS: u64 = 5;
    let (scratch, host) = (scratch(), Host::new("idle"));
    let solo = Solo::start(&host, scratch.path());
    solo.ctl(&["container", "run", "-d", "roadstead/hello"]);
    // Records are written half a second later, threads that were needed end after ten.
    std::thread::sleep(SETTLED);
    let both = [solo.agent_pid(), solo.keeper_pid()];
    let before = both.map(sleeps);
    std::thread::sleep(Duration::from_secs(SECONDS));
    let [agent, keeper] = [0, 1].map(|which| sleeps(both[which]) - before[which]);
    eprintln!("in {SECONDS} s the agent slept {agent} times, the keeper {keeper}");
    assert_eq!(keeper, 0, "the keeper has nothing to wake up for");
    // The threads of the database look around once a second, eight at most.
    assert!(agent <= 10 * SECONDS, "the agent slept {agent} times in {SECONDS} s");
}
