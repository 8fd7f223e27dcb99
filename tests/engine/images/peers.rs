//! Archives between this engine and the tools of others, both ways: skopeo, umoci, Docker and podman.

use std::path::Path;
use std::process::Command;

use itest::host::Host;
use itest::solo::Solo;
use itest::{programs, wait};

use super::{digest_of, load, settles, text};
use crate::scratch;

fn skopeo(arguments: &[&str]) -> String {
    programs::need("skopeo", "skopeo");
    programs::succeed(Command::new("skopeo").arg("--insecure-policy").args(arguments))
}

fn umoci(arguments: &[&str]) -> String {
    programs::need("umoci", "umoci");
    programs::succeed(Command::new("umoci").args(arguments))
}

fn untar(archive: &Path, into: &Path) {
    std::fs::create_dir_all(into).unwrap();
    programs::succeed(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(into));
}

#[test]
fn skopeo_and_umoci_read_what_is_saved() {
    let (host, dir) = (Host::new("imgp"), scratch());
    let solo = Solo::start(&host, dir.path());
    load(&solo, "box:1", &["echo", "hello"]);
    let id = solo.ctl(&["image", "ls", "-q", "--no-trunc", "box"]).trim().to_owned();
    let archive = dir.path().join("saved.tar");
    solo.ctl(&["image", "save", "-o", text(&archive), "box:1"]);
    let oci = format!("oci-archive:{}", archive.display());
    let manifest = skopeo(&["inspect", "--raw", &oci]);
    assert_eq!(itest::image::digest(manifest.as_bytes()), id, "the very manifest");
    let docker = format!("docker-archive:{}", archive.display());
    let config = skopeo(&["inspect", "--config", &docker]);
    assert!(config.contains("\"echo\"") && config.contains("\"hello\""), "{config}");
    // All its content, checked.
    for source in [&oci, &docker] {
        let copy = dir.path().join(format!("copy-{}", source.len()));
        skopeo(&["copy", "--quiet", source, &format!("dir:{}", copy.display())]);
    }
    let layout = dir.path().join("layout");
    untar(&archive, &layout);
    for blob in std::fs::read_dir(layout.join("blobs/sha256")).unwrap().flatten() {
        let name = blob.file_name().into_string().unwrap();
        assert_eq!(digest_of(&blob.path()), format!("sha256:{name}"));
    }
    let image = format!("{}:1", layout.display());
    let stat = umoci(&["stat", "--image", &image, "--json"]);
    assert!(stat.contains("history"), "{stat}");
    let bundle = dir.path().join("bundle");
    umoci(&["unpack", "--image", &image, text(&bundle)]);
    assert!(bundle.join("rootfs/bin/busybox").exists());
}

#[test]
fn what_skopeo_and_umoci_write_is_loaded_and_runs() {
    let (host, dir) = (Host::new("imgq"), scratch());
    let solo = Solo::start(&host, dir.path());
    load(&solo, "box:1", &["echo", "hello"]);
    let saved = dir.path().join("saved.tar");
    solo.ctl(&["image", "save", "-o", text(&saved), "box:1"]);
    let source = format!("oci-archive:{}", saved.display());
    let path = |name: &str| dir.path().join(name);
    // A layout changed by umoci: one layer more, another command.
    let layout = path("layout");
    skopeo(&["copy", "--quiet", &source, &format!("oci:{}:work", layout.display())]);
    let (image, bundle) = (format!("{}:work", layout.display()), path("bundle"));
    umoci(&["unpack", "--image", &image, text(&bundle)]);
    std::fs::write(bundle.join("rootfs/mark"), "by umoci\n").unwrap();
    umoci(&["repack", "--image", &image, text(&bundle)]);
    umoci(&["config", "--image", &image, "--config.cmd", "cat", "--config.cmd", "/mark"]);
    let changed = path("umoci.tar");
    programs::succeed(Command::new("tar").arg("-cf").arg(&changed).arg("-C").arg(&layout).arg("."));
    let loaded = solo.ctl(&["image", "load", "-q", "-i", text(&changed)]);
    let id = loaded.trim().rsplit(' ').next().unwrap().to_owned();
    assert!(loaded.starts_with("Loaded image ID: sha256:"), "a tag alone names nothing: {loaded}");
    solo.ctl(&["image", "tag", &id, "umoci:1"]);
    assert_eq!(solo.ctl(&["run", "--rm", "umoci:1"]), "by umoci\n");
    // Archives of skopeo, each onto a store that lost the image.
    let from = format!("oci:{}:work", layout.display());
    for (kind, name) in
        [("oci-archive", "skopeo.example/oci:2"), ("docker-archive", "skopeo.example/docker:3")]
    {
        solo.ctl(&["image", "prune", "--all", "--force"]);
        let archive = path(&format!("{kind}.tar"));
        skopeo(&["copy", "--quiet", &from, &format!("{kind}:{}:{name}", archive.display())]);
        assert_eq!(
            solo.ctl(&["image", "load", "-q", "-i", text(&archive)]),
            format!("Loaded image: {name}\n"),
            "{kind}"
        );
        assert_eq!(solo.ctl(&["run", "--rm", name]), "by umoci\n", "{kind}");
    }
    solo.ctl(&["image", "prune", "--all", "--force"]);
    settles(dir.path(), &std::collections::BTreeSet::new());
}

