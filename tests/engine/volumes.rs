//! Volumes and mounts as people have them, through `ctl`.

use itest::host::Host;
use itest::registry::{ADDRESS, Registry};
use itest::solo::Solo;
use itest::{image, inventory, wait};

use crate::{SOON, scratch};

#[test]
fn volumes_are_made_shared_inspected_and_removed() {
    let (host, dir) = (Host::new("volumes"), scratch());
    let registry = Registry::start(&host, dir.path());
    registry.push("busybox", "1", &image::busybox(&["sh"]));
    let mut solo = Solo::start(&host, dir.path());
    let before = inventory::of(&host, dir.path());
    let image = format!("{ADDRESS}/busybox:1");
    let run = |arguments: &[&str]| {
        let all =
            [&["container", "run", "--rm"], &arguments[..arguments.len() - 1], &[image.as_str(), "sh", "-c"]];
        let mut command: Vec<&str> = all.concat();
        command.extend(arguments.last());
        command.into_iter().map(str::to_owned).collect::<Vec<String>>()
    };
    let say = |solo: &Solo<'_>, arguments: &[&str]| {
        let command = run(arguments);
        solo.ctl(&command.iter().map(String::as_str).collect::<Vec<_>>())
    };

    assert_eq!(solo.ctl(&["volume", "create", "--label", "tier=db", "data"]), "data\n");
    say(&solo, &["-v", "data:/data", "echo kept > /data/file"]);
    solo.kill_agent();
    solo.start_again();
    assert_eq!(
        say(&solo, &["-v", "data:/data:ro", "cat /data/file; echo x 2>/dev/null > /data/x || echo ro"]),
        "kept\nro\n"
    );
    let seen = solo.json(&["volume", "inspect", "data"]);
    assert_eq!((&seen[0]["driver"], &seen[0]["labels"]["tier"]), (&"local".into(), &"db".into()), "{seen}");

    let source = dir.path().join("source");
    std::fs::create_dir(&source).expect("the test's directory is writable");
    let bind = format!("type=bind,source={},target=/src", source.display());
    say(
        &solo,
        &["--mount", &bind, "--tmpfs", "/scratch:size=1m", "echo made > /src/file; echo x > /scratch/x"],
    );
    assert_eq!(std::fs::read_to_string(source.join("file")).expect("the container made it"), "made\n");

    solo.ctl(&[
        "container",
        "create",
        "--name",
        "holder",
        "-v",
        "data:/data",
        "-v",
        "/scratch",
        &image,
        "true",
    ]);
    let (code, said) = solo.refused(&["volume", "rm", "data"]);
    assert!(code == 6 && said.contains("in use by container holder"), "{code}: {said}");
    assert_eq!(solo.ctl(&["volume", "ls", "-q"]).lines().count(), 2);
    solo.ctl(&["container", "rm", "-v", "holder"]);
    assert_eq!(solo.ctl(&["volume", "ls", "-q", "--filter", "dangling=true"]), "data\n");
    assert_eq!(solo.ctl(&["volume", "prune", "--force"]), "");
    assert_eq!(solo.ctl(&["volume", "rm", "data"]), "data\n");
    let (code, said) = solo.refused(&["volume", "inspect", "data"]);
    assert!(code == 3 && said.contains("no volume \"data\""), "{code}: {said}");
    wait::until("nothing is left", SOON, || {
        let left = inventory::added(&before, &inventory::of(&host, dir.path()));
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

#[test]
fn wrong_mounts_are_refused_before_anything_is_made() {
    let (host, dir) = (Host::new("mounts"), scratch());
    let registry = Registry::start(&host, dir.path());
    registry.push("busybox", "1", &image::busybox(&["sh"]));
    let solo = Solo::start(&host, dir.path());
    let image = format!("{ADDRESS}/busybox:1");
    solo.ctl(&["image", "pull", &image]);
    for (options, words) in [
        (&["-v", "/a::ro"][..], "empty section between colons"),
        (&["-v", "/a:/b:odd"], "invalid mode: odd"),
        (&["--mount", "type=bind,source=/a"], "target is required"),
        (&["--mount", "type=tmpfs,target=/x,volume-nocopy"], "cannot mix 'volume-*' options"),
        (&["--tmpfs", "/x", "-v", "/x"], "Duplicate mount point: /x"),
        (&["-v", "x:/x"], "volume name \"x\" is not allowed"),
        (&["-v", "data:/proc/x"], "kernel's own view"),
        (&["-v", "data:/x", "--volume-driver", "other"], "no volume driver"),
        (&["--volumes-from", "nobody"], "no container"),
    ] {
        let (code, said) = solo.refused(&[&["container", "create"], options, &[&image, "true"]].concat());
        assert!(code == 125 && said.contains(words), "{options:?}: {code}: {said}");
    }
    assert_eq!(solo.ctl(&["volume", "ls", "-q"]), "");
    let (code, said) = solo.refused(&["volume", "create", "--opt", "kind=x", "data"]);
    assert!(code == 6 && said.contains("invalid option"), "{code}: {said}");
    let (code, said) = solo.refused(&["volume", "prune"]);
    assert!(code == 2 && said.contains("--force"), "{code}: {said}");
}
