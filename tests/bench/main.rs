//! Benchmarks beside peers: the same work on the same machine in one run, the
//! sides taking turns, printed as ratios. A time alone says more about the
//! machine than about the program, so none is asserted anywhere.
//!
//! `make bench` runs it with release builds; it needs root and what `tests/install bench`
//! installs. Words on the command line choose parts: `run`, `rate`, `memory`, `scale`.
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

mod docker;
mod floor;
mod group;
mod idle;
mod measure;
mod memory;
mod podman;
mod rate;
mod run;
mod runc;
mod scale;
mod shell;

use std::path::{Path, PathBuf};

use itest::dev::Dev;
use itest::host::Host;
use itest::image;
use itest::registry::{ADDRESS, Registry};
use itest::solo::Solo;

/// What every row runs: a static busybox, whose own command waits.
pub(crate) const IMAGE: &str = "bench:1";

/// Turns of one client after the other, and at a time.
const LIVES: usize = 400;

fn main() {
    itest::programs::need_root();
    let parts: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    let dir = tempfile::Builder::new().prefix("rt-").tempdir_in("/tmp").expect("/tmp is writable");
    let (ours, theirs) = (Host::new("ours"), Host::new("peers"));
    let registry = Registry::start(&ours, dir.path());
    let busybox = image::busybox(&["sleep", "1000000"]);
    registry.push("bench", "1", &busybox);
    let docker = docker::Docker::start(&theirs, &dir.path().join("docker"));
    docker.import(&busybox);
    println!("{}", docker.version());

    if ["run", "rate", "memory"].into_iter().any(is_wanted) {
        let solo = Solo::start_with(&ours, &dir.path().join("solo"), &["--network-pool", "8"]);
        solo.ctl(&["container", "run", "--rm", &format!("{ADDRESS}/{IMAGE}"), "true"]);
        println!("{}", solo.ctl(&["--version"]).trim());
        if is_wanted("run") {
            let podman = podman::Podman::new(&theirs, dir.path(), &busybox);
            let (runc, floor) = (runc::Runc::new(dir.path(), &busybox), floor::Floor::new(dir.path()));
            println!("\none container that runs `true`; ratios to the first row");
            run::print(&run::Sides {
                dir: dir.path(),
                ours: &ours,
                theirs: &theirs,
                solo: &solo,
                docker: &docker,
                podman: &podman,
                runc: &runc,
                floor: &floor,
            });
        }
        if is_wanted("rate") {
            rates(&socket(&solo));
        }
        if is_wanted("memory") {
            idle::print(&solo, &docker);
        }
    }
    if is_wanted("scale") {
        let dev = Dev::start(&ours, &dir.path().join("dev"), &[]);
        println!("\nfrom the command until all run");
        measure::head();
        for row in scale::rows(&dev, &docker) {
            measure::print(&row);
        }
    }
}

fn rates(socket: &Path) {
    let client = rate::Client::connect(socket, format!("{ADDRESS}/{IMAGE}"));
    for _ in 0..10 {
        client.live();
    }
    println!("\nlives (create, start, wait, remove) by one client of the agent");
    for at_a_time in [1, 2, 4, 8] {
        let rate = client.rate(LIVES, at_a_time);
        println!(
            "{at_a_time} at a time   {:>7.0} per second   least {}   middle {}",
            rate.per_second,
            measure::shown(rate.least),
            measure::shown(rate.middle)
        );
    }
}

/// Our client.
pub(crate) fn ctl() -> PathBuf {
    itest::programs::ours("ctl")
}

/// Where the agent listens.
pub(crate) fn socket(solo: &Solo<'_>) -> PathBuf {
    solo.root().join("data/run/agent.sock")
}
