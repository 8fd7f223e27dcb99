//! A container's life on one host, through an agent that is killed in between.

use itest::host::Host;
use itest::registry::{ADDRESS, Registry};
use itest::solo::Solo;
use itest::{image, inventory, wait};

use crate::{SOON, scratch};

#[test]
fn a_container_lives_without_a_controller_and_leaves_nothing() {
    let (host, dir) = (Host::new("life"), scratch());
    let registry = Registry::start(&host, dir.path());
    registry.push("busybox", "1", &image::busybox(&["sh"]));
    let mut solo = Solo::start(&host, dir.path());
    let before = inventory::of(&host, dir.path());
    let image = format!("{ADDRESS}/busybox:1");
    assert_eq!(solo.ctl(&["container", "run", "--rm", &image, "echo", "hello"]), "hello\n");
    solo.ctl(&["container", "run", "-d", "--name", "long", &image, "sleep", "1000"]);
    let pid = solo.json(&["container", "ls"])[0]["pid"].clone();

    solo.kill_agent();
    solo.start_again();
    let listed = solo.json(&["container", "ls"]);
    assert_eq!((&listed[0]["name"], &listed[0]["pid"]), (&"long".into(), &pid), "{listed}");

    let (code, said) = solo.refused(&["container", "rm", "long"]);
    assert!(code == 4 || said.contains("running"), "{code}: {said}");
    solo.ctl(&["container", "rm", "--force", "long"]);
    wait::until("nothing is left", SOON, || {
        let left = inventory::added(&before, &inventory::of(&host, dir.path()));
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}
