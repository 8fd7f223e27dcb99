//! A bundle in a directory of its own, and a runtime to run it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use itest::{programs, wait};
use serde_json::{Value, json};

/// A runtime.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    path: PathBuf,
    /// Where it is called by another name.
    _link: Option<std::sync::Arc<tempfile::TempDir>>,
}

impl Program {
    /// This engine's.
    pub(crate) fn ours() -> Program {
        let folder = tempfile::Builder::new().prefix("rt-").tempdir_in("/tmp").expect("/tmp is writable");
        let path = folder.path().join("agent-oci");
        symlink(programs::ours("agent"), &path).expect("a link");
        Program { name: "agent-oci", path, _link: Some(folder.into()) }
    }

    /// A package's.
    pub(crate) fn installed(name: &'static str) -> Program {
        programs::need(name, name);
        Program { name, path: name.into(), _link: None }
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// What it printed, if it ended well.
    #[track_caller]
    pub(crate) fn good(self) -> String {
        assert!(self.code == 0, "exit code {}: {}{}", self.code, self.out, self.err);
        self.out
    }

    /// What it complained about: it must have failed.
    #[track_caller]
    pub(crate) fn refused(self) -> String {
        assert!(self.code != 0, "it should have failed: {}", self.out);
        self.err
    }
}

/// A bundle, its runtime and its container `id`.
pub(crate) struct Lab {
    pub(crate) program: Program,
    pub(crate) id: String,
    dir: tempfile::TempDir,
}

/// What a shell in the container is made of.
const APPLETS: [&str; 30] = [
    "sh", "cat", "ls", "id", "mount", "sleep", "echo", "true", "false", "ps", "mknod", "hostname", "env",
    "stat", "grep", "touch", "readlink", "kill", "umask", "mkdir", "chroot", "tty", "stty", "pwd", "head",
    "wc", "dd", "uname", "ln", "test",
];

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Lab {
    pub(crate) fn new(program: &Program) -> Lab {
        let dir = tempfile::Builder::new().prefix("rt-").tempdir_in("/tmp").expect("/tmp is writable");
        let id = format!("rt-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let lab = Lab { program: program.clone(), id, dir };
        let rootfs = lab.rootfs();
        for folder in ["bin", "proc", "sys", "dev", "tmp", "etc"] {
            fs::create_dir_all(rootfs.join(folder)).expect("a directory");
        }
        programs::need("busybox", "busybox-static");
        fs::copy("/bin/busybox", rootfs.join("bin/busybox")).expect("busybox-static is installed");
        for applet in APPLETS {
            symlink("busybox", rootfs.join("bin").join(applet)).expect("a link");
        }
        fs::write(rootfs.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").expect("a file");
        lab
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn bundle(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.path("rootfs")
    }

    /// The container's cgroup as the configuration has it.
    pub(crate) fn cgroups_path(&self) -> String {
        format!("/{0}/{0}", self.id)
    }

    /// A configuration that runs `script`.
    pub(crate) fn config(&self, script: &str) -> Value {
        json!({
            "ociVersion": "1.0.2",
            "root": {"path": "rootfs"},
            "hostname": "lab",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": ["sh", "-c", script],
                "env": ["PATH=/bin"],
                "cwd": "/",
                "noNewPrivileges": true,
                "capabilities": {
                    "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_MKNOD"],
                    "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_MKNOD"],
                    "effective": ["CAP_CHOWN", "CAP_KILL", "CAP_MKNOD"],
                },
            },
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                 "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                 "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            ],
            "linux": {
                "cgroupsPath": self.cgroups_path(),
                "resources": {"devices": [{"allow": false, "access": "rwm"}]},
                "namespaces": [
                    {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network"},
                ],
            },
        })
    }

    /// A configuration that runs `script` and that `change` changed.
    pub(crate) fn changed(&self, script: &str, change: impl FnOnce(&mut Value)) -> Value {
        let mut config = self.config(script);
        change(&mut config);
        config
    }

    pub(crate) fn write(&self, config: &Value) {
        fs::write(self.path("config.json"), config.to_string()).expect("a file");
    }

    /// The runtime with `arguments`.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program.path);
        command.arg("--root").arg(self.path("root")).args(arguments);
        command.current_dir(self.dir.path());
        command
    }

