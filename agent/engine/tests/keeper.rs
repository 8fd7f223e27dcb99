//! The keeper alone, with real containers: a static busybox in a directory. Needs root.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agent_runtime::cgroup::Cgroup;
use agent_runtime::container::{
    ContainerSpec, ExecSpec, LogDriver, LogPolicy, Rootfs, SeccompPolicy, WindowSize,
};
use agent_runtime::defaults;
use agent_runtime::keeper::client::{Client, ClientError, Event};
use agent_runtime::keeper::protocol::ErrorKind;
use agent_runtime::keeper::{ContainerState, Exit};

/// One keeper in a directory of its own. Dropping it ends it and its containers.
struct Scratch {
    dir: tempfile::TempDir,
    keeper: Child,
    instance: String,
}

impl Scratch {
    fn new() -> Scratch {
        assert!(rustix::process::geteuid().is_root(), "these tests make containers and must run as root");
        let dir = tempfile::Builder::new().prefix("keeper-").tempdir().unwrap();
        let bin = dir.path().join("rootfs/bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::copy("/bin/busybox", bin.join("busybox")).expect("busybox-static is installed");
        let instance =
            format!("/roadstead/{}", dir.path().file_name().unwrap().to_str().unwrap().replace('.', ""));
        let mut keeper = Command::new(env!("CARGO_BIN_EXE_engine-test-keeper"))
            .args(["keeper", "--socket"])
            .arg(dir.path().join("keeper.sock"))
            .arg("--data")
            .arg(dir.path().join("data"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        keeper.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        if said != "ready\n" {
            keeper.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("the keeper did not start: {said}");
        }
        Scratch { dir, keeper, instance }
    }

    fn client(&self) -> Client {
        Client::connect(&self.dir.path().join("keeper.sock")).unwrap()
    }

    fn state_dir(&self, id: &str) -> PathBuf {
        let dir = self.dir.path().join("state").join(id);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn spec(&self, id: &str, script: &str) -> ContainerSpec {
        let mut oci = defaults::spec(None);
        let mut process = oci.process().clone().unwrap();
        process.set_args(Some(["/bin/busybox", "sh", "-c", script].map(str::to_owned).to_vec()));
        oci.set_process(Some(process));
        oci.set_hostname(Some("test".to_owned()));
        oci.linux_mut().as_mut().unwrap().set_cgroups_path(Some(format!("{}/{id}", self.instance).into()));
        ContainerSpec {
            id: id.to_owned(),
            oci,
            rootfs: Rootfs::Directory { path: self.dir.path().join("rootfs"), read_only: false },
            state_dir: self.state_dir(id),
            terminal: None,
            open_stdin: false,
            log: LogPolicy { driver: LogDriver::JsonFile, ..LogPolicy::default() },
            seccomp: SeccompPolicy::default(),
            init: false,
            throw_away: false,
            traceparent: None,
        }
    }

    /// Runs a script to its end.
    fn run(&self, id: &str, script: &str) -> Exit {
        let mut events = self.client().events().unwrap();
        let mut client = self.client();
        client.create(&self.spec(id, script), None).unwrap();
        client.start(id).unwrap();
        let exit = wait_for(&mut events, id);
        client.delete(id).unwrap();
        exit
    }

    fn log(&self, id: &str) -> String {
        read_log(&self.state_dir(id), id)
    }

    fn open_descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.keeper.id())).unwrap().count()
    }

    fn journal(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("data/keeper.log")).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let ended =
            Client::connect(&self.dir.path().join("keeper.sock")).and_then(|client| client.shutdown(true));
        if ended.is_err() {
            let _ = self.keeper.kill();
        }
        let _ = self.keeper.wait();
        let _ = Cgroup::open(&self.instance).and_then(|cgroup| cgroup.remove());
    }
}

fn wait_for(events: &mut agent_runtime::keeper::client::EventReader, wanted: &str) -> Exit {
    loop {
        match events.next_event().unwrap().expect("the keeper lives") {
            Event::Exited { id, exit } if id == wanted => return exit,
            _ => {}
        }
    }
}

fn read_log(dir: &Path, id: &str) -> String {
    let mut text = String::new();
    for number in [".3", ".2", ".1", ""] {
        let Ok(file) = std::fs::read_to_string(dir.join(format!("{id}-json.log{number}"))) else { continue };
        for line in file.lines() {
            let record: serde_json::Value = serde_json::from_str(line).expect("each line is a record");
            text.push_str(record["log"].as_str().unwrap());
        }
    }
    text
}

fn read_to_end(fd: std::os::fd::OwnedFd) -> Vec<u8> {
    let mut bytes = Vec::new();
    UnixStream::from(fd).read_to_end(&mut bytes).unwrap();
    bytes
}

