//! A service from nothing to fifty tasks that run: `ctl service scale` beside
//! `docker service scale`. Docker's command waits five more seconds to see that
//! tasks are stable, so its own row is followed by one without that wait:
//! detached, and asked every 50 ms until fifty containers run.

use std::time::Duration;

use itest::dev::Dev;
use itest::registry::ADDRESS;
use itest::wait;

use crate::docker::Docker;
use crate::measure::{Row, time, turns};

const TASKS: usize = 50;
const TIMES: usize = 3;
const LONG: Duration = Duration::from_secs(180);

pub(crate) fn rows(dev: &Dev<'_>, docker: &Docker<'_>) -> Vec<Row> {
    let image = format!("{ADDRESS}/{}", crate::IMAGE);
    dev.ctl(&["service", "create", "--name", "web", "--replicas", "0", "--stop-grace-period", "1", &image]);
    let create =
        ["service", "create", "--detach", "--no-resolve-image", "--stop-grace-period", "1s", "--name", "web"];
    docker.must(&[&create[..], &["--replicas", "0", crate::IMAGE]].concat());

    let (ours, as_typed) = turns(TIMES, || scale_ours(dev), || scale_docker(docker, false));
    let (again, detached) = turns(TIMES, || scale_ours(dev), || scale_docker(docker, true));
    dev.ctl(&["service", "rm", "web"]);
    docker.must(&["service", "rm", "web"]);
    vec![
        Row {
            what: "ctl service scale web=50, from 0".into(),
            ours,
            peer: "docker service scale",
            theirs: as_typed,
        },
        Row {
            what: "the same, until 50 run".into(),
            ours: again,
            peer: "docker, detached",
            theirs: detached,
        },
    ]
}

fn scale_ours(dev: &Dev<'_>) -> Duration {
    let taken = time(|| {
        dev.ctl(&["service", "scale", &format!("web={TASKS}")]);
    });
    dev.ctl(&["service", "scale", "web=0"]);
    taken
}

fn scale_docker(docker: &Docker<'_>, detached: bool) -> Duration {
    let target = format!("web={TASKS}");
    let taken = time(|| {
        if detached {
            docker.must(&["service", "scale", "--detach", &target]);
            wait_for(docker, TASKS);
        } else {
            docker.must(&["service", "scale", &target]);
        }
    });
    docker.must(&["service", "scale", "--detach", "web=0"]);
    wait_for(docker, 0);
    taken
}

fn wait_for(docker: &Docker<'_>, count: usize) {
    wait::until(&format!("{count} containers run"), LONG, || {
        let running = docker.must(&["ps", "--quiet"]).lines().count();
        if running == count { Ok(()) } else { Err(format!("{running} run")) }
    });
}