    /// Runs a command whose output is its own.
    pub(crate) fn call(&self, arguments: &[&str]) -> Ran {
        self.collect(self.command(arguments))
    }

    /// Output goes to files: a container that lives on would keep a pipe open.
    pub(crate) fn collect(&self, mut command: Command) -> Ran {
        let (out, err) = (self.path("out"), self.path("err"));
        let file = |path: &Path| fs::File::create(path).expect("a file");
        command.stdin(Stdio::null()).stdout(file(&out)).stderr(file(&err));
        let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let text = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        Ran { code: status.code().unwrap_or(-1), out: text(&out), err: text(&err) }
    }

    /// Runs a container from beginning to end.
    pub(crate) fn run(&self, config: &Value) -> Ran {
        self.write(config);
        self.call(&["run", &self.id])
    }

    /// What `script` prints in a container as configured.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> String {
        self.run(&self.config(script)).good()
    }

    /// Makes the container, which must succeed.
    #[track_caller]
    pub(crate) fn create(&self, config: &Value) {
        self.write(config);
        self.call(&["create", "--bundle", &self.bundle().display().to_string(), &self.id]).good();
    }

    /// What making the container is refused with.
    #[track_caller]
    pub(crate) fn create_refused(&self, config: &Value) -> String {
        self.write(config);
        let said =
            self.call(&["create", "--bundle", &self.bundle().display().to_string(), &self.id]).refused();
        assert!(self.call(&["state", &self.id]).code != 0, "a container is left: {said}");
        said
    }

    /// A command on the container, which must succeed.
    #[track_caller]
    pub(crate) fn must(&self, verb: &str) -> String {
        let ran = self.call(&[verb, &self.id]);
        assert!(ran.code == 0, "{verb}: {}{}", ran.out, ran.err);
        ran.out
    }

    #[track_caller]
    pub(crate) fn state(&self) -> Value {
        let text = self.must("state");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    pub(crate) fn status(&self) -> String {
        self.state()["status"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn pid(&self) -> i64 {
        self.state()["pid"].as_i64().unwrap_or_default()
    }

    pub(crate) fn wait_for(&self, status: &str) {
        wait::until(&format!("the container is {status}"), Duration::from_secs(10), || {
            let now = self.status();
            if now == status { Ok(()) } else { Err(format!("it is {now}")) }
        });
    }

    /// The text of a file of the bundle, once there is one.
    pub(crate) fn appears(&self, name: &str) -> String {
        let path = self.path(name);
        wait::until(&format!("{name} appears"), Duration::from_secs(10), || {
            if path.exists() { Ok(()) } else { Err("it does not".to_owned()) }
        });
        fs::read_to_string(path).expect("it is text")
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The directories of a cgroup in all hierarchies.
    pub(crate) fn cgroups(&self, path: &str) -> Vec<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let cgroup = |line: &&str| line.contains(" - cgroup ") || line.contains(" - cgroup2 ");
        let points = mounts.lines().filter(cgroup).filter_map(|line| line.split(' ').nth(4));
        let directories = points.map(|point| PathBuf::from(format!("{point}{path}")));
        directories.filter(|directory| directory.exists()).collect()
    }

    /// A file of a controller of the container's cgroup: the first of these names that is there.
    #[track_caller]
    pub(crate) fn cgroup_file(&self, names: &[&str]) -> String {
        for directory in self.cgroups(&self.cgroups_path()) {
            for name in names {
                if let Ok(text) = fs::read_to_string(directory.join(name)) {
                    return text.trim().to_owned();
                }
            }
        }
        panic!("none of {names:?} in {}", self.cgroups_path())
    }

    /// The inode of a namespace of a process.
    pub(crate) fn namespace(pid: i64, kind: &str) -> String {
        let pid = if pid == 0 { "self".to_owned() } else { pid.to_string() };
        let link = fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a namespace");
        link.display().to_string()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.call(&["delete", "--force", &self.id]);
        for directory in self.cgroups(&format!("/{}", self.id)) {
            let _ = fs::remove_dir(directory.join(&self.id));
            let _ = fs::remove_dir(directory);
        }
    }
}