/// Standard output and standard error in Docker's frames.
fn unframe(mut bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut streams = [Vec::new(), Vec::new()];
    while let Some((header, rest)) = bytes.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
        streams[usize::from(header[0]) - 1].extend_from_slice(&rest[..length]);
        bytes = &rest[length..];
    }
    let [out, err] = streams;
    (out, err)
}

#[test]
fn exit_codes_and_signals_are_recorded_before_they_are_told() {
    let scratch = Scratch::new();
    assert_eq!(scratch.run("code", "exit 7").code, 7);
    let exit = scratch.run("signal", "kill -9 $$; exit 0");
    // The first process of a namespace cannot kill itself: what it gets from outside counts.
    assert_eq!((exit.code, exit.signal), (0, None));
    let mut client = scratch.client();
    let mut events = scratch.client().events().unwrap();
    client.create(&scratch.spec("killed", "sleep 100"), None).unwrap();
    client.start("killed").unwrap();
    client.kill("killed", 9).unwrap();
    let exit = wait_for(&mut events, "killed");
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
    assert_eq!(Exit::read(&scratch.state_dir("killed")), Some(exit.clone()));
    let status = client.list().unwrap().into_iter().find(|status| status.id == "killed").unwrap();
    assert_eq!((status.state, status.exit), (ContainerState::Exited, Some(exit)));
    client.delete("killed").unwrap();
    assert!(client.list().unwrap().is_empty());
    assert!(scratch.journal().contains("exit code code=7"));
}

#[test]
fn logs_are_complete_and_in_order_under_load() {
    let scratch = Scratch::new();
    scratch.run("load", "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; echo -n end");
    let expected: String = (0..20_000).map(|number| format!("line {number}\n")).collect();
    assert_eq!(scratch.log("load"), expected + "end");
}

#[test]
fn rotated_logs_keep_the_newest_lines() {
    let scratch = Scratch::new();
    let mut events = scratch.client().events().unwrap();
    let mut client = scratch.client();
    let mut spec = scratch.spec("rotate", "i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done");
    spec.log = LogPolicy { max_bytes: 20_000, max_files: 3, ..spec.log };
    client.create(&spec, None).unwrap();
    client.start("rotate").unwrap();
    wait_for(&mut events, "rotate");
    let log = scratch.log("rotate");
    assert!(log.ends_with("line 4998\nline 4999\n"));
    let files = std::fs::read_dir(scratch.state_dir("rotate")).unwrap().map(Result::unwrap);
    let files = files.filter(|file| file.file_name().to_string_lossy().contains("-json.log"));
    let sizes: Vec<u64> = files.map(|file| file.metadata().unwrap().len()).collect();
    assert_eq!(sizes.len(), 3);
    assert!(sizes.iter().all(|size| *size <= 20_000), "{sizes:?}");
}

#[test]
fn a_program_that_does_not_exist_is_named_and_leaves_nothing() {
    let scratch = Scratch::new();
    let mut client = scratch.client();
    let mut spec = scratch.spec("missing", "");
    let mut process = spec.oci.process().clone().unwrap();
    process.set_args(Some(vec!["/no/such/program".to_owned()]));
    spec.oci.set_process(Some(process));
    client.create(&spec, None).unwrap();
    let error = client.start("missing").unwrap_err();
    assert!(error.to_string().contains("/no/such/program"), "{error}");
    client.delete("missing").unwrap();
    assert!(client.list().unwrap().is_empty());
    assert_eq!(Exit::read(&scratch.state_dir("missing")), None);
    assert_eq!(
        Cgroup::open(&format!("{}/missing", scratch.instance)).unwrap().processes(),
        Vec::<i32>::new()
    );
}

#[test]
fn a_terminal_echoes_is_resized_and_ends() {
    let scratch = Scratch::new();
    let mut client = scratch.client();
    let mut spec = scratch.spec("tty", "read line; echo got $line; stty size; read x; stty size; exit 3");
    spec.terminal = Some(WindowSize { rows: 11, columns: 22 });
    let mut process = spec.oci.process().clone().unwrap();
    process.set_terminal(Some(true));
    spec.oci.set_process(Some(process));
    // Applets are found as files beside busybox.
    std::fs::copy("/bin/busybox", scratch.dir.path().join("rootfs/bin/stty")).unwrap();
    client.create(&spec, None).unwrap();
    let mut terminal = UnixStream::from(client.attach("tty").unwrap());
    client.start("tty").unwrap();
    terminal.write_all(b"hello\n").unwrap();
    let mut seen = String::new();
    let mut bytes = [0; 256];
    while !seen.contains("11 22") {
        let count = terminal.read(&mut bytes).unwrap();
        assert!(count > 0, "{seen:?}");
        seen.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }
    client.resize("tty", WindowSize { rows: 33, columns: 44 }).unwrap();
    terminal.write_all(b"\n").unwrap();
    let mut rest = String::new();
    terminal.read_to_string(&mut rest).unwrap();
    seen.push_str(&rest);
    assert!(seen.starts_with("hello\r\ngot hello\r\n"), "{seen:?}");
    assert!(seen.contains("33 44"), "{seen:?}");
    assert!(client.resize("tty", WindowSize { rows: 1, columns: 1 }).is_err());
    assert!(scratch.log("tty").contains("got hello"));
}

