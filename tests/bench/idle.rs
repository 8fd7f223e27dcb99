//! Two hundred containers that wait, and what they cost beside themselves: ours, and
//! a tenth as many of Docker's.

use itest::registry::ADDRESS;
use itest::solo::Solo;

use crate::docker::Docker;
use crate::memory::{Slope, Sum};

const OURS: u32 = 200;
const THEIRS: u32 = 20;

/// Measures and prints.
pub(crate) fn print(solo: &Solo<'_>, docker: &Docker<'_>) {
    let data = solo.root().join("data").display().to_string();
    let image = format!("{ADDRESS}/{}", crate::IMAGE);
    let is_ours = |line: &[String]| {
        line.first().is_some_and(|program| program.ends_with("/agent"))
            && line.iter().any(|word| word.contains(&data))
    };
    let is_theirs = |line: &[String]| {
        let program = line.first().map_or("", |program| program.rsplit('/').next().unwrap_or(program));
        ["dockerd", "containerd", "containerd-shim-runc-v2", "docker-proxy"].contains(&program)
    };
    // What grows once, with the first.
    solo.ctl(&["container", "run", "--detach", "--name", "first", &image]);
    docker.must(&["run", "--detach", "--name", "first", crate::IMAGE]);

    let before = Sum::of(is_ours);
    for number in 0..OURS {
        solo.ctl(&["container", "run", "--detach", "--name", &format!("idle{number}"), &image]);
    }
    settle();
    let ours = Sum::of(is_ours).since(before, OURS);
    let before = Sum::of(is_theirs);
    for number in 0..THEIRS {
        docker.must(&["run", "--detach", "--name", &format!("idle{number}"), crate::IMAGE]);
    }
    settle();
    let theirs = Sum::of(is_theirs).since(before, THEIRS);
    println!("\nper idle container, its own process not counted");
    println!("{:<24} {:>14} {:>14} {:>14} {:>10}", "", "private KiB", "PSS KiB", "kernel KiB", "processes");
    line("ours, of 200", ours);
    line("docker, of 20", theirs);
    let all = solo.ctl(&["container", "ls", "--all", "--quiet"]);
    let all: Vec<&str> = all.split_whitespace().collect();
    solo.ctl(&[&["container", "rm", "--force"], all.as_slice()].concat());
    let all = docker.must(&["ps", "--all", "--quiet"]);
    let all: Vec<&str> = all.split_whitespace().collect();
    docker.must(&[&["rm", "--force"], all.as_slice()].concat());
}

fn line(name: &str, slope: Slope) {
    println!(
        "{name:<24} {:>14.1} {:>14.1} {:>14.1} {:>10.2}",
        slope.private_kib, slope.proportional_kib, slope.kernel_kib, slope.processes
    );
}

/// Until what the engines do after an answer is done.
fn settle() {
    std::thread::sleep(std::time::Duration::from_secs(3));
}
