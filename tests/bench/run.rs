//! One container, from the command to its end: `ctl container run --rm` beside
//! `docker run --rm`.

use itest::dev::Dev;
use itest::registry::ADDRESS;

use crate::docker::Docker;
use crate::measure::{Row, time, turns};

const TIMES: usize = 20;

pub(crate) fn rows(dev: &Dev<'_>, docker: &Docker<'_>) -> Vec<Row> {
    let image = format!("{ADDRESS}/{}", crate::IMAGE);
    let run = || {
        dev.ctl(&["container", "run", "--rm", &image, "true"]);
    };
    let peer = || {
        docker.must(&["run", "--rm", crate::IMAGE, "true"]);
    };
    // The first of each fetches the image or fills caches.
    run();
    peer();
    let (ours, theirs) = turns(TIMES, || time(run), || time(peer));
    vec![Row { what: "ctl container run --rm IMAGE true".into(), ours, peer: "docker run --rm", theirs }]
}
