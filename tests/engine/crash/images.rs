//! Kills the agent before each system call of what changes the store of images, and looks at the whole store after
//! the next start: the image is there with all of its content, or it is not and nothing of it is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use itest::host::Host;
use itest::image::{Tree, digest};
use itest::solo::Solo;
use itest::{programs, wait};
use serde_json::json;

use super::Random;
use super::trace::{Seen, Trace};
use crate::scratch;

/// The next start has removed what is nobody's within this time.
const IN_ORDER: Duration = Duration::from_secs(15);
/// Calls of each verb that `make test` takes.
const SAMPLES: usize = 4;
const NAME: &str = "victim:1";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Load,
    Tag,
    Remove,
    Prune,
}

impl Verb {
    fn arguments(self, archive: &str) -> Vec<&str> {
        match self {
            Verb::Load => vec!["image", "load", "--quiet", "--input", archive],
            Verb::Tag => vec!["image", "tag", NAME, "victim:2"],
            Verb::Remove => vec!["image", "rm", NAME],
            Verb::Prune => vec!["image", "prune", "--all", "--force", "--filter", "reference=victim"],
        }
    }

    /// Whether the image may be there, and may be gone.
    fn allowed(self, was_answered: bool) -> (bool, bool) {
        match self {
            Verb::Load => (true, !was_answered),
            Verb::Tag => (true, false),
            Verb::Remove | Verb::Prune => (!was_answered, true),
        }
    }
}

