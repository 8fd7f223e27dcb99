//! Images whose trees lie: links where mounts go, links where the working directory is.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::lab::{Lab, names};

/// A directory of the host that no container may change, and what it looked like.
struct Canary {
    path: std::path::PathBuf,
}

impl Canary {
    fn new(lab: &Lab) -> Canary {
        let path = lab.dir.path().join("canary");
        fs::create_dir(&path).expect("a directory");
        fs::write(path.join("file"), "untouched").expect("a file");
        Canary { path }
    }

    fn check(&self, what: &str) {
        assert_eq!(names(&self.path), ["file"], "{what}");
        assert_eq!(fs::read_to_string(self.path.join("file")).expect("the file"), "untouched", "{what}");
    }
}

/// Targets a link in an image may name: absolute, relative and upwards.
fn lies(canary: &Path) -> Vec<String> {
    let absolute = canary.display().to_string();
    let upwards = format!("../../../../../../..{absolute}");
    vec![
        absolute,
        upwards,
        "..".into(),
        "/".into(),
        "etc".into(),
        "/proc/self/fd/3".into(),
        "/nowhere".into(),
    ]
}

#[test]
fn a_linked_mount_point_is_refused_and_the_host_untouched() {
    for place in ["proc", "sys", "dev"] {
        let lab = Lab::new();
        let canary = Canary::new(&lab);
        for lie in lies(&canary.path) {
            let link = lab.lower().join(place);
            symlink(&lie, &link).expect("a link");
            let result = lab.create(&lab.spec(&["sleep", "1"]));
            let error = result.map(drop).expect_err("a linked mount point").to_string();
            assert!(error.contains(&format!("/{place}")), "{place} -> {lie}: {error}");
            fs::remove_file(&link).expect("removed");
            canary.check(&format!("{place} -> {lie}"));
            assert!(!lab.cgroup().exists(), "{place} -> {lie}");
        }
    }
}

#[test]
fn links_below_dev_are_covered_by_the_new_dev() {
    let lab = Lab::new();
    let canary = Canary::new(&lab);
    fs::create_dir(lab.lower().join("dev")).expect("a directory");
    for (name, lie) in ["pts", "shm", "mqueue", "null", "console"].iter().zip(lies(&canary.path)) {
        symlink(lie, lab.lower().join("dev").join(name)).expect("a link");
    }
    let ran = lab.sh(
        "busybox grep -q ' /dev/pts devpts' /proc/mounts && busybox grep -q ' /dev/shm tmpfs' /proc/mounts && echo x > /dev/null && echo good",
    );
    assert_eq!(ran.out, "good\n", "{ran:?}");
    canary.check("below /dev");
}

#[test]
fn a_linked_working_directory_stays_inside() {
    let lab = Lab::new();
    let canary = Canary::new(&lab);
    for lie in lies(&canary.path) {
        let link = lab.lower().join("work-here");
        symlink(&lie, &link).expect("a link");
        let mut spec = lab.spec(&["sh", "-c", "busybox pwd; ls; echo x > planted"]);
        if let Some(process) = spec.oci.process_mut() {
            process.set_cwd("/work-here".into());
        }
        if let Ok(spawned) = lab.create(&spec) {
            let ran = crate::lab::Running::start(spawned).expect("it starts").wait();
            assert!(ran.out.starts_with('/') && !ran.out.contains("(unreachable)"), "{lie}: {ran:?}");
        }
        fs::remove_file(&link).expect("removed");
        canary.check(&lie);
        assert!(!lab.cgroup().exists(), "{lie}");
    }
}

#[test]
fn a_working_directory_through_a_descriptor_is_refused() {
    let lab = Lab::new();
    let directory = fs::File::open("/").expect("the root");
    let leaked: Vec<_> = (0..20).map(|_| rustix::io::dup(&directory).expect("a descriptor")).collect();
    for number in 3..30 {
        let mut spec = lab.spec(&["ls"]);
        if let Some(process) = spec.oci.process_mut() {
            process.set_cwd(format!("/proc/self/fd/{number}").into());
        }
        lab.create(&spec).map(drop).expect_err("a working directory behind a magic link");
    }
    drop(leaked);
    assert!(!lab.cgroup().exists());
}

#[test]
fn a_bind_target_behind_a_link_is_made_inside() {
    let lab = Lab::new();
    let canary = Canary::new(&lab);
    let source = lab.dir.path().join("source");
    fs::write(&source, "mounted").expect("a file");
    symlink(&canary.path, lab.lower().join("volume")).expect("a link");
    let mut bind = oci_spec::runtime::Mount::default();
    bind.set_destination("/volume/new".into())
        .set_typ(Some("bind".to_owned()))
        .set_source(Some(source))
        .set_options(Some(vec!["bind".to_owned()]));
    let mut spec = lab.spec(&["cat", "/volume/new"]);
    if let Some(mounts) = spec.oci.mounts_mut() {
        mounts.push(bind);
    }
    match lab.create(&spec) {
        Ok(spawned) => {
            assert_eq!(crate::lab::Running::start(spawned).expect("it starts").wait().out, "mounted");
        }
        // The link dangles inside the container: refusing it is as good.
        Err(error) => assert!(error.to_string().contains("/volume/new"), "{error}"),
    }
    canary.check("a bind target");
}

#[test]
fn a_device_node_in_the_image_does_not_open() {
    let lab = Lab::new();
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    let device = rustix::fs::makedev(1, 5);
    let kind = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, lab.lower().join("zero"), kind, mode, device).expect("a node");
    let ran = lab.sh("busybox head -c 1 /zero");
    assert!(ran.err.contains("Permission denied"), "{ran:?}");
}

#[test]
fn a_null_device_of_the_image_masks_nothing() {
    let lab = Lab::new();
    let mut spec = lab.spec(&["cat", "/proc/kcore"]);
    // Without a fresh /dev the image's own would be used: a plain file called null.
    fs::create_dir(lab.lower().join("dev")).expect("a directory");
    fs::write(lab.lower().join("dev/null"), "a secret").expect("a file");
    if let Some(mounts) = spec.oci.mounts_mut() {
        mounts.retain(|mount| !mount.destination().starts_with("/dev"));
    }
    let error = lab.create(&spec).map(drop).expect_err("a null device that is none").to_string();
    assert!(error.contains("null"), "{error}");
}
