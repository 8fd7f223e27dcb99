//! Volumes in more hands than one: while the engine looks up a part of a volume, or fills one from an image, a container
//! that has it too puts other things in the places of what is looked at.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use itest::host::Host;
use itest::image;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::Field;
use crate::{Over, scratch};

/// Where the volume lies.
fn data(field: &Field<'_>, name: &str) -> PathBuf {
    let shown = field.solo.json(&["volume", "inspect", name]);
    PathBuf::from(shown[0]["mountpoint"].as_str().expect("a path"))
}

/// What a racer on the host does is all that a container could, and faster.
fn exchange(pairs: &[(PathBuf, PathBuf)], over: &AtomicBool) -> u64 {
    let mut exchanges = 0;
    while !over.load(Ordering::Relaxed) {
        for (one, other) in pairs {
            if renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).is_ok() {
                exchanges += 1;
            }
        }
    }
    exchanges
}

#[test]
fn a_part_of_a_volume_is_inside_it_whatever_takes_its_place_meanwhile() {
    let starts = 30;
    let (host, dir) = (Host::new("subpath"), scratch());
    let field = Field::new(&host, dir.path());
    let image = field.image("busybox", &image::busybox(&["sh"]));
    field.solo.ctl(&["volume", "create", "data"]);
    let root = data(&field, "data");
    std::fs::create_dir_all(root.join("a/b/c")).expect("we are root");
    let canary = PathBuf::from(field.canary.text());
    let mut pairs = Vec::new();
    for (name, beside) in [("a", "evil"), ("a/b", "a/evil"), ("a/b/c", "a/b/evil")] {
        std::os::unix::fs::symlink(&canary, root.join(beside)).expect("we are root");
        pairs.push((root.join(name), root.join(beside)));
    }
    let over = AtomicBool::new(false);
    let (mut started, mut refused) = (0, 0);
    let exchanged = std::thread::scope(|scope| {
        let racer = scope.spawn(|| exchange(&pairs, &over));
        let end = Over(&over);
        for number in 0..starts {
            let part = ["a", "a/b", "a/b/c", "a/folder"][number % 4];
            let mount = format!("type=volume,source=data,target=/part,volume-subpath={part}");
            let script = "echo evil >/part/evil; echo evil >/part/file; cat /part/file /part/*/file; true";
            let (good, said) = field.run(&["--mount", &mount, &image, "sh", "-c", script]);
            assert!(!said.contains("untouched"), "{part}: {said}");
            assert!(
                good || said.contains("not followed") || said.contains("no such") || said.contains("volume"),
                "{said}"
            );
            *(if good { &mut started } else { &mut refused }) += 1;
        }
        drop(end);
        racer.join().expect("it exchanges")
    });
    assert!(
        exchanged > starts as u64 && started > 0 && refused > 0,
        "{exchanged} {started} {refused}: no race"
    );
    field.solo.ctl(&["volume", "rm", "data"]);
    field.finish();
}

/// An image with one file under many names, and something large beside each, so that there is time.
fn slow_to_copy() -> image::Image {
    let mut tree = image::busybox_tree(&[]);
    tree.folder("data", 0o755);
    let large = vec![b'x'; 3 << 20];
    for number in 0..12 {
        tree.folder(&format!("data/d{number}"), 0o755);
        match number {
            0 => tree.file("data/d0/file", 0o644, b"of the image"),
            _ => tree.hard_link(&format!("data/d{number}/file"), "data/d0/file"),
        };
        tree.file(&format!("data/d{number}/large"), 0o644, &large);
    }
    tree.image(&["true"])
}

/// Each directory that appears is moved away, and a link to the host put in its place.
fn replace(root: &Path, canary: &Path, over: &AtomicBool) -> u64 {
    let mut replaced = 0;
    while !over.load(Ordering::Relaxed) {
        for number in 0..12 {
            let (at, away) = (root.join(format!("d{number}")), root.join(format!("away{number}")));
            let is_copied = at.join("file").symlink_metadata().is_ok() && !at.is_symlink();
            if is_copied
                && std::fs::rename(&at, &away).is_ok()
                && std::os::unix::fs::symlink(canary, &at).is_ok()
            {
                replaced += 1;
            }
        }
    }
    replaced
}

#[test]
fn filling_a_volume_that_a_container_has_links_nothing_of_the_host_into_it() {
    let (host, dir) = (Host::new("filling"), scratch());
    let field = Field::new(&host, dir.path());
    let (busybox, slow) =
        (field.image("busybox", &image::busybox(&["sh"])), field.image("slow", &slow_to_copy()));
    let canary = PathBuf::from(field.canary.text());
    let mut replaced = 0;
    for round in 0..4 {
        let name = format!("v{round}");
        let mount = format!("{name}:/data");
        field.solo.ctl(&["container", "run", "-d", "--name", &name, "-v", &mount, &busybox, "sleep", "1000"]);
        let root = data(&field, &name);
        let over = AtomicBool::new(false);
        replaced += std::thread::scope(|scope| {
            let racer = scope.spawn(|| replace(&root, &canary, &over));
            let end = Over(&over);
            // What becomes of the copy is the container's own business.
            let _ = field.run(&["-v", &mount, &slow]);
            drop(end);
            racer.join().expect("it replaces")
        });
        field.canary.check("the copy");
        field.solo.ctl(&["container", "rm", "--force", &name]);
        field.solo.ctl(&["volume", "rm", &name]);
    }
    assert!(replaced > 0, "nothing was replaced: no race");
    field.finish();
}