#[test]
fn podman_reads_what_is_saved_and_its_archives_are_loaded() {
    programs::need("podman", "podman");
    let (host, dir) = (Host::new("imgr"), scratch());
    let solo = Solo::start(&host, dir.path());
    load(&solo, "box:1", &["echo", "hello"]);
    let saved = dir.path().join("saved.tar");
    solo.ctl(&["image", "save", "-o", text(&saved), "box:1"]);
    let podman = |arguments: &[&str]| {
        let mut command = Command::new("podman");
        command.arg("--root").arg(dir.path().join("root")).arg("--runroot").arg(dir.path().join("runroot"));
        programs::succeed(command.args(["--storage-driver", "vfs"]).args(arguments))
    };
    let loaded = podman(&["load", "--quiet", "--input", text(&saved)]);
    assert!(loaded.contains("box:1"), "{loaded}");
    for format in ["docker-archive", "oci-archive"] {
        let archive = dir.path().join(format!("{format}.tar"));
        podman(&["save", "--quiet", "--format", format, "-o", text(&archive), "docker.io/library/box:1"]);
        solo.ctl(&["image", "prune", "--all", "--force"]);
        let said = solo.ctl(&["image", "load", "-q", "-i", text(&archive)]);
        assert_eq!(said, "Loaded image: box:1\n", "{format}");
        assert_eq!(solo.ctl(&["run", "--rm", "box:1"]), "hello\n", "{format}");
    }
    podman(&["rmi", "--all", "--force"]);
}

#[test]
fn docker_loads_what_is_saved_and_what_it_saves_is_loaded() {
    programs::need("dockerd", "docker.io");
    let (host, dir) = (Host::new("imgs"), scratch());
    let solo = Solo::start(&host, dir.path());
    load(&solo, "box:1", &["echo", "hello"]);
    let (saved, back) = (dir.path().join("saved.tar"), dir.path().join("docker.tar"));
    solo.ctl(&["image", "save", "-o", text(&saved), "box:1"]);
    let config = solo.json(&["image", "inspect", "box:1"])[0]["layers"].clone();
    let daemon = Daemon::start(&host, dir.path());
    assert!(daemon.docker(&["load", "--input", text(&saved)]).contains("Loaded image: box:1"));
    let layers: serde_json::Value =
        serde_json::from_str(&daemon.docker(&["inspect", "--format", "{{json .RootFS.Layers}}", "box:1"]))
            .unwrap();
    assert_eq!(layers, config);
    daemon.docker(&["tag", "box:1", "docker.example/box:9"]);
    daemon.docker(&["save", "--output", text(&back), "box:1", "docker.example/box:9"]);
    drop(daemon);
    solo.ctl(&["image", "prune", "--all", "--force"]);
    let said = solo.ctl(&["image", "load", "-q", "-i", text(&back)]);
    assert_eq!(said, "Loaded image: docker.example/box:9\nLoaded image: box:1\n");
    assert_eq!(solo.ctl(&["run", "--rm", "docker.example/box:9"]), "hello\n");
}

/// A Docker of its own, without networks.
struct Daemon {
    process: std::process::Child,
    socket: String,
    root: std::path::PathBuf,
}

impl Daemon {
    fn start(host: &Host, root: &Path) -> Self {
        let socket = format!("unix://{}", root.join("docker.sock").display());
        let log = std::fs::File::create(root.join("dockerd.log")).unwrap();
        let mut command = host.command("dockerd");
        command.arg("--data-root").arg(root.join("docker")).arg("--exec-root").arg(root.join("exec"));
        command.arg("-p").arg(root.join("docker.pid")).args(["-H", &socket, "--storage-driver", "vfs"]);
        command.args(["--bridge", "none", "--iptables=false", "--ip6tables=false"]);
        let process = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().expect("dockerd starts");
        let daemon = Self { process, socket, root: root.to_owned() };
        wait::until("docker answers", crate::SOON, || {
            let output = programs::output(&mut daemon.command(&["version"]));
            let log = || std::fs::read_to_string(root.join("dockerd.log")).unwrap_or_default();
            if output.status.success() { Ok(()) } else { Err(log()) }
        });
        daemon
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(["-H", &self.socket]).args(arguments).env("DOCKER_CONFIG", self.root.join("client"));
        command.env_remove("DOCKER_HOST");
        command
    }

    fn docker(&self, arguments: &[&str]) -> String {
        programs::succeed(&mut self.command(arguments))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        itest::dev::kill(self.process.id(), "TERM");
        // The test has failed if it does not end.
        let _ = self.process.wait();
    }
}
