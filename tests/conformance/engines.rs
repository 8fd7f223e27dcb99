//! Other engines with `agent oci` as their runtime: Debian's podman, and containerd by its `ctr`. The images are
//! made here; no network is involved.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use itest::{dev, image, programs, wait};

/// The program under the name that stands for its runtime's command line.
fn runtime(dir: &Path) -> PathBuf {
    let path = dir.join("agent-oci");
    symlink(programs::ours("agent"), &path).expect("a link");
    path
}

struct Podman {
    dir: tempfile::TempDir,
    runtime: PathBuf,
}

impl Podman {
    fn new() -> Podman {
        programs::need_root();
        programs::need("podman", "podman");
        let dir = crate::scratch();
        let runtime = runtime(dir.path());
        let podman = Podman { dir, runtime };
        let layer = podman.dir.path().join("layer.tar.gz");
        fs::write(&layer, image::busybox(&["sh"]).layer).expect("a file");
        podman.must(&["import", &layer.display().to_string(), "busy:1"]);
        podman
    }

    fn call(&self, arguments: &[&str]) -> Output {
        let path = |name: &str| self.dir.path().join(name);
        let mut command = Command::new("podman");
        command.arg("--root").arg(path("storage")).arg("--runroot").arg(path("run"));
        command.arg("--tmpdir").arg(path("tmp")).args([
            "--storage-driver",
            "vfs",
            "--events-backend",
            "none",
        ]);
        command.args(["--cgroup-manager", "cgroupfs", "--runtime"]).arg(&self.runtime);
        command.args(arguments).stdin(Stdio::null());
        programs::output(&mut command)
    }

