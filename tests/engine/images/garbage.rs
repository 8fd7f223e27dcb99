//! What a crash or a failure leaves, and who removes it.

use itest::host::Host;
use itest::registry::{ADDRESS, Registry};
use itest::solo::Solo;
use itest::{image, wait};

use super::{contents, load, names};
use crate::{SOON, scratch};

#[test]
fn the_next_start_removes_what_a_crash_left_and_keeps_the_rest() {
    let (host, dir) = (Host::new("imgc"), scratch());
    let mut solo = Solo::start(&host, dir.path());
    load(&solo, "box:1", &["sleep", "1000"]);
    solo.ctl(&["run", "-d", "--name", "web", "box:1"]);
    solo.ctl(&["image", "rm", "--force", "box:1"]);
    let whole = contents(dir.path());
    solo.kill_agent();
    // A blob that no image came to name, one that was still coming, and layers of the same kinds.
    let agent = dir.path().join("data/agent");
    std::fs::write(agent.join("content/blobs/sha256").join("ab".repeat(32)), "nobody's").unwrap();
    std::fs::write(agent.join("content/ingest/7"), "half").unwrap();
    for folder in ["layers/".to_owned() + &"cd".repeat(32), "incoming/3".to_owned(), "trash/4".to_owned()] {
        std::fs::create_dir_all(agent.join("snapshots").join(folder).join("etc")).unwrap();
    }
    solo.start_again();
    wait::until("only what is in use is left", SOON, || {
        let now = contents(dir.path());
        if now == whole { Ok(()) } else { Err(format!("{:?}", now.symmetric_difference(&whole))) }
    });
    assert_eq!(solo.ctl(&["exec", "web", "echo", "alive"]), "alive\n");
    solo.ctl(&["container", "rm", "--force", "web"]);
}

/// Two images of a registry, of which one is run, and one that was loaded; then the agent is one that finds the disk
/// full whatever is on it.
#[test]
fn for_want_of_room_only_what_can_be_pulled_again_goes() {
    let (host, dir) = (Host::new("imgf"), scratch());
    let registry = Registry::start(&host, dir.path());
    for name in ["used", "unused"] {
        registry.push(name, "1", &image::busybox(&["sleep", "1000", name]));
    }
    let mut solo = Solo::start_with(
        &host,
        dir.path(),
        &["--image-gc-high", "1", "--image-gc-low", "0", "--image-gc-interval", "1", "--image-gc-spare", "3"],
    );
    for name in ["used", "unused"] {
        solo.ctl(&["image", "pull", &format!("{ADDRESS}/{name}:1")]);
    }
    load(&solo, "loaded:1", &["true"]);
    solo.ctl(&["run", "-d", "--name", "web", &format!("{ADDRESS}/used:1"), "sleep", "1000"]);
    assert!(names(&solo).contains(&format!("{ADDRESS}/unused:1")), "it was pulled a moment ago");
    let unused = format!("{ADDRESS}/unused:1");
    wait::until("the unused image goes", SOON, || {
        let now = names(&solo);
        if now.contains(&unused) { Err(format!("{now:?}")) } else { Ok(()) }
    });
    std::thread::sleep(std::time::Duration::from_secs(3));
    let stay = ["loaded:1".to_owned(), format!("{ADDRESS}/used:1"), "roadstead/hello:latest".to_owned()];
    assert_eq!(names(&solo), stay);
    assert_eq!(solo.ctl(&["exec", "web", "echo", "alive"]), "alive\n");
    assert_eq!(solo.ctl(&["run", "--rm", "loaded:1", "echo", "here"]), "here\n");
    solo.ctl(&["container", "rm", "--force", "web"]);
    solo.stop();
}
