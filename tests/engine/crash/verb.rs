//! The verbs under test, who is killed in the middle of them, and what may be found afterwards.

use std::collections::BTreeSet;
use std::path::PathBuf;

use itest::solo::Solo;
use serde_json::Value;

/// The one container there is.
pub(super) const NAME: &str = "victim";

pub(super) const CREATE: [&str; 7] =
    ["container", "create", "--name", NAME, "--publish", "18080:80", "roadstead/hello"];
pub(super) const RUN: [&str; 8] =
    ["container", "run", "--detach", "--name", NAME, "--publish", "18080:80", "roadstead/hello"];
/// One that is called by its name, and one that goes with the container.
const WITH_VOLUMES: [&str; 9] = [
    "container",
    "create",
    "--name",
    NAME,
    "--volume",
    "data:/data",
    "--volume",
    "/scratch",
    "roadstead/hello",
];
const EXEC: [&str; 7] = ["container", "exec", "--detach", "--env", "PORT=81", NAME, "/hello"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Create,
    CreateWithVolumes,
    Run,
    Start,
    Exec,
    Stop,
    Remove,
    RemoveWithVolumes,
    RemoveRunning,
}

/// Whose calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Agent,
    Keeper,
}

/// Who dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Agent,
    Keeper,
    Both,
    /// Both, and then the host is restarted.
    Host,
}

impl Fate {
    pub(super) const KILLS: [Fate; 3] = [Fate::Agent, Fate::Keeper, Fate::Both];

    pub(super) fn takes_agent(self) -> bool {
        self != Fate::Keeper
    }

    pub(super) fn takes_keeper(self) -> bool {
        self != Fate::Agent
    }

    /// The exit code of a container whose end nobody saw.
    fn code(self) -> i64 {
        if self == Fate::Host { 255 } else { 137 }
    }
}

/// How a try went.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    /// The caller was told that it is done.
    pub(super) was_answered: bool,
    /// Who died; nobody, when the verb had fewer calls.
    pub(super) died: Option<Fate>,
}

impl Outcome {
    fn keeper_died(self) -> bool {
        self.died.is_some_and(Fate::takes_keeper)
    }
}

impl Verb {
    /// What must be there before.
    pub(super) fn prepare(self, solo: &Solo<'_>) {
        match self {
            Verb::Create | Verb::CreateWithVolumes | Verb::Run => {}
            Verb::RemoveWithVolumes => {
                solo.ctl(&WITH_VOLUMES);
                std::fs::write(upper(solo), "kept").expect("it has a snapshot");
            }
            Verb::Remove | Verb::Start => {
                solo.ctl(&CREATE);
                // Something that only this container has.
                std::fs::write(upper(solo), "kept").expect("it has a snapshot");
            }
            Verb::Exec | Verb::Stop | Verb::RemoveRunning => {
                solo.ctl(&RUN);
            }
        }
    }

