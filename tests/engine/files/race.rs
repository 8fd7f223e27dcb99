//! Parts of the paths under a copy are exchanged with links to the host, by the container and by a thread, as fast as
//! they can: whatever the copy does, nothing outside the container changes or gets out. `RACE_COPIES` sets how many
//! copies the thread races; `make soak` takes 500.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use itest::programs;
use itest::solo::Solo;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{container, text, with_agent};
use crate::Over;

/// Outside: what a copy that is led astray would read or write.
const SECRET: &str = "the host's own";

fn tree_of(path: &Path) -> String {
    programs::succeed(
        std::process::Command::new("find").arg(path).args(["-printf", "%p|%y|%m|%U|%G|%s|%T@|%C@\n"]),
    )
}

/// Only not getting there protects the canary.
fn for_everybody(solo: &Solo<'_>, canary: &Path) {
    programs::succeed(std::process::Command::new("chmod").args(["-R", "a+rwX"]).arg(canary));
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(solo.root(), open).unwrap();
}

#[test]
fn a_racing_container_leads_no_copy_out() {
    with_agent("race", |solo, image, files| {
        let canary = files.join("canary");
        std::fs::create_dir_all(canary.join("in")).unwrap();
        std::fs::write(canary.join("in/file"), SECRET).unwrap();
        for_everybody(solo, &canary);
        let before = tree_of(&canary);
        // busybox has no exchange of names; two renames in a row race as well, and a link takes turns with a directory.
        let script = format!(
            "mkdir -p /work/real/in /work/deep; echo inside > /work/real/in/file; cp -r /work/real /work/spot
             ln -s {canary} /work/evil; ln -s /proc/1/root{canary} /work/evil2; ln -s ../../../../../../..{canary} /work/evil3
             (while :; do for evil in evil evil2 evil3; do
                mv /work/spot /work/kept 2>/dev/null; ln -s $(readlink /work/$evil) /work/spot 2>/dev/null
                rm -f /work/spot; mv /work/kept /work/spot 2>/dev/null
                mv /work/spot/in /work/spot/kept 2>/dev/null; ln -s {canary}/in /work/spot/in 2>/dev/null
                rm -f /work/spot/in; mv /work/spot/kept /work/spot/in 2>/dev/null
              done; done) &",
            canary = text(&canary),
        );
        container(solo, image, "racer", &script, true);
        let file = files.join("file");
        std::fs::write(&file, "from outside").unwrap();
        std::fs::create_dir_all(files.join("tree/in")).unwrap();
        std::fs::write(files.join("tree/in/file"), "from outside").unwrap();
        let (mut inward, mut outward) = (0, 0);
        for round in 0..100 {
            let copies =
                [(text(&file), "racer:/work/spot/in/file"), (text(files.join("tree")), "racer:/work/spot")];
            let (from, to) = copies[round % 2];
            inward += usize::from(solo.try_ctl(&["container", "cp", from, to]).status.success());
            let back = files.join("back");
            let _ = std::fs::remove_dir_all(&back);
            std::fs::create_dir(&back).unwrap();
            let from = ["racer:/work/spot/in/file", "racer:/work/spot", "racer:/work"][round % 3];
            let arguments: &[&str] = if round % 2 == 0 {
                &["container", "cp", "-L", from, text(&back)]
            } else {
                &["container", "cp", from, text(&back)]
            };
            outward += usize::from(solo.try_ctl(arguments).status.success());
            let found = programs::output(std::process::Command::new("grep").args(["-r", SECRET]).arg(&back));
            assert!(!found.status.success(), "round {round}: {}", programs::said(&found));
        }
        assert_eq!(tree_of(&canary), before);
        assert!(
            inward > 20 && outward > 20,
            "{inward} copies went in and {outward} came out: no race was run"
        );
    });
}