    #[track_caller]
    fn must(&self, arguments: &[&str]) -> String {
        let output = self.call(arguments);
        assert!(output.status.success(), "podman {arguments:?}: {}", programs::said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        self.call(&["rm", "--all", "--force", "--time", "0"]);
    }
}

#[test]
fn podman_runs_containers_with_agent_oci() {
    let podman = Podman::new();
    let run = |arguments: &[&str]| podman.call(&[&["run", "--rm", "--network", "none"], arguments].concat());
    let script = "echo out; echo err >&2; cat /proc/self/status; exit 7";
    let output = run(&["busy:1", "sh", "-c", script]);
    let said = programs::said(&output);
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert!(said.contains("out\n") && said.contains("err\n"), "{said}");
    let output = run(&["--user", "1000:1000", "--memory", "64m", "--read-only", "busy:1", "id", "-u"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1000\n", "{}", programs::said(&output));
    let output = run(&["--tty", "busy:1", "stty", "size"]);
    assert!(output.status.success(), "{}", programs::said(&output));
    assert_eq!(run(&["busy:1", "/no/such/program"]).status.code(), Some(127));
}

#[test]
fn podman_manages_a_container_of_agent_oci() {
    let podman = Podman::new();
    podman.must(&["run", "--detach", "--name", "one", "--network", "none", "busy:1", "sleep", "1000"]);
    let out = podman.must(&["exec", "one", "ps"]);
    assert!(out.contains("sleep 1000"), "{out}");
    podman.must(&["pause", "one"]);
    let status = || podman.must(&["inspect", "--format", "{{.State.Status}}", "one"]);
    assert_eq!(status(), "paused\n");
    podman.must(&["unpause", "one"]);
    assert_eq!(status(), "running\n");
    podman.must(&["stop", "--time", "1", "one"]);
    assert_eq!(status(), "exited\n");
    podman.must(&["start", "one"]);
    assert_eq!(status(), "running\n");
    podman.must(&["rm", "--force", "--time", "0", "one"]);
}

/// A containerd of its own.
struct Containerd {
    dir: tempfile::TempDir,
    runtime: PathBuf,
    child: Child,
}

impl Containerd {
    fn new() -> Containerd {
        programs::need_root();
        programs::need("containerd", "containerd");
        programs::need("ctr", "containerd");
        let dir = crate::scratch();
        let runtime = runtime(dir.path());
        let path = |name: &str| dir.path().join(name);
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\n  address = {:?}\n[ttrpc]\n  address = {:?}\n",
            path("root"),
            path("state"),
            path("c.sock"),
            path("t.sock"),
        );
        fs::write(path("config.toml"), config).expect("a file");
        let log = fs::File::create(path("containerd.log")).expect("a file");
        let mut command = Command::new("containerd");
        command.arg("--config").arg(path("config.toml")).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("containerd starts");
        let containerd = Containerd { dir, runtime, child };
        wait::until("containerd answers", Duration::from_secs(30), || {
            let output = containerd.call(&["version"]);
            if output.status.success() { Ok(()) } else { Err(programs::said(&output)) }
        });
        containerd
    }

    fn call(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.dir.path().join("c.sock")).args(arguments).stdin(Stdio::null());
        programs::output(&mut command)
    }

    #[track_caller]
    fn must(&self, arguments: &[&str]) -> String {
        let output = self.call(arguments);
        let log = fs::read_to_string(self.dir.path().join("containerd.log")).unwrap_or_default();
        let said = programs::said(&output);
        assert!(
            output.status.success(),
            "ctr {arguments:?}: {said}\n{}",
            log.lines().last().unwrap_or_default()
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Puts a busybox in the store, as an image in the layout of the specification.
    fn import(&self) {
        let archive = self.dir.path().join("image.tar");
        fs::write(&archive, layout(&image::busybox(&["sh"]))).expect("a file");
        self.must(&["image", "import", "--snapshotter", "native", &archive.display().to_string()]);
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        self.call(&["task", "rm", "--force", "one"]);
        dev::kill(self.child.id(), "TERM");
        let _ = self.child.wait();
    }
}

/// An image as an archive in OCI layout, called `busy:1`.
fn layout(image: &image::Image) -> Vec<u8> {
    let descriptor = |kind: &str, bytes: &[u8]| serde_json::json!({"mediaType": kind, "digest": image::digest(bytes), "size": bytes.len()});
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &image.config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &image.layer)],
    })
    .to_string()
    .into_bytes();
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    entry["annotations"] = serde_json::json!({"io.containerd.image.name": "docker.io/library/busy:1"});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
    let mut tree = tar::Builder::new(Vec::new());
    let mut add = |path: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        tree.append_data(&mut header, path, bytes).expect("writing to memory");
    };
    add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    add("index.json", index.as_bytes());
    for bytes in [&manifest, &image.config, &image.layer] {
        add(&format!("blobs/sha256/{}", image::digest(bytes).trim_start_matches("sha256:")), bytes);
    }
    tree.into_inner().expect("writing to memory")
}

#[test]
fn containerd_runs_containers_with_agent_oci() {
    let containerd = Containerd::new();
    containerd.import();
    let runtime = containerd.runtime.display().to_string();
    let run = ["run", "--runc-binary", &runtime, "--snapshotter", "native"];
    let image = "docker.io/library/busy:1";
    let script = "echo out; id -u; cat /proc/self/cgroup";
    let out = containerd.must(&[&run[..], &["--rm", image, "short", "sh", "-c", script]].concat());
    assert!(out.starts_with("out\n0\n") && out.contains("/default/short"), "{out}");
    let output = containerd.call(&[&run[..], &["--rm", image, "code", "sh", "-c", "exit 7"]].concat());
    assert_eq!(output.status.code(), Some(7), "{}", programs::said(&output));
    containerd.must(&[&run[..], &["--detach", image, "one", "sleep", "1000"]].concat());
    // By its exit code: ctr may end before it has passed on what the program printed.
    let test = "[ \"$(cat /proc/1/comm)\" = sleep ]";
    containerd.must(&["task", "exec", "--exec-id", "e", "one", "sh", "-c", test]);
    containerd.must(&["task", "pause", "one"]);
    containerd.must(&["task", "resume", "one"]);
    containerd.must(&["task", "kill", "--signal", "SIGKILL", "one"]);
    wait::until("the task has stopped", Duration::from_secs(10), || {
        let list = containerd.must(&["task", "ls"]);
        if list.contains("STOPPED") { Ok(()) } else { Err(list) }
    });
    containerd.must(&["task", "rm", "one"]);
}
