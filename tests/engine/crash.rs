//! Kills the agent, the keeper or both before each system call of each verb,
//! and looks at the whole host afterwards: nothing is there that is in no record,
//! nothing is missing that is, what was answered holds, and what was not answered has
//! happened or has not. `make test` takes a few calls of each kind, by a seed that it
//! prints (ROADSTEAD_CRASH_SEED repeats it); `make crash` takes all.

mod trace;
mod whole;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use itest::host::Host;
use itest::solo::Solo;
use itest::{inventory, programs, wait};
use serde_json::Value;
use trace::{Seen, Trace};

use crate::scratch;

/// After a crash everything is in order within this time.
const IN_ORDER: Duration = Duration::from_secs(15);
/// Calls of each kind that `make test` takes.
const SAMPLES: usize = 3;
/// The one container there is.
const NAME: &str = "victim";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Create,
    Run,
    Stop,
    Remove,
    RemoveRunning,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Agent,
    Keeper,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Victims {
    agent: bool,
    keeper: bool,
}

const ALL_VICTIMS: [Victims; 3] = [
    Victims { agent: true, keeper: false },
    Victims { agent: false, keeper: true },
    Victims { agent: true, keeper: true },
];

pub(crate) fn kill_now(process: u32) {
    if let Ok(process) = i32::try_from(process) {
        // Dead already is as good.
        let _ =
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(process), nix::sys::signal::Signal::SIGKILL);
    }
}

impl Verb {
    /// What must be there before.
    fn prepare(self, solo: &Solo<'_>) {
        match self {
            Verb::Create | Verb::Run => {}
            Verb::Remove => {
                solo.ctl(&CREATE);
                mark(solo);
            }
            Verb::Stop | Verb::RemoveRunning => {
                solo.ctl(&RUN);
            }
        }
    }

    fn arguments(self) -> Vec<&'static str> {
        match self {
            Verb::Create => CREATE.to_vec(),
            Verb::Run => RUN.to_vec(),
            Verb::Stop => vec!["container", "stop", NAME],
            Verb::Remove => vec!["container", "rm", NAME],
            Verb::RemoveRunning => vec!["container", "rm", "--force", NAME],
        }
    }

    /// What may be said of the container afterwards; "none" when there is none.
    fn allowed(self, was_answered: bool, keeper_died: bool) -> &'static [&'static str] {
        match (self, was_answered, keeper_died) {
            (Verb::Create, true, _) => &["created"],
            (Verb::Create, false, _) => &["created", "none"],
            (Verb::Run, true, false) => &["running"],
            // It ended with the keeper, and that it ran is not forgotten; or it was started by the next one.
            (Verb::Run, true, true) => &["exited", "running"],
            (Verb::Run, false, false) => &["none", "created", "running"],
            (Verb::Run, false, true) => &["none", "created", "exited", "running"],
            (Verb::Stop, true, _) | (Verb::Stop, false, true) => &["exited"],
            (Verb::Stop, false, false) => &["running", "exited"],
            (Verb::Remove | Verb::RemoveRunning, true, _) => &["none"],
            (Verb::Remove, false, _) => &["created", "none"],
            (Verb::RemoveRunning, false, false) => &["running", "exited", "none"],
            (Verb::RemoveRunning, false, true) => &["exited", "none"],
        }
    }
}

const CREATE: [&str; 7] = ["container", "create", "--name", NAME, "--publish", "18080:80", "roadstead/hello"];
const RUN: [&str; 8] =
    ["container", "run", "--detach", "--name", NAME, "--publish", "18080:80", "roadstead/hello"];

fn containers(solo: &Solo<'_>) -> Value {
    solo.json(&["container", "ls", "--all"])
}

fn upper(solo: &Solo<'_>) -> std::path::PathBuf {
    let id = containers(solo)[0]["id"].as_str().unwrap_or_default().to_owned();
    solo.root().join("data/agent/snapshots/containers").join(id).join("upper/mark")
}

/// Something that only this container has.
fn mark(solo: &Solo<'_>) {
    std::fs::write(upper(solo), "kept").expect("it has a snapshot");
}

