//! Logging in, pushing, pulling, and a registry that dies while it is sent something.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use itest::wait;

use super::*;

#[test]
fn a_login_is_refused_accepted_kept_and_forgotten() {
    let (host, dir) = (Host::new("login"), scratch());
    let lab = Lab::start(&host, dir.path());
    let arguments = ["login", "-u", USER, "--password-stdin", ADDRESS];
    let (worked, said) = lab.try_ctl(&arguments, "wrong\n");
    assert!(!worked && said.contains("does not accept this user with this password"), "{said}");
    assert!(!lab.config.join("config.json").exists(), "what was refused is not kept");
    let image = format!("{ADDRESS}/none:1");
    let (worked, said) = lab.try_ctl(&["image", "pull", &image], "");
    assert!(!worked && said.contains(&format!("ctl login {ADDRESS}")), "{said}");
    lab.log_in();
    let mode = std::fs::metadata(lab.config.join("config.json")).expect("it is kept").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (worked, said) = lab.try_ctl(&["image", "pull", &image], "");
    assert!(!worked && said.contains("not found in the registry"), "{said}");
    assert!(lab.ctl(&["logout", ADDRESS]).contains("logged out"));
    let (worked, said) = lab.try_ctl(&["image", "pull", &image], "");
    assert!(!worked && said.contains("denies access"), "{said}");
    let log = std::fs::read_to_string(dir.path().join("data/agent.log")).expect("the agent's log");
    assert!(!log.contains(PASSWORD), "the password is in the agent's log");
}

#[test]
fn what_is_pushed_skopeo_reads_and_what_skopeo_copies_is_pulled() {
    let (host, dir) = (Host::new("push"), scratch());
    let lab = Lab::start(&host, dir.path());
    lab.log_in();
    lab.make("app:1", &[("hello", b"from skopeo")]);
    let digest = lab.registry.inspect(&[], "app:1")["Digest"].as_str().expect("a digest").to_owned();
    // To itself: everything is there.
    let said = lab.ctl(&["image", "push", &format!("{ADDRESS}/app:1")]);
    assert!(said.contains("already there") && said.contains(&digest), "{said}");
    // What a container made, which nobody has yet.
    let name = format!("{ADDRESS}/app:2");
    let id = lab.ctl(&["container", "create", &format!("{ADDRESS}/app:1")]);
    lab.ctl(&["container", "commit", id.trim(), &name]);
    let said = lab.ctl(&["image", "push", &name]);
    assert!(said.contains(": done") && said.contains("already there"), "{said}");
    let seen = lab.registry.inspect(&[], "app:2");
    assert_eq!(seen["Layers"].as_array().map(Vec::len), Some(2), "{seen}");
    assert!(said.contains(seen["Digest"].as_str().expect("a digest")), "{said}");
    // skopeo reads every byte of it and compares the digests.
    let copy = format!("dir:{}", dir.path().join("copy").display());
    let before = ["copy", "--src-tls-verify=false"];
    programs::succeed(&mut lab.registry.skopeo(&before, &[&guarded::at("app:2"), &copy]));
    // Both tags at once, as lines that a program reads.
    let said = lab.ctl(&["image", "push", "--all-tags", "--quiet", &format!("{ADDRESS}/app"), "-o", "json"]);
    let lines: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let names: Vec<&str> =
        lines.as_array().expect("a list").iter().filter_map(|line| line["image"].as_str()).collect();
    assert_eq!(names, [format!("{ADDRESS}/app:1"), name.clone()]);
}

#[test]
fn a_blob_that_another_repository_has_is_not_sent_again() {
    let (host, dir) = (Host::new("mount"), scratch());
    let lab = Lab::start(&host, dir.path());
    lab.log_in();
    lab.make("first:1", &[("a", b"one")]);
    let id = lab.ctl(&["container", "create", &format!("{ADDRESS}/first:1")]);
    let name = format!("{ADDRESS}/second:1");
    lab.ctl(&["container", "commit", id.trim(), &name]);
    let said = lab.ctl(&["image", "push", &name]);
    assert!(said.contains("taken over from first"), "{said}");
    assert_eq!(lab.registry.inspect(&[], "second:1")["Layers"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_push_goes_on_after_the_registry_was_killed() {
    let (host, dir) = (Host::new("resume"), scratch());
    let mut lab = Lab::start(&host, dir.path());
    lab.log_in();
    lab.make("big:1", &[("a", b"small")]);
    // 300 MB that do not compress, in the layer that a commit makes.
    let id = lab.ctl(&["container", "create", "--name", "big", &format!("{ADDRESS}/big:1")]);
    let file = dir.path().join("noise");
    programs::succeed(
        std::process::Command::new("sh")
            .arg("-c")
            .arg(format!("head -c 300000000 /dev/urandom > {}", file.display())),
    );
    lab.ctl(&["container", "cp", &file.display().to_string(), "big:/noise"]);
    let name = format!("{ADDRESS}/big:2");
    lab.ctl(&["container", "commit", id.trim(), &name]);
    let mut command = lab.solo.command(&["image", "push", &name]);
    command
        .env("DOCKER_CONFIG", &lab.config)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let push = command.spawn().expect("ctl starts");
    wait::until("some of it is there", Duration::from_secs(60), || match lab.registry.uploading("big") {
        bytes if bytes > 40_000_000 => Ok(()),
        bytes => Err(format!("{bytes} bytes")),
    });
    lab.registry.kill();
    let kept = lab.registry.uploading("big");
    std::thread::sleep(Duration::from_millis(500));
    let again = Instant::now();
    lab.registry.run();
    let output = push.wait_with_output().expect("it is our child");
    assert!(output.status.success(), "{}", programs::said(&output));
    assert!(again.elapsed() < Duration::from_secs(60));
    assert!(kept > 0, "there was something to go on from");
    let manifest = lab.registry.inspect(&["--raw"], "big:2");
    assert!(manifest["layers"][1]["size"].as_u64() > Some(300_000_000), "{manifest}");
    let digest = lab.registry.inspect(&[], "big:2")["Digest"].as_str().expect("a digest").to_owned();
    assert!(programs::said(&output).contains(&digest));
}

#[test]
fn a_pull_goes_on_after_the_registry_was_killed() {
    let (host, dir) = (Host::new("again"), scratch());
    let mut lab = Lab::start(&host, dir.path());
    lab.log_in();
    let mut noise = vec![0; 200_000_000];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").expect("a kernel"), &mut noise)
        .expect("a kernel");
    let mut tree = image::Tree::default();
    tree.file("noise", 0o644, &noise);
    lab.registry.put("big:1", &tree.image(&["/x"]));
    let name = format!("{ADDRESS}/big:1");
    let mut command = lab.solo.command(&["image", "pull", "--quiet", &name]);
    command
        .env("DOCKER_CONFIG", &lab.config)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let pull = command.spawn().expect("ctl starts");
    let ingest = dir.path().join("data/agent/content/ingest");
    wait::until("some of it is here", Duration::from_secs(60), || {
        let entries = std::fs::read_dir(&ingest).map_err(|error| error.to_string())?;
        let bytes: u64 = entries.flatten().filter_map(|entry| Some(entry.metadata().ok()?.len())).sum();
        if bytes > 10_000_000 { Ok(()) } else { Err(format!("{bytes} bytes")) }
    });
    lab.registry.kill();
    std::thread::sleep(Duration::from_millis(500));
    lab.registry.run();
    let output = pull.wait_with_output().expect("it is our child");
    assert!(output.status.success(), "{}", programs::said(&output));
    assert!(programs::said(&output).contains("sha256:"), "{}", programs::said(&output));
}
