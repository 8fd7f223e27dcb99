//! Benchmarks beside peers: the same work on the same machine in one run, the
//! two sides taking turns, printed as ratios. A time alone says more about the
//! machine than about the program, so none is asserted anywhere.
//!
//! `make bench` runs it with release builds; it needs root and docker.io.
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

mod docker;
mod measure;
mod run;
mod scale;

use itest::dev::Dev;
use itest::host::Host;
use itest::image;
use itest::registry::Registry;

/// What every row runs: a program that waits, in a static busybox.
pub(crate) const IMAGE: &str = "bench:1";

fn main() {
    itest::programs::need_root();
    let dir = tempfile::Builder::new().prefix("rt-").tempdir_in("/tmp").expect("/tmp is writable");
    let (ours, theirs) = (Host::new("ours"), Host::new("docker"));
    let registry = Registry::start(&ours, dir.path());
    let busybox = image::busybox(&["sleep", "1000000"]);
    registry.push("bench", "1", &busybox);
    let dev = Dev::start(&ours, dir.path(), &[]);
    let docker = docker::Docker::start(&theirs, &dir.path().join("docker"));
    docker.import(&busybox);

    println!("{}", docker.version());
    println!("{}\n", dev.ctl(&["--version"]).trim());
    measure::head();
    for row in run::rows(&dev, &docker).into_iter().chain(scale::rows(&dev, &docker)) {
        measure::print(&row);
    }
}