/// An image of two layers, small and of use.
fn archive(folder: &Path) -> PathBuf {
    programs::need("busybox", "busybox-static");
    let program = ["/bin/busybox", "/usr/bin/busybox"].iter().find_map(|path| std::fs::read(path).ok());
    let mut base = Tree::default();
    base.folder("bin", 0o755).file("bin/busybox", 0o755, &program.expect("busybox-static is installed"));
    let mut top = Tree::default();
    top.file("mark", 0o644, b"whole\n");
    let (base, top) = (base.image(&[]), top.image(&[]));
    let diff_ids = [&base, &top].map(|image| {
        let config: serde_json::Value = serde_json::from_slice(&image.config).expect("our own");
        config["rootfs"]["diff_ids"][0].clone()
    });
    let config = json!({"architecture": "amd64", "os": "linux",
        "config": {"Cmd": ["/bin/busybox", "cat", "/mark"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let manifest = json!([{"Config": "config.json", "RepoTags": [NAME], "Layers": ["1.tar", "2.tar"]}]);
    let mut archive = tar::Builder::new(Vec::new());
    let mut put = |path: &str, data: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, data).expect("writing to memory");
    };
    put("1.tar", &base.layer);
    put("2.tar", &top.layer);
    put("config.json", config.to_string().as_bytes());
    put("manifest.json", manifest.to_string().as_bytes());
    let path = folder.join("victim.tar");
    std::fs::write(&path, archive.into_inner().expect("writing to memory")).expect("a writable directory");
    path
}

/// Everything in the store, half made or whole.
fn contents(root: &Path) -> BTreeSet<String> {
    let store = root.join("data/agent");
    let folders = [
        "content/blobs/sha256",
        "content/ingest",
        "snapshots/layers",
        "snapshots/incoming",
        "snapshots/trash",
    ];
    let list = |folder: &str| {
        let entries = std::fs::read_dir(store.join(folder)).into_iter().flatten().flatten();
        entries.map(|entry| format!("{folder}/{}", entry.file_name().display())).collect::<Vec<_>>()
    };
    folders.iter().flat_map(|folder| list(folder)).collect()
}

/// Blobs that are not what their names say.
fn damaged(root: &Path) -> Vec<String> {
    let blobs =
        std::fs::read_dir(root.join("data/agent/content/blobs/sha256")).into_iter().flatten().flatten();
    let is_damaged = |path: &PathBuf| {
        let name = path.file_name().map(|name| format!("sha256:{}", name.display())).unwrap_or_default();
        std::fs::read(path).is_ok_and(|bytes| digest(&bytes) != name)
    };
    blobs.map(|blob| blob.path()).filter(is_damaged).map(|path| path.display().to_string()).collect()
}

struct Bench<'h> {
    solo: Solo<'h>,
    archive: String,
    without: BTreeSet<String>,
    with: BTreeSet<String>,
}

impl<'h> Bench<'h> {
    fn new(host: &'h Host, root: &Path) -> Self {
        let solo = Solo::start(host, root);
        let archive = archive(root).display().to_string();
        let without = contents(root);
        solo.ctl(&Verb::Load.arguments(&archive));
        let with = contents(root);
        assert_eq!(
            with.len(),
            without.len() + 6,
            "a manifest, a configuration, two layers, and those unpacked"
        );
        Self { solo, archive, without, with }
    }

    fn is_there(&self) -> bool {
        self.solo.try_ctl(&["image", "inspect", NAME]).status.success()
    }

    /// Makes what the verb wants to be there, or not to be.
    fn prepare(&self, verb: Verb) {
        self.solo.try_ctl(&["image", "rm", "victim:2"]);
        match (verb, self.is_there()) {
            (Verb::Load, true) => drop(self.solo.ctl(&Verb::Remove.arguments(""))),
            (Verb::Tag | Verb::Remove | Verb::Prune, false) => {
                self.solo.ctl(&Verb::Load.arguments(&self.archive));
            }
            _ => {}
        }
    }

    /// One try: the verb, with the agent killed before its `at`-th call.
    fn run(&mut self, verb: Verb, at: Option<usize>) -> Seen {
        self.prepare(verb);
        let agent = self.solo.agent_pid();
        let socket = self.solo.root().join("data/run/agent.sock");
        let doomed = at.map(|_| agent).into_iter().collect();
        let trace = Trace::start(agent, at, doomed, socket);
        let output = self.solo.try_ctl(&verb.arguments(&self.archive));
        let seen = trace.end();
        let what = format!("{verb:?}, killed before call {at:?} of {seen:?}: {}", programs::said(&output));
        if seen.killed_before.is_some() {
            // What is visible at this moment is whole, whatever else lies there.
            assert_eq!(damaged(self.solo.root()), Vec::<String>::new(), "{what}");
            self.solo.start_after_death();
        }
        let (may_be, may_be_gone) = verb.allowed(output.status.success());
        let is_there = self.is_there();
        assert!(if is_there { may_be } else { may_be_gone }, "it is there: {is_there}; {what}");
        let expected = if is_there { &self.with } else { &self.without };
        wait::until(&what, IN_ORDER, || {
            let now = contents(self.solo.root());
            if now == *expected { Ok(()) } else { Err(format!("{:?}", now.symmetric_difference(expected))) }
        });
        if is_there {
            assert_eq!(self.solo.ctl(&["run", "--rm", NAME]), "whole\n", "{what}");
            self.solo.ctl(&["image", "save", "--file", "/dev/null", NAME]);
        }
        seen
    }
}

fn sweep(verb: Verb) {
    let mode = std::env::var("ROADSTEAD_CRASH").unwrap_or_default();
    let mut random = Random::new();
    let (scratch, host) = (scratch(), Host::new("crim"));
    let mut bench = Bench::new(&host, scratch.path());
    let calls = bench.run(verb, None).calls;
    assert!(calls > 10, "{verb:?} was seen to make {calls} calls");
    let mut kills = 0;
    if mode == "all" || mode == "first" {
        while bench.run(verb, Some(kills + 1)).killed_before.is_some() {
            kills += 1;
        }
    } else {
        for _ in 0..SAMPLES {
            bench.run(verb, Some(random.below(calls) + 1));
            kills += 1;
        }
    }
    eprintln!("{verb:?}: {calls} calls of the agent, {kills} kills");
}

#[test]
fn a_load_is_whole_or_gone_whenever_it_is_cut_short() {
    sweep(Verb::Load);
}

#[test]
fn a_tag_takes_nothing_away_whenever_it_is_cut_short() {
    sweep(Verb::Tag);
}

#[test]
fn a_removal_of_an_image_is_whole_or_gone_whenever_it_is_cut_short() {
    sweep(Verb::Remove);
}

#[test]
fn a_prune_is_whole_or_gone_whenever_it_is_cut_short() {
    sweep(Verb::Prune);
}