    pub(super) fn arguments(self) -> Vec<&'static str> {
        match self {
            Verb::Create => CREATE.to_vec(),
            Verb::CreateWithVolumes => WITH_VOLUMES.to_vec(),
            Verb::Run => RUN.to_vec(),
            Verb::Start => vec!["container", "start", NAME],
            Verb::Exec => EXEC.to_vec(),
            Verb::Stop => vec!["container", "stop", NAME],
            Verb::Remove => vec!["container", "rm", NAME],
            Verb::RemoveWithVolumes => vec!["container", "rm", "--volumes", NAME],
            Verb::RemoveRunning => vec!["container", "rm", "--force", NAME],
        }
    }

    /// What may be said of the container afterwards; "none" when there is none.
    pub(super) fn allowed(self, outcome: Outcome) -> &'static [&'static str] {
        match (self, outcome.was_answered, outcome.keeper_died()) {
            (Verb::Create | Verb::CreateWithVolumes, true, _) => &["created"],
            (Verb::Create | Verb::CreateWithVolumes, false, _) => &["created", "none"],
            (Verb::Run | Verb::Start, true, false) | (Verb::Exec, _, false) => &["running"],
            // It ended with the keeper, and that it ran is not forgotten; or it was started by the next one.
            (Verb::Run | Verb::Start, true, true) => &["exited", "running"],
            (Verb::Run, false, false) => &["none", "created", "running"],
            (Verb::Run, false, true) => &["none", "created", "exited", "running"],
            (Verb::Start, false, false) => &["created", "running"],
            (Verb::Start, false, true) => &["created", "exited", "running"],
            (Verb::Exec, _, true) => &["exited"],
            (Verb::Stop, true, _) | (Verb::Stop, false, true) => &["exited"],
            (Verb::Stop, false, false) => &["running", "exited"],
            (Verb::Remove | Verb::RemoveWithVolumes | Verb::RemoveRunning, true, _) => &["none"],
            (Verb::Remove | Verb::RemoveWithVolumes, false, _) => &["created", "none"],
            (Verb::RemoveRunning, false, false) => &["running", "exited", "none"],
            (Verb::RemoveRunning, false, true) => &["exited", "none"],
        }
    }

    /// What is wrong with what is said of the container, beyond its state.
    pub(super) fn complaint(
        self,
        outcome: Outcome,
        container: &Value,
        processes: &[(u32, Vec<String>)],
    ) -> Option<String> {
        let running = container["state"] == "running";
        let most = match self {
            // One that was begun may run or not; one that was promised runs.
            Verb::Exec if running && outcome.was_answered => 2..=2,
            Verb::Exec if running => 1..=2,
            _ => usize::from(running)..=usize::from(running),
        };
        let is_program = |(_, line): &(u32, Vec<String>)| line.first().is_some_and(|word| word == "/hello");
        if !most.contains(&processes.len()) || !processes.iter().all(is_program) {
            return Some(format!("it has the processes {processes:?}, not {most:?} of its program"));
        }
        let died = outcome.died.filter(|fate| fate.takes_keeper())?;
        let unseen = matches!(self, Verb::Run | Verb::Start | Verb::Exec) && container["state"] == "exited";
        let code = container["exit_code"].as_i64();
        (unseen && code != Some(died.code()))
            .then(|| format!("its end has the code {code:?}, not {}", died.code()))
    }

    /// Whether the container, when it is there, must have what was put into it before.
    pub(super) fn keeps_its_mark(self) -> bool {
        matches!(self, Verb::Remove | Verb::RemoveWithVolumes | Verb::Start)
    }

    /// What is wrong with the volumes that are there, where there `is_container` or not.
    pub(super) fn lost_or_left(self, solo: &Solo<'_>, is_container: bool) -> Vec<String> {
        let listed: BTreeSet<String> =
            solo.ctl(&["volume", "ls", "--quiet"]).lines().map(str::to_owned).collect();
        let names = |folder: &str| -> BTreeSet<String> {
            let entries = std::fs::read_dir(solo.root().join("data/agent/volumes").join(folder)).into_iter();
            entries
                .flatten()
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect()
        };
        let has_them = matches!(self, Verb::CreateWithVolumes | Verb::RemoveWithVolumes);
        // The one with a name stays without any container; before one was made it may be there or not.
        let anonymous = listed.iter().filter(|name| *name != "data").count();
        let named = listed.contains("data");
        let must_be_named = has_them && (is_container || self == Verb::RemoveWithVolumes);
        let mut wrong = Vec::new();
        if anonymous != usize::from(has_them && is_container)
            || (must_be_named && !named)
            || (!has_them && named)
        {
            wrong.push(format!("the volumes are {listed:?}, container: {is_container}"));
        }
        if names("all") != listed || !names("trash").is_empty() {
            wrong.push(format!("on disk are {:?} and {:?}, known {listed:?}", names("all"), names("trash")));
        }
        wrong
    }
}

pub(super) fn containers(solo: &Solo<'_>) -> Value {
    solo.json(&["container", "ls", "--all"])
}

/// A file that only the one container has.
pub(super) fn upper(solo: &Solo<'_>) -> PathBuf {
    let id = containers(solo)[0]["id"].as_str().unwrap_or_default().to_owned();
    solo.root().join("data/agent/snapshots/containers").join(id).join("upper/mark")
}
