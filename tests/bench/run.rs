//! One throw-away container that does nothing, from the command to its end, by every
//! side in turn: the clock, the processors, the system calls.

use std::path::Path;
use std::time::Duration;

use itest::calls::{self, Attached, Calls};
use itest::host::Host;
use itest::registry::ADDRESS;
use itest::solo::Solo;

use crate::docker::Docker;
use crate::floor::Floor;
use crate::group::Group;
use crate::measure::{self, Samples};
use crate::podman::Podman;
use crate::runc::Runc;
use crate::shell::Shell;

/// Turns of each side.
const TIMES: usize = 30;
/// Lives under strace.
const TRACED: u64 = 10;

/// One of those that take turns.
struct Side {
    name: &'static str,
    line: String,
    group: Group,
    shell: Shell,
    samples: Samples,
    /// Daemons whose system calls count, beside those of the command; none means that the command is all.
    daemons: Vec<u32>,
}

impl Side {
    fn new(name: &'static str, line: String, host: &Host, group: Group, daemons: Vec<u32>) -> Self {
        for pid in &daemons {
            group.add(*pid);
        }
        let mut side = Self {
            name,
            line,
            shell: Shell::start(host, &group),
            group,
            samples: Samples::default(),
            daemons,
        };
        // The first fetches the image or fills caches.
        for _ in 0..3 {
            side.shell.run(&side.line);
        }
        side
    }

    fn turn(&mut self) {
        let line = self.line.clone();
        let taken = self.shell.measure(&line, &self.group);
        self.samples.wall.push(taken.wall);
        self.samples.cpu.push(taken.cpu);
    }

    /// System calls of one life: of the whole command, or of the daemons alone.
    fn count(&mut self, dir: &Path) -> (Calls, u64) {
        if self.daemons.is_empty() {
            return (calls::of_line(dir, &self.line), 1);
        }
        let attached = Attached::to(dir, &self.daemons);
        for _ in 0..TRACED {
            let line = self.line.clone();
            self.shell.run(&line);
        }
        std::thread::sleep(Duration::from_millis(200));
        (attached.end(), TRACED)
    }
}

/// What is compared.
pub(crate) struct Sides<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) ours: &'a Host,
    pub(crate) theirs: &'a Host,
    pub(crate) solo: &'a Solo<'a>,
    pub(crate) docker: &'a Docker<'a>,
    pub(crate) podman: &'a Podman<'a>,
    pub(crate) runc: &'a Runc,
    pub(crate) floor: &'a Floor,
}

/// Measures and prints.
pub(crate) fn print(sides: &Sides<'_>) {
    let Sides { ours, theirs, .. } = *sides;
    let ctl = format!("{} --agent-socket {}", crate::ctl().display(), crate::socket(sides.solo).display());
    let image = format!("{ADDRESS}/{}", crate::IMAGE);
    let mut own = Group::new("ours");
    own.count_also(&format!("/roadstead/{}", itest::inventory::instance_of(sides.solo.root())));
    let podmans = Group::new("podman");
    let podman = sides.podman.line(&podmans);
    let mut dockers = Group::new("docker");
    dockers.count_also("/docker");
    let docker = sides.docker.line(&format!("run --rm {} true", crate::IMAGE));
    let floor = sides.floor.line(&sides.runc.layer());
    let programs = vec![sides.solo.agent_pid(), sides.solo.keeper_pid()];
    let mut all = [
        Side::new(
            "ctl container run --rm",
            format!("{ctl} container run --rm {image} true"),
            ours,
            own,
            programs,
        ),
        Side::new("bare system calls", floor, theirs, Group::new("floor"), Vec::new()),
        Side::new("runc run", sides.runc.line(), theirs, Group::new("runc"), Vec::new()),
        Side::new("docker run --rm", docker, theirs, dockers, sides.docker.daemons()),
        Side::new("podman run --rm", podman, theirs, podmans, Vec::new()),
    ];
    for _ in 0..TIMES {
        for side in &mut all {
            side.turn();
        }
    }
    measure::head_of_sides();
    let reference = all[0].samples.clone();
    for side in &mut all {
        let (counted, lives) = side.count(sides.dir);
        measure::print_side(side.name, &side.samples, &reference, &counted, lives);
    }
}
