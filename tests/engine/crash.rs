//! Kills the agent, the keeper or both before each system call of each verb, restarts the host in between or
//! not, and looks at the whole host afterwards: nothing is there that is in no record, nothing is missing that
//! is, what was answered holds, and what was not answered has happened or has not. `make test` takes a few
//! calls of each kind, by a seed that it prints (ROADSTEAD_CRASH_SEED repeats it); `make crash` takes all, with
//! ROADSTEAD_CRASH=all, and =first does that until something is wrong.

mod bench;
mod images;
mod trace;
mod verb;
mod whole;

use bench::Bench;
use itest::host::Host;
use verb::{Fate, Side, Verb};

use crate::scratch;

/// Calls of each kind that `make test` takes.
const SAMPLES: usize = 2;

pub(crate) fn kill_now(process: u32) {
    if let Ok(process) = i32::try_from(process) {
        // Dead already is as good.
        let _ =
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(process), nix::sys::signal::Signal::SIGKILL);
    }
}

/// Numbers from a seed: Marsaglia's xorshift.
struct Random(u64);

impl Random {
    /// From the environment, else from the clock. It is printed.
    fn new() -> Random {
        let given = std::env::var("ROADSTEAD_CRASH_SEED").ok().and_then(|seed| seed.parse().ok());
        let clock = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seed = given.or_else(|| clock().ok().map(|now| u64::from(now.subsec_nanos()))).unwrap_or(1);
        eprintln!("ROADSTEAD_CRASH_SEED={seed}");
        Random(seed | 1)
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % end.max(1)
    }
}

/// All calls of a verb, or a few of them.
fn sweep(verb: Verb, fates: &[Fate]) {
    let mode = std::env::var("ROADSTEAD_CRASH").unwrap_or_default();
    let (all, is_enough) = (mode == "all" || mode == "first", mode == "first");
    let mut random = Random::new();
    let (scratch, host) = (scratch(), Host::new("crash"));
    let mut bench = Bench::new(&host, scratch.path(), fates == [Fate::Host]);
    bench.one_is_enough = is_enough;
    let mut tries = 0;
    for side in [Side::Agent, Side::Keeper] {
        let calls = bench.run(verb, side, None, None).calls;
        eprintln!("{verb:?}: {calls} calls of the {side:?}");
        for fate in fates {
            if all {
                let mut at = 1;
                // Until it is through: the number of calls differs from time to time.
                while bench.run(verb, side, Some(*fate), Some(at)).killed_before.is_some() {
                    at += 1;
                }
                tries += at - 1;
            } else if calls > 0 {
                for _ in 0..SAMPLES {
                    bench.run(verb, side, Some(*fate), Some(random.below(calls) + 1));
                }
                tries += SAMPLES;
            }
        }
    }
    eprintln!("{verb:?}: {tries} kills of {fates:?}");
    let wrong = bench.wrong;
    assert!(wrong.is_empty(), "{} of {tries} kills:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn create_is_whole_or_gone_whenever_it_is_cut_short() {
    sweep(Verb::Create, &Fate::KILLS);
}

#[test]
fn create_with_volumes_is_whole_or_gone_whenever_it_is_cut_short() {
    sweep(Verb::CreateWithVolumes, &Fate::KILLS);
}

#[test]
fn removal_with_volumes_is_whole_or_gone_whenever_it_is_cut_short() {
    sweep(Verb::RemoveWithVolumes, &Fate::KILLS);
}

#[test]
fn removal_with_volumes_is_whole_or_gone_when_the_host_restarts_in_the_middle() {
    sweep(Verb::RemoveWithVolumes, &[Fate::Host]);
}

#[test]
fn run_is_whole_or_gone_whenever_it_is_cut_short() {
    sweep(Verb::Run, &Fate::KILLS);
}

#[test]
fn start_has_happened_or_has_not_whenever_it_is_cut_short() {
    sweep(Verb::Start, &Fate::KILLS);
}

#[test]
fn exec_has_happened_or_has_not_whenever_it_is_cut_short() {
    sweep(Verb::Exec, &Fate::KILLS);
}

#[test]
fn stop_is_whole_or_gone_whenever_it_is_cut_short() {
    sweep(Verb::Stop, &Fate::KILLS);
}

#[test]
fn removal_is_whole_or_gone_whenever_it_is_cut_short() {
    sweep(Verb::Remove, &Fate::KILLS);
}

#[test]
fn forced_removal_is_whole_or_gone_whenever_it_is_cut_short() {
    sweep(Verb::RemoveRunning, &Fate::KILLS);
}

#[test]
fn create_is_whole_or_gone_when_the_host_restarts_in_the_middle() {
    sweep(Verb::Create, &[Fate::Host]);
}

#[test]
fn start_has_happened_or_has_not_when_the_host_restarts_in_the_middle() {
    sweep(Verb::Start, &[Fate::Host]);
}

#[test]
fn exec_is_forgotten_when_the_host_restarts_in_the_middle() {
    sweep(Verb::Exec, &[Fate::Host]);
}

#[test]
fn stop_has_happened_when_the_host_restarts_in_the_middle() {
    sweep(Verb::Stop, &[Fate::Host]);
}

#[test]
fn removal_is_whole_or_gone_when_the_host_restarts_in_the_middle() {
    sweep(Verb::Remove, &[Fate::Host]);
}

#[test]
fn forced_removal_is_whole_or_gone_when_the_host_restarts_in_the_middle() {
    sweep(Verb::RemoveRunning, &[Fate::Host]);
}
