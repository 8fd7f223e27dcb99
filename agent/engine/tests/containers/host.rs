//! A host to run an engine on, and what is to be seen on it afterwards.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use agent_engine::{ContainerConfig, Engine, EngineConfig, Exit, LogOptions};
use futures::StreamExt;
use nix::sched::{CloneFlags, unshare};

pub(crate) const IMAGE: &str = "test/busybox:1";

pub(crate) struct Host {
    dir: tempfile::TempDir,
}

/// Runs a test on a host of its own and checks that it leaves nothing there.
pub(crate) fn on_a_host<F: Future<Output = ()>>(test: impl FnOnce(Host) -> F + Send + 'static) {
    assert!(rustix::process::geteuid().is_root(), "these tests make containers and must run as root");
    let body = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace");
        command("ip", &["link", "set", "lo", "up"]);
        let dir = tempfile::Builder::new().prefix("engine-").tempdir().unwrap();
        let host = Host { dir };
        let (config, path) = (host.config(), host.dir.path().to_path_buf());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let keep = path.clone();
        runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(120), test(host)).await.expect("the test ends in time");
        });
        runtime.shutdown_timeout(Duration::from_secs(5));
        assert_eq!(left(&config, &keep), Vec::<String>::new(), "left on the host");
    };
    if let Err(panic) = std::thread::spawn(body).join() {
        std::panic::resume_unwind(panic);
    }
}

impl Host {
    pub(crate) fn config(&self) -> EngineConfig {
        EngineConfig {
            data_dir: self.dir.path().join("data"),
            run_dir: self.dir.path().join("run"),
            bridge: "rstest0".to_owned(),
            subnet: "10.77.0.0/24".to_owned(),
            keeper_program: env!("CARGO_BIN_EXE_engine-test-keeper").into(),
            cdi_dirs: Vec::new(),
            registries: agent_engine::image::RegistrySettings::default(),
            favor_dynmods: true,
            image_gc: None,
            network_pool: 0,
        }
    }

    /// Opens the engine, and makes the image if it is not there.
    pub(crate) async fn open(&self) -> Engine {
        let engine = Engine::open(self.config()).await.unwrap();
        let image = IMAGE.parse().unwrap();
        if engine.images().get(&image).await.unwrap().is_none() {
            let config = serde_json::json!({
                "architecture": "amd64", "os": "linux",
                "config": { "Env": ["PATH=/bin", "FROM=image"], "Cmd": ["sh", "-c", "echo default"], "WorkingDir": "/srv" }
            });
            engine.images().import(&image, vec![layer()], config).await.unwrap();
        }
        engine
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
}

/// A plain container that runs this script.
/// The directory of a cgroup: below the hierarchy of processes, or of everything.
pub(crate) fn cgroup_dir(cgroup: &str) -> PathBuf {
    let [processes, all] = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].map(Path::new);
    let hierarchy = if processes.is_dir() { processes } else { all };
    hierarchy.join(cgroup.trim_start_matches('/'))
}

pub(crate) fn script(text: &str) -> ContainerConfig {
    ContainerConfig {
        image: IMAGE.to_owned(),
        command: ["sh", "-c", text].map(str::to_owned).to_vec(),
        stop_grace: Some(Duration::from_secs(2)),
        ..ContainerConfig::default()
    }
}

pub(crate) async fn run(engine: &Engine, config: ContainerConfig) -> (String, Exit) {
    let id = engine.create(config).await.unwrap();
    engine.start(&id).await.unwrap();
    let exit = engine.wait(&id).await.unwrap();
    (id, exit)
}

/// The log so far, or with `follow` until the container's end.
pub(crate) async fn log(engine: &Engine, id: &str, follow: bool) -> String {
    let stream = engine.logs(id, LogOptions { follow, ..LogOptions::default() }).unwrap();
    let entries: Vec<_> = stream.collect().await;
    entries.into_iter().map(|entry| String::from_utf8(entry.data).unwrap()).collect()
}

pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..500 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}

pub(crate) fn command(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn layer() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |path: &str, mode: u32, kind: tar::EntryType, data: &[u8], link: Option<&str>| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(data.len() as u64);
        match link {
            Some(target) => archive.append_link(&mut header, path, target).unwrap(),
            None => archive.append_data(&mut header, path, data).unwrap(),
        }
    };
    use tar::EntryType::{Directory, Regular, Symlink};
    for dir in ["bin", "etc", "srv", "tmp"] {
        add(dir, if dir == "tmp" { 0o1777 } else { 0o755 }, Directory, b"", None);
    }
    let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed");
    add("bin/busybox", 0o755, Regular, &busybox, None);
    for applet in ["sh", "cat", "echo", "sleep", "id", "hostname", "stty", "nc", "true"] {
        add(&format!("bin/{applet}"), 0o777, Symlink, b"", Some("busybox"));
    }
    add("etc/passwd", 0o644, Regular, b"root:x:0:0:root:/root:/bin/sh\nweb:x:101:102::/srv:/bin/sh\n", None);
    add("etc/group", 0o644, Regular, b"root:x:0:\nwww:x:102:\nlogs:x:7:web\n", None);
    archive.into_inner().unwrap()
}

/// What of this engine is left on the host.
fn left(config: &EngineConfig, dir: &Path) -> Vec<String> {
    let mut left = Vec::new();
    let instance = config.instance();
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap() {
        let path = hierarchy.unwrap().path().join("roadstead").join(&instance);
        if path.exists() {
            left.push(format!("cgroup {}", path.display()));
        }
    }
    let links = command("ip", &["-o", "link"]);
    left.extend(links.lines().filter(|line| !line.contains(": lo:")).map(|line| format!("link {line}")));
    left.extend(command("nft", &["list", "tables"]).lines().map(|line| format!("nft {line}")));
    for process in std::fs::read_dir("/proc").unwrap() {
        let Ok(command) = std::fs::read(process.unwrap().path().join("cmdline")) else { continue };
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(dir.to_str().unwrap()) {
            left.push(format!("process {command}"));
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    left.extend(
        mounts
            .lines()
            .filter(|line| line.contains(dir.to_str().unwrap()))
            .map(|line| format!("mount {line}")),
    );
    if let Ok(names) = std::fs::read_dir(config.run_dir.join("netns")) {
        left.extend(names.map(|name| format!("netns {:?}", name.unwrap().file_name())));
    }
    left
}