/// A host with an agent, and how it looks when it has no container.
struct Bench<'h> {
    solo: Solo<'h>,
    host: &'h Host,
    empty: BTreeSet<String>,
    nobody: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Bench<'_> {
    /// One try: the verb, killed before the `at`-th call.
    fn run(&mut self, verb: Verb, side: Side, victims: Victims, at: Option<usize>) -> Seen {
        verb.prepare(&self.solo);
        let (agent, keeper) = (self.solo.agent_pid(), self.solo.keeper_pid());
        let run = self.solo.root().join("data/run");
        let (process, socket) = match side {
            Side::Agent => (agent, run.join("agent.sock")),
            Side::Keeper => (keeper, run.join("keeper.sock")),
        };
        let doomed = [(victims.agent, agent), (victims.keeper, keeper)];
        let doomed = doomed.iter().filter(|(dies, _)| *dies).map(|(_, process)| *process).collect();
        let trace = Trace::start(process, at, doomed, socket);
        let output = self.solo.try_ctl(&verb.arguments());
        let seen = trace.end();
        let what = format!("{verb:?} traced {side:?}, killed {victims:?} before call {at:?} of {seen:?}");
        let died = Victims {
            agent: victims.agent && seen.killed_before.is_some(),
            keeper: victims.keeper && seen.killed_before.is_some(),
        };
        if !output.status.success() {
            assert!(died.agent || died.keeper, "{what}: {}", programs::said(&output));
        }
        if died.agent {
            self.solo.start_after_death();
        }
        if let Err(wrong) = self.check(verb, output.status.success(), died, keeper) {
            let wrong = format!("{what}: {wrong}\nctl: {}\n{}", programs::said(&output), self.logs());
            eprintln!("{wrong}");
            self.wrong.push(wrong);
        }
        self.clear(&what);
        seen
    }

    /// The last that agent and keeper said.
    fn logs(&self) -> String {
        let tail = |name: &str| {
            let text = std::fs::read_to_string(self.solo.root().join("data").join(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(12)..].join("\n")
        };
        format!("{}\n{}", tail("agent.log"), tail("agent/keeper.log"))
    }

    fn check(&self, verb: Verb, was_answered: bool, died: Victims, old_keeper: u32) -> Result<(), String> {
        let allowed = verb.allowed(was_answered, died.keeper);
        let begun = Instant::now();
        let look = || {
            let keeper = self.solo.find_keeper().filter(|keeper| !died.keeper || *keeper != old_keeper);
            keeper.ok_or("there is no keeper")?;
            let containers = containers(&self.solo);
            let state = containers[0]["state"].as_str().unwrap_or("none").to_owned();
            let wrong =
                whole::difference(&whole::found(self.host, self.solo.root()), &self.nobody, &containers);
            match (allowed.contains(&state.as_str()), wrong.is_empty()) {
                (true, true) => Ok(()),
                _ => Err(format!("it is {state}, allowed {allowed:?} (answered: {was_answered})\n{wrong}")),
            }
        };
        loop {
            match look() {
                Ok(()) => break,
                Err(wrong) if begun.elapsed() > IN_ORDER => return Err(wrong),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
        let is_there = containers(&self.solo)[0]["state"].is_string();
        if is_there && verb == Verb::Remove {
            return if upper(&self.solo).exists() {
                Ok(())
            } else {
                Err("it is there, but its files are gone".to_owned())
            };
        }
        Ok(())
    }

    /// Removes the container, if it is there, and compares the host with what it was.
    fn clear(&self, what: &str) {
        if containers(&self.solo)[0].is_object() {
            self.solo.ctl(&["container", "rm", "--force", NAME]);
        }
        wait::until(what, IN_ORDER, || {
            let now = inventory::of(self.host, self.solo.root());
            let left = inventory::added(&self.empty, &now);
            let gone = inventory::added(&now, &self.empty);
            if left.is_empty() && gone.is_empty() {
                Ok(())
            } else {
                Err(format!("left: {left}\ngone: {gone}"))
            }
        });
    }

    /// All calls of a verb, or a few of them.
    fn sweep(&mut self, verb: Verb, random: &mut impl FnMut() -> usize, all: bool) -> usize {
        let mut tries = 0;
        for side in [Side::Agent, Side::Keeper] {
            let nobody = Victims { agent: false, keeper: false };
            let calls = self.run(verb, side, nobody, None).calls;
            eprintln!("{verb:?}: {calls} calls of the {side:?}");
            for victims in ALL_VICTIMS {
                if all {
                    let mut at = 1;
                    // Until it is through: the number of calls differs from time to time.
                    while self.run(verb, side, victims, Some(at)).killed_before.is_some() {
                        at += 1;
                    }
                    tries += at;
                } else if calls > 0 {
                    for _ in 0..SAMPLES {
                        self.run(verb, side, victims, Some(random() % calls + 1));
                    }
                    tries += SAMPLES;
                }
            }
        }
        tries
    }
}

fn sweep(verb: Verb) {
    let all = std::env::var("ROADSTEAD_CRASH").is_ok_and(|value| value == "all");
    let given = std::env::var("ROADSTEAD_CRASH_SEED").ok().and_then(|seed| seed.parse().ok());
    let clock = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed: u64 = given.or_else(|| clock().ok().map(|now| u64::from(now.subsec_nanos()))).unwrap_or(1);
    eprintln!("ROADSTEAD_CRASH_SEED={seed}");
    let mut state = seed | 1;
    let mut random = move || {
        // Marsaglia's xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap_or(0)
    };
    let (scratch, host) = (scratch(), Host::new("crash"));
    let root: &Path = scratch.path();
    let solo = Solo::start(&host, root);
    // The first container makes what all share.
    solo.ctl(&RUN);
    solo.ctl(&["container", "rm", "--force", NAME]);
    let empty = inventory::of(&host, root);
    let nobody = whole::found(&host, root);
    let mut bench = Bench { solo, host: &host, empty, nobody, wrong: Vec::new() };
    let tries = bench.sweep(verb, &mut random, all);
    eprintln!("{verb:?}: {tries} kills");
    assert!(bench.wrong.is_empty(), "{} of {tries} kills:\n{}", bench.wrong.len(), bench.wrong.join("\n"));
}

#[test]
fn create_is_whole_or_gone_whenever_it_is_cut_short() {
    sweep(Verb::Create);
}

#[test]
fn run_is_whole_or_gone_whenever_it_is_cut_short() {
    sweep(Verb::Run);
}

#[test]
fn stop_is_whole_or_gone_whenever_it_is_cut_short() {
    sweep(Verb::Stop);
}

#[test]
fn removal_is_whole_or_gone_whenever_it_is_cut_short() {
    sweep(Verb::Remove);
}

#[test]
fn forced_removal_is_whole_or_gone_whenever_it_is_cut_short() {
    sweep(Verb::RemoveRunning);
}
