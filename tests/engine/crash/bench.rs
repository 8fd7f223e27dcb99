//! A host with an agent, one try of a verb on it, and the look at the host afterwards.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use itest::dev::{kill, processes_of};
use itest::host::Host;
use itest::solo::Solo;
use itest::{inventory, programs, wait};

use super::trace::{Seen, Trace};
use super::verb::{Fate, NAME, Outcome, RUN, Side, Verb, containers, upper};
use super::whole;

/// After a crash everything is in order within this time.
const IN_ORDER: Duration = Duration::from_secs(15);

/// Descriptors of a keeper without containers, with ten connections of an agent. Many agents die before one keeper.
const DESCRIPTORS: usize = 48;

/// A host with an agent, and how it looks when it has no container.
pub(super) struct Bench<'h> {
    solo: Solo<'h>,
    host: &'h Host,
    empty: BTreeSet<String>,
    nobody: BTreeSet<String>,
    /// Counts boots of a host that is restarted.
    boots: Option<u32>,
    pub(super) wrong: Vec<String>,
    /// Fail at the first thing that is wrong.
    pub(super) one_is_enough: bool,
}

fn boot(number: u32) -> String {
    format!("{number:08x}-0000-4000-8000-000000000000")
}

impl<'h> Bench<'h> {
    /// `restarts`: whether the host will be restarted after each try.
    pub(super) fn new(host: &'h Host, root: &Path, restarts: bool) -> Bench<'h> {
        let solo = if restarts { Solo::start_in_boot(host, root, &boot(0)) } else { Solo::start(host, root) };
        use_once(&solo);
        let (empty, nobody) = (inventory::of(host, root), whole::found(host, root));
        let boots = restarts.then_some(0);
        Bench { solo, host, empty, nobody, boots, wrong: Vec::new(), one_is_enough: false }
    }

    /// One try: the verb, killed before the `at`-th call.
    pub(super) fn run(&mut self, verb: Verb, side: Side, fate: Option<Fate>, at: Option<usize>) -> Seen {
        verb.prepare(&self.solo);
        let (agent, keeper) = (self.solo.agent_pid(), self.solo.keeper_pid());
        let run = self.solo.root().join("data/run");
        let (process, socket) = match side {
            Side::Agent => (agent, run.join("agent.sock")),
            Side::Keeper => (keeper, run.join("keeper.sock")),
        };
        let takes = |who: fn(Fate) -> bool| fate.is_some_and(who);
        let doomed = [(takes(Fate::takes_agent), agent), (takes(Fate::takes_keeper), keeper)];
        let doomed = doomed.iter().filter(|(dies, _)| *dies).map(|(_, process)| *process).collect();
        let trace = Trace::start(process, at, doomed, socket);
        let output = self.solo.try_ctl(&verb.arguments());
        let seen = trace.end();
        let what = format!("{verb:?} traced {side:?}, killed {fate:?} before call {at:?} of {seen:?}");
        let mut died = fate.filter(|_| seen.killed_before.is_some());
        let was_answered = output.status.success();
        assert!(was_answered || died.is_some(), "{what}: {}", programs::said(&output));
        if self.boots.is_some() {
            // Also when nobody was killed: what was answered then holds after a restart.
            died = Some(Fate::Host);
            self.restart_host();
        } else if died.is_some_and(Fate::takes_agent) {
            self.solo.start_after_death();
        }
        if let Err(wrong) = self.check(verb, Outcome { was_answered, died }, keeper) {
            let wrong = format!("{what}: {wrong}\nctl: {}\n{}", programs::said(&output), self.logs());
            eprintln!("{wrong}");
            assert!(!self.one_is_enough, "{wrong}");
            self.wrong.push(wrong);
        }
        self.clear(&what);
        seen
    }

    /// Ends everything that a restart of a host ends, and starts the agent in another boot.
    fn restart_host(&mut self) {
        let root = self.solo.root().to_owned();
        wait::until("nothing runs", IN_ORDER, || {
            let left = [processes_of(&root), inventory::processes_in_cgroups(&root)].concat();
            for (pid, _) in &left {
                kill(*pid, "KILL");
            }
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
        inventory::remove_cgroups(&root);
        self.host.restart();
        // Mounts went with the mount namespace of the agent.
        std::fs::remove_dir_all(root.join("data/run")).expect("nothing is mounted there");
        let number = self.boots.map_or(1, |number| number + 1);
        self.boots = Some(number);
        self.solo.reboot(self.host, &boot(number));
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

    fn check(&self, verb: Verb, outcome: Outcome, old_keeper: u32) -> Result<(), String> {
        let allowed = verb.allowed(outcome);
        let is_new = outcome.died.is_some_and(Fate::takes_keeper);
        let look = || {
            let keeper = self.solo.find_keeper().filter(|keeper| !is_new || *keeper != old_keeper);
            let keeper = keeper.ok_or("there is no keeper")?;
            let containers = containers(&self.solo);
            let state = containers[0]["state"].as_str().unwrap_or("none").to_owned();
            let found = whole::found(self.host, self.solo.root());
            let mut wrong = whole::difference(&found, &self.nobody, &containers);
            wrong.extend(whole::unreaped(keeper));
            wrong.extend(verb.lost_or_left(&self.solo, containers[0].is_object()));
            let processes = inventory::processes_in_cgroups(self.solo.root());
            wrong.extend(verb.complaint(outcome, &containers[0], &processes));
            match (allowed.contains(&state.as_str()), wrong.is_empty()) {
                (true, true) => Ok(()),
                _ => Err(format!("it is {state}, allowed {allowed:?} ({outcome:?})\n{}", wrong.join("\n"))),
            }
        };
        let begun = Instant::now();
        loop {
            match look() {
                Ok(()) => break,
                Err(wrong) if begun.elapsed() > IN_ORDER => return Err(wrong),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
        let container = &containers(&self.solo)[0];
        if container.is_object() && verb.keeps_its_mark() && !upper(&self.solo).exists() {
            return Err("it is there, but its files are gone".to_owned());
        }
        if let Some(id) = container["id"].as_str() {
            let filter = format!("container={id}");
            let all = ["events", "--since", "1h", "--until", "0s", "--output", "json"];
            let ends = self.solo.ctl(&[&all[..], &["--filter", "event=die", "--filter", &filter]].concat());
            // An end that was told and is then found out again was not on disk.
            if ends.lines().count() > 1 {
                return Err(format!("it ran once, and its end was told more than once:\n{ends}"));
            }
        }
        // What is said to be there is of use.
        if container["state"] == "created" || container["state"] == "exited" {
            let output = self.solo.try_ctl(&["container", "start", NAME]);
            if !output.status.success() {
                return Err(format!("it cannot be started any more: {}", programs::said(&output)));
            }
        }
        Ok(())
    }

    /// Removes the container, if it is there, and compares the host with what it was.
    fn clear(&self, what: &str) {
        if containers(&self.solo)[0].is_object() {
            self.solo.ctl(&["container", "rm", "--force", "--volumes", NAME]);
        }
        // Left by some verbs, and by their nature.
        self.solo.try_ctl(&["volume", "rm", "data"]);
        if self.boots.is_some() {
            use_once(&self.solo);
        }
        wait::until(what, IN_ORDER, || {
            let now = inventory::of(self.host, self.solo.root());
            let left = inventory::added(&self.empty, &now);
            let gone = inventory::added(&now, &self.empty);
            let held = std::fs::read_dir(format!("/proc/{}/fd", self.solo.keeper_pid())).into_iter();
            let held = held.flatten().count();
            if left.is_empty() && gone.is_empty() && held <= DESCRIPTORS {
                Ok(())
            } else {
                Err(format!("left: {left}\ngone: {gone}\nthe keeper holds {held} descriptors"))
            }
        });
    }
}

/// A boot's first container makes what all share.
fn use_once(solo: &Solo<'_>) {
    solo.ctl(&RUN);
    solo.ctl(&["container", "rm", "--force", NAME]);
}
