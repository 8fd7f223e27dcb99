//! Races: while containers start, threads exchange every name on the way of their mounts with links to the host.
//! `RACE_STARTS` sets how many starts; `make soak` takes 2,000.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use oci_spec::runtime::Mount;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::canary::Canary;
use crate::lab::{Lab, Running};

/// Names that the racers exchange, in a volume that two containers share and in the image.
const NAMES: [&str; 6] = ["proc", "sys", "dev", "data", "etc", "work"];

#[test]
fn exchanging_names_while_containers_start_changes_nothing_outside() {
    let lab = Lab::new();
    let canary = Canary::new(&lab);
    let starts: u32 = std::env::var("RACE_STARTS").ok().and_then(|text| text.parse().ok()).unwrap_or(100);
    let volume = lab.dir.path().join("volume");
    fs::create_dir_all(volume.join("in/deep")).expect("a directory");
    let mut pairs: Vec<(PathBuf, PathBuf)> = Vec::new();
    for root in [lab.lower(), volume.join("in")] {
        for name in NAMES {
            fs::create_dir_all(root.join(name)).expect("a directory");
            symlink(&canary.path, root.join(format!("evil-{name}"))).expect("a link");
            pairs.push((root.join(name), root.join(format!("evil-{name}"))));
        }
    }
    symlink(&canary.path, volume.join("evil-deep")).expect("a link");
    pairs.push((volume.join("in/deep"), volume.join("evil-deep")));
    let (over, exchanges) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let racers: Vec<_> = (0..2)
        .map(|_| {
            let (pairs, over, exchanges) = (pairs.clone(), Arc::clone(&over), Arc::clone(&exchanges));
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    for (one, other) in &pairs {
                        if renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).is_ok() {
                            exchanges.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            })
        })
        .collect();
    let (mut started, mut refused) = (0, 0);
    for _ in 0..starts {
        let mut spec = lab.spec(&["sh", "-c", "echo evil >/data/deep/evil; echo evil >/data/evil; exit 0"]);
        let mounts = spec.oci.mounts_mut().as_mut().expect("mounts");
        for (at, from) in [("/data", "in"), ("/data/deep", "in/deep"), ("/etc/hosts", "in/etc")] {
            let mut mount = Mount::default();
            mount.set_destination(at.into()).set_typ(Some("bind".to_owned()));
            mount.set_source(Some(volume.join(from))).set_options(Some(vec!["bind".to_owned()]));
            mounts.push(mount);
        }
        match lab.create(&spec) {
            Ok(spawned) => {
                started += 1;
                if let Ok(running) = Running::start(spawned) {
                    let _ = running.wait();
                }
            }
            Err(_) => refused += 1,
        }
        canary.check("a race");
    }
    over.store(true, Ordering::Relaxed);
    for racer in racers {
        racer.join().expect("it exchanges");
    }
    let exchanged = exchanges.load(Ordering::Relaxed);
    let told = format!("{started} started, {refused} refused, {exchanged} exchanges of names\n");
    std::io::Write::write_all(&mut std::io::stderr(), told.as_bytes()).expect("standard error");
    assert!(exchanged > u64::from(starts), "{exchanged} exchanges in {starts} starts are no race");
    assert!(started > 0, "all of {refused} starts were refused: nothing was tried");
}