#[test]
fn input_reaches_the_container_and_ends_with_the_clients() {
    let scratch = Scratch::new();
    let mut client = scratch.client();
    let mut spec = scratch.spec("cat", "busybox cat; echo done >&2");
    spec.open_stdin = true;
    client.create(&spec, None).unwrap();
    let mut stream = UnixStream::from(client.attach("cat").unwrap());
    client.start("cat").unwrap();
    let sent: Vec<u8> = (0..3_000_000_u32).map(|number| b'a' + (number % 23) as u8).collect();
    let mut writer = stream.try_clone().unwrap();
    let to_send = sent.clone();
    let sender = std::thread::spawn(move || {
        writer.write_all(&to_send).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    sender.join().unwrap();
    let (out, err) = unframe(&bytes);
    assert!(out == sent, "{} of {} bytes came back", out.len(), sent.len());
    assert_eq!(err, b"done\n");
}

#[test]
fn a_slow_client_loses_nothing_and_a_gone_one_stops_nobody() {
    let scratch = Scratch::new();
    let mut client = scratch.client();
    let mut events = scratch.client().events().unwrap();
    let script = "i=0; while [ $i -lt 100000 ]; do echo line $i; i=$((i+1)); done";
    client.create(&scratch.spec("slow", script), None).unwrap();
    let slow = client.attach("slow").unwrap();
    let gone = client.attach("slow").unwrap();
    client.start("slow").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    drop(gone);
    assert_eq!(
        client.list().unwrap()[0].state,
        ContainerState::Running,
        "the output is paused for the slow client"
    );
    let (out, _) = unframe(&read_to_end(slow));
    let expected: String = (0..100_000).map(|number| format!("line {number}\n")).collect();
    assert!(out == expected.as_bytes(), "{} of {} bytes", out.len(), expected.len());
    assert_eq!(wait_for(&mut events, "slow").code, 0);
    assert!(scratch.log("slow") == expected);
}

#[test]
fn garbage_and_vanishing_clients_leave_no_trace() {
    let scratch = Scratch::new();
    let mut client = scratch.client();
    let socket = scratch.dir.path().join("keeper.sock");
    let before = scratch.open_descriptors();
    for round in 0..50 {
        let mut stream = UnixStream::connect(&socket).unwrap();
        let garbage: Vec<u8> =
            (0..65_536_u32).map(|number| ((number * 31 + round) % 256).to_le_bytes()[0]).collect();
        // It may be cut off before all is written.
        let _ = stream.write_all(&garbage);
        let mut half = UnixStream::connect(&socket).unwrap();
        half.write_all(&[0, 0, 1, 0, b'{']).unwrap();
        let mut nonsense = UnixStream::connect(&socket).unwrap();
        nonsense.write_all(b"\0\0\0\x02{}").unwrap();
    }
    assert!(client.list().unwrap().is_empty());
    let deadline = Instant::now() + Duration::from_secs(5);
    while scratch.open_descriptors() > before && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(scratch.open_descriptors(), before);
    // Requests that do not fit are refused one by one.
    let refused = |error: ClientError| match error {
        ClientError::Refused { kind, .. } => kind,
        other => panic!("{other}"),
    };
    assert_eq!(refused(client.start("none").unwrap_err()), ErrorKind::NotFound);
    assert_eq!(refused(client.kill("none", 9).unwrap_err()), ErrorKind::NotFound);
    client.create(&scratch.spec("one", "sleep 100"), None).unwrap();
    assert_eq!(refused(client.create(&scratch.spec("one", ""), None).unwrap_err()), ErrorKind::Exists);
    client.start("one").unwrap();
    assert_eq!(refused(client.start("one").unwrap_err()), ErrorKind::State);
    assert_eq!(refused(client.delete("one").unwrap_err()), ErrorKind::State);
    assert_eq!(refused(client.kill("one", 999).unwrap_err()), ErrorKind::Invalid);
    assert_eq!(refused(scratch.client().shutdown(false).unwrap_err()), ErrorKind::State);
}

/// A further process that is held runs at the word of who asked for it, of nobody else, and ends with them.
#[test]
fn a_held_process_waits_for_its_client_and_ends_with_it() {
    let scratch = Scratch::new();
    let (mut client, mut other) = (scratch.client(), scratch.client());
    let container = scratch.spec("c", "sleep 100");
    client.create(&container, None).unwrap();
    client.start("c").unwrap();
    let further = |id: &str| {
        let mut process = container.oci.process().clone().unwrap();
        process.set_args(Some(
            ["/bin/busybox", "sh", "-c", "echo > /tmp/ran; sleep 100"].map(str::to_owned).to_vec(),
        ));
        ExecSpec {
            id: id.to_owned(),
            process,
            terminal: None,
            open_stdin: false,
            seccomp: SeccompPolicy::Default,
            profile: None,
        }
    };
    let (pid, held) = client.exec_held("c", &further("e1"), None).unwrap();
    let program = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    // Until then it is a copy of the keeper, and says so.
    let runs = |pid: i32| !program(pid).is_empty() && !program(pid).contains("keeper");
    assert!(held && !runs(pid), "{}", program(pid));
    assert!(matches!(other.let_in("e1"), Err(ClientError::Refused { kind: ErrorKind::State, .. })));
    assert!(!runs(pid) && !program(pid).is_empty());
    client.let_in("e1").unwrap();
    assert!(runs(pid), "{}", program(pid));
    assert!(matches!(client.let_in("e1"), Err(ClientError::Refused { kind: ErrorKind::State, .. })));
    let (lost, _) = client.exec_held("c", &further("e2"), None).unwrap();
    drop(client);
    let deadline = Instant::now() + Duration::from_secs(5);
    while !program(lost).is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(program(lost).is_empty() && runs(pid), "{} {}", program(lost), program(pid));
    assert!(matches!(other.let_in("e2"), Err(ClientError::Refused { kind: ErrorKind::NotFound, .. })));
    assert!(matches!(
        other.exec_held("c", &ExecSpec { terminal: None, ..further("e1") }, None),
        Err(ClientError::Refused { kind: ErrorKind::Exists, .. })
    ));
}

#[test]
fn nothing_of_a_container_stays_in_the_keeper() {
    let scratch = Scratch::new();
    scratch.run("first", "true");
    let before = scratch.open_descriptors();
    for number in 0..20 {
        scratch.run(&format!("c{number}"), "echo x");
        let mut client = scratch.client();
        let unstarted = format!("u{number}");
        client.create(&scratch.spec(&unstarted, "true"), None).unwrap();
        drop(client.attach(&unstarted).unwrap());
        client.delete(&unstarted).unwrap();
    }
    assert!(scratch.client().list().unwrap().is_empty());
    let deadline = Instant::now() + Duration::from_secs(5);
    while scratch.open_descriptors() > before && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    // The connections of this test close a moment after we let go of them.
    assert!(scratch.open_descriptors() <= before, "{} > {before}", scratch.open_descriptors());
    let children = Command::new("ps")
        .args(["--no-headers", "--ppid"])
        .arg(scratch.keeper.id().to_string())
        .output()
        .unwrap();
    assert!(children.stdout.is_empty(), "{}", String::from_utf8_lossy(&children.stdout));
}

#[test]
fn only_one_keeper_serves_a_data_directory() {
    let scratch = Scratch::new();
    let second = Command::new(env!("CARGO_BIN_EXE_engine-test-keeper"))
        .args(["keeper", "--socket"])
        .arg(scratch.dir.path().join("other.sock"))
        .arg("--data")
        .arg(scratch.dir.path().join("data"))
        .output()
        .unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("another keeper"), "{second:?}");
}

#[test]
fn the_keeper_is_deaf_to_the_terminals_signals_and_sees_few_mounts() {
    let scratch = Scratch::new();
    let pid = scratch.keeper.id().to_string();
    for signal in ["INT", "HUP", "TERM", "QUIT"] {
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }
    assert_eq!(scratch.run("after", "exit 4").code, 4);
    let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    let foreign = mounts.lines().filter(|line| {
        let point = line.split(' ').nth(4).unwrap();
        !["/", "/proc", "/sys", "/dev", "/dev/pts", "/dev/shm"].contains(&point)
            && !point.starts_with("/sys/fs/cgroup")
            && !"/tmp".starts_with(point)
    });
    assert_eq!(foreign.collect::<Vec<_>>(), Vec::<&str>::new());
}