/// Exchanges each pair of names until it is told to stop; answers how often that was done.
fn exchange(pairs: &[(PathBuf, PathBuf)], over: &AtomicBool, exchanges: &AtomicU64) {
    while !over.load(Ordering::Relaxed) {
        for (one, other) in pairs {
            if renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).is_ok() {
                exchanges.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// One copy of each kind in turn, in and out; answers whether it was made.
fn copy(solo: &Solo<'_>, round: usize, name: &str, files: &Path) -> bool {
    let back = files.join("back");
    let _ = std::fs::remove_dir_all(&back);
    std::fs::create_dir(&back).unwrap();
    let inside = |path: &str| -> &'static str { format!("{name}:{path}").leak() };
    let (file, tree) = (files.join("file"), files.join("tree"));
    let arguments: &[&str] = match round % 6 {
        0 => &[text(&file), inside("/work/spot/in/file")],
        1 => &["-L", inside("/work/spot/in/file"), text(&back)],
        2 => &[text(&tree), inside("/work/spot/in")],
        3 => &[inside("/work/spot"), text(&back)],
        4 => &["-a", text(&tree), inside("/work/deep/er")],
        _ => &["-L", inside("/work"), text(&back)],
    };
    let done = solo.try_ctl(&[&["container", "cp"], arguments].concat()).status.success();
    let found = programs::output(std::process::Command::new("grep").args(["-r", SECRET]).arg(&back));
    assert!(!found.status.success(), "round {round}: {}", programs::said(&found));
    done
}

#[test]
fn exchanged_names_lead_no_copy_out() {
    let copies: usize = std::env::var("RACE_COPIES").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    with_agent("exchg", |solo, image, files| {
        let canary = files.join("canary");
        std::fs::create_dir_all(canary.join("in/er")).unwrap();
        for name in ["file", "in/file", "in/er/file"] {
            std::fs::write(canary.join(name), SECRET).unwrap();
        }
        for_everybody(solo, &canary);
        let before = tree_of(&canary);
        std::fs::write(files.join("file"), "from outside").unwrap();
        std::fs::create_dir_all(files.join("tree/in")).unwrap();
        std::fs::write(files.join("tree/in/file"), "from outside").unwrap();
        let script = format!(
            "mkdir -p /work/spot/in /work/deep/er; echo inside > /work/spot/in/file
             for n in 1 2 3; do ln -s {canary} /work/evil$n; ln -s {canary}/in /work/spot/evil$n; done
             ln -s ../../../../../../../..{canary}/in /work/deep/evil; ln -s {canary}/in/file /work/spot/in/evil",
            canary = text(&canary),
        );
        container(solo, image, "running", &script, true);
        container(solo, image, "stopped", &script, false);
        let listed = solo.json(&["container", "ls", "--all"]);
        let of =
            |name: &str| listed.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone();
        let stopped = of("stopped")["id"].as_str().unwrap().to_owned();
        let roots = [
            PathBuf::from(format!("/proc/{}/root", of("running")["pid"])),
            solo.root().join("data/agent/snapshots/containers").join(stopped).join("upper"),
        ];
        let pairs: Vec<(PathBuf, PathBuf)> = roots
            .iter()
            .flat_map(|root| {
                [
                    ("spot", "evil1"),
                    ("spot/in", "spot/evil1"),
                    ("deep/er", "deep/evil"),
                    ("spot/in/file", "spot/in/evil"),
                    ("deep", "evil2"),
                ]
                .map(|(one, other)| (root.join("work").join(one), root.join("work").join(other)))
            })
            .collect();
        let (over, exchanges) = (AtomicBool::new(false), AtomicU64::new(0));
        let done = std::thread::scope(|scope| {
            scope.spawn(|| exchange(&pairs, &over, &exchanges));
            let _end = Over(&over);
            let done: usize = (0..copies)
                .map(|round| usize::from(copy(solo, round, ["running", "stopped"][round / 6 % 2], files)))
                .sum();
            done
        });
        assert_eq!(tree_of(&canary), before);
        let exchanged = exchanges.load(Ordering::Relaxed);
        println!("{done} of {copies} copies were made while names were exchanged {exchanged} times");
        assert!(
            exchanged > copies as u64 && done > copies / 20,
            "{exchanged} exchanges, {done} copies: no race"
        );
    });
}
