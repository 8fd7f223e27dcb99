//! Further processes in a running container: confined as it is, and made without trusting anything in it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;

use agent_runtime::container::{ExecSpec, WindowSize};
use agent_runtime::process::{CreateError, Ends, JoinError, Progress, StartError, join};

use crate::lab::{BASE, Lab, Running, names, reap};

/// A process that was sent into a container and runs.
struct Sent {
    pid: i32,
    pidfd: OwnedFd,
    ends: Ends,
}

fn spec(lab: &Lab, args: &[&str]) -> ExecSpec {
    let process = lab.spec(args).oci.process().clone().expect("a process");
    let seccomp = agent_runtime::container::SeccompPolicy::Default;
    ExecSpec { id: "exec-1".to_owned(), process, terminal: None, open_stdin: false, seccomp, profile: None }
}

fn send(lab: &Lab, container: &Running, spec: &ExecSpec) -> Result<Sent, JoinError> {
    let rest = container.spawned.as_ref().expect("it runs");
    let (mut joining, pidfd) = join(spec, rest.pidfd.as_fd(), &rest.namespaces, &rest.cgroup, &lab.staging)?;
    let mut ends = Ends::default();
    let failed = loop {
        match joining.advance() {
            Ok(Progress::Waiting) => {}
            Ok(Progress::Streams(made)) => ends = made,
            Ok(Progress::AtGate) => joining.go().expect("it waits"),
            Ok(Progress::Runs) => return Ok(Sent { pid: joining.pid, pidfd, ends }),
            Err(error) => break error,
        }
    };
    drop(joining);
    reap(&pidfd);
    Err(failed)
}

impl Sent {
    fn out(&mut self) -> String {
        let mut text = String::new();
        let end = self.ends.stdout.take().expect("a pipe");
        fs::File::from(end).read_to_string(&mut text).expect("output");
        text
    }

    fn status(&self) -> BTreeMap<String, String> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("it runs");
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        pairs.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect()
    }

    fn end(self) {
        rustix::process::pidfd_send_signal(&self.pidfd, rustix::process::Signal::KILL).expect("killed");
        reap(&self.pidfd);
    }
}

/// The container could not end while one in it is not reaped, so a test that fails does that too.
impl Drop for Sent {
    fn drop(&mut self) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, rustix::process::Signal::KILL);
        reap(&self.pidfd);
    }
}

/// Runs a script in a container that sleeps.
fn sh(lab: &Lab, container: &Running, script: &str) -> (i32, String) {
    let mut sent = send(lab, container, &spec(lab, &["sh", "-c", script])).expect("it runs");
    let out = sent.out();
    (reap(&sent.pidfd), out)
}

#[test]
fn a_further_process_is_confined_as_the_first() {
    let lab = Lab::new();
    let container = lab.start(&lab.spec(&["sleep", "60"]));
    // What a careless keeper would leave open: not even close-on-exec.
    let directory = fs::File::open("/").expect("the root");
    let leaked: Vec<_> = (0..50).map(|_| rustix::io::dup(&directory).expect("a descriptor")).collect();
    let sent = send(&lab, &container, &spec(&lab, &["sleep", "60"])).expect("it runs");
    let (ours, theirs) = (sent.status(), container.proc("status"));
    for key in [
        "Uid",
        "Gid",
        "Groups",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "Seccomp_filters",
        "SigIgn",
        "SigBlk",
        "Umask",
    ] {
        let wanted = theirs.lines().find_map(|line| line.strip_prefix(&format!("{key}:"))).expect(key).trim();
        assert_eq!(ours[key], wanted, "{key}");
    }
    assert_eq!(ours["Uid"], format!("{BASE}\t{BASE}\t{BASE}\t{BASE}"));
    assert_eq!((ours["NoNewPrivs"].as_str(), ours["Seccomp"].as_str()), ("1", "2"));
    for kind in ["user", "mnt", "pid", "ipc", "uts", "net", "cgroup"] {
        let own = fs::read_link(format!("/proc/{}/ns/{kind}", sent.pid)).expect("a link");
        assert_eq!(own.display().to_string(), container.link(&format!("ns/{kind}")), "{kind}");
    }
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", sent.pid)).expect("it runs");
    assert_eq!(cgroups, container.proc("cgroup"));
    assert_eq!(names(format!("/proc/{}/fd", sent.pid).as_ref()), ["0", "1", "2"]);
    let (root, first) = (format!("/proc/{}/root", sent.pid), format!("/proc/{}/root", container.pid));
    let inode = |path: &str| {
        let stat = rustix::fs::stat(path).expect("a root");
        (stat.st_dev, stat.st_ino)
    };
    assert_eq!(inode(&root), inode(&first));
    let limit = |pid: i32| {
        let text = fs::read_to_string(format!("/proc/{pid}/limits")).expect("it runs");
        text.lines().find(|line| line.starts_with("Max open files")).expect("a limit").to_owned()
    };
    assert_eq!(limit(sent.pid), limit(container.pid));
    drop(leaked);
    sent.end();
}

#[test]
fn this_process_stays_where_it_was() {
    let lab = Lab::new();
    let here = |kind: &str| fs::read_link(format!("/proc/self/ns/{kind}")).expect("a namespace");
    let before: Vec<_> = ["pid", "pid_for_children", "net", "mnt", "user"].map(here).into();
    let container = lab.start(&lab.spec(&["sleep", "60"]));
    assert_eq!(sh(&lab, &container, "echo $$").0, 0);
    let missing = send(&lab, &container, &spec(&lab, &["no-such-program"])).map(drop);
    assert!(matches!(missing, Err(JoinError::Start(StartError::NotFound { .. }))), "{missing:?}");
    assert_eq!(["pid", "pid_for_children", "net", "mnt", "user"].map(here).to_vec(), before);
}

#[test]
fn it_sees_the_containers_processes_and_root() {
    let lab = Lab::new();
    let container = lab.start(&lab.spec(&["sh", "-c", "echo mine > /tmp/mark; exec sleep 60"]));
    let (code, out) = sh(
        &lab,
        &container,
        "while ! [ -s /tmp/mark ]; do :; done; cat /tmp/mark /proc/1/comm /proc/sys/kernel/hostname; pwd",
    );
    assert_eq!((code, out.as_str()), (0, "mine\nsleep\nlab\n/\n"));
}

#[test]
fn codes_and_reasons_are_those_of_a_shell() {
    let lab = Lab::new();
    fs::write(lab.lower().join("bin/plain"), "text").expect("a file");
    let container = lab.start(&lab.spec(&["sleep", "60"]));
    assert_eq!(sh(&lab, &container, "exit 7").0, 7);
    for (program, code) in [("nothing-here", 127), ("/bin/plain", 126)] {
        match send(&lab, &container, &spec(&lab, &[program])).map(drop) {
            Err(JoinError::Start(error)) => {
                assert_eq!(error.exit_code(), code, "{error}");
                assert!(error.to_string().contains(program), "{error}");
            }
            other => panic!("{program}: {other:?}"),
        }
    }
    assert_eq!(lab.cgroup().processes(), [container.pid], "a failed one leaves no process");
}

#[test]
fn another_user_has_no_capabilities_and_its_own_environment() {
    let lab = Lab::new();
    let container = lab.start(&lab.spec(&["sleep", "60"]));
    let mut spec = spec(&lab, &["sleep", "60"]);
    let mut user = oci_spec::runtime::User::default();
    user.set_uid(1234);
    user.set_gid(99);
    spec.process.set_user(user);
    let sent = send(&lab, &container, &spec).expect("it runs");
    let status = sent.status();
    let uid = BASE + 1234;
    assert_eq!(status["Uid"], format!("{uid}\t{uid}\t{uid}\t{uid}"));
    assert_eq!(status["Groups"], (BASE + 99).to_string());
    assert_eq!(
        (status["CapPrm"].as_str(), status["CapEff"].as_str()),
        ("0000000000000000", "0000000000000000")
    );
    sent.end();
}

#[test]
fn a_planted_link_as_working_directory_leads_nowhere_else() {
    let lab = Lab::new();
    let canary = lab.dir.path().join("canary");
    fs::create_dir(&canary).expect("a directory");
    let container = lab.start(&lab.spec(&["sleep", "60"]));
    let directory = fs::File::open("/").expect("the root");
    let leaked: Vec<_> = (0..200).map(|_| rustix::io::dup(&directory).expect("a descriptor")).collect();
    let upper = lab.dir.path().join("upper");
    let lies = ["/proc/self/fd/3", "/proc/1/root", "/proc/self/cwd", "/proc/self/fd/9", "/nowhere"];
    for lie in lies.iter().map(|lie| (*lie).to_owned()).chain([canary.display().to_string()]) {
        let _ = fs::remove_file(upper.join("planted"));
        symlink(&lie, upper.join("planted")).expect("a link");
        for cwd in [lie.as_str(), "/planted"] {
            let mut spec = spec(&lab, &["sh", "-c", "echo x > left-behind; pwd"]);
            spec.process.set_cwd(cwd.into());
            let error = send(&lab, &container, &spec).map(drop).expect_err(cwd);
            assert!(matches!(error, JoinError::Create(CreateError::Step { .. })), "{cwd}: {error}");
        }
    }
    for number in (0..300).chain([511, 1023]) {
        let mut spec = spec(&lab, &["ls"]);
        spec.process.set_cwd(format!("/proc/self/fd/{number}").into());
        send(&lab, &container, &spec).map(drop).expect_err("a directory behind a magic link");
    }
    drop(leaked);
    assert_eq!(names(&canary), [""; 0]);
}

#[test]
fn a_link_inside_stays_inside() {
    let lab = Lab::new();
    symlink("/tmp", lab.lower().join("work")).expect("a link");
    let container = lab.start(&lab.spec(&["sleep", "60"]));
    let mut spec = spec(&lab, &["sh", "-c", "pwd -P"]);
    spec.process.set_cwd("/work".into());
    let mut sent = send(&lab, &container, &spec).expect("it runs");
    assert_eq!(sent.out(), "/tmp\n");
    reap(&sent.pidfd);
}

#[test]
fn a_terminal_is_of_the_containers_devpts_and_leaves_the_console_alone() {
    let lab = Lab::new();
    let container = lab.start(&lab.spec(&["sleep", "60"]));
    let script = "busybox tty; busybox stty size; id -u > /dev/tty; [ -e /dev/console ] || echo none";
    let mut spec = spec(&lab, &["sh", "-c", script]);
    spec.terminal = Some(WindowSize { rows: 20, columns: 70 });
    let mut sent = send(&lab, &container, &spec).expect("it runs");
    let mut master = fs::File::from(sent.ends.terminal.take().expect("a terminal"));
    let (mut text, mut buffer) = (Vec::new(), [0_u8; 4096]);
    while let Ok(count @ 1..) = master.read(&mut buffer) {
        text.extend_from_slice(&buffer[..count]);
    }
    assert_eq!(String::from_utf8_lossy(&text).replace('\r', ""), "/dev/pts/0\n20 70\n0\nnone\n");
    assert_eq!(reap(&sent.pidfd), 0);
}

#[test]
fn an_input_is_read_to_its_end() {
    let lab = Lab::new();
    let container = lab.start(&lab.spec(&["sleep", "60"]));
    let mut spec = spec(&lab, &["cat"]);
    spec.open_stdin = true;
    let mut sent = send(&lab, &container, &spec).expect("it runs");
    fs::File::from(sent.ends.stdin.take().expect("a pipe")).write_all(b"all of it").expect("written");
    assert_eq!(sent.out(), "all of it");
    assert_eq!(reap(&sent.pidfd), 0);
}

#[test]
fn it_dies_with_the_container() {
    let lab = Lab::new();
    let container = lab.start(&lab.spec(&["sleep", "60"]));
    let sent = send(&lab, &container, &spec(&lab, &["sleep", "60"])).expect("it runs");
    let rest = container.spawned.as_ref().expect("it runs");
    rustix::process::pidfd_send_signal(&rest.pidfd, rustix::process::Signal::KILL).expect("killed");
    assert_eq!(reap(&sent.pidfd), 137);
    let again = send(&lab, &container, &spec(&lab, &["ls"])).map(drop);
    assert!(matches!(again, Err(JoinError::Create(_))), "{again:?}");
}

#[test]
fn nobody_inside_can_look_into_it_before_it_runs() {
    let lab = Lab::new();
    // Without a user namespace the container's root is the host's, which the kernel would let look.
    let mut first = lab.spec_for(None, &["sleep", "60"]);
    if let Some(linux) = first.oci.linux_mut() {
        linux.set_uid_mappings(None);
    }
    let container = lab.start(&first);
    let rest = container.spawned.as_ref().expect("it runs");
    let (joining, pidfd) =
        join(&spec(&lab, &["sleep", "60"]), rest.pidfd.as_fd(), &rest.namespaces, &rest.cgroup, &lab.staging)
            .expect("it is on its way");
    // It stands at its gate, for nobody has answered it.
    let watcher = "for n in 1 2 3 4 5 6 7 8 9; do for p in /proc/[0-9]*; do \
                   [ \"$(busybox readlink $p/exe)\" ] || echo hidden $p; done; sleep 0.05; done";
    let other = ExecSpec { id: "exec-2".to_owned(), ..spec(&lab, &["sh", "-c", watcher]) };
    let mut seen = send(&lab, &container, &other).expect("it runs");
    let told = seen.out();
    reap(&seen.pidfd);
    // Before anything may fail: the container could not end while it is not reaped.
    drop(joining);
    reap(&pidfd);
    assert!(told.contains("hidden /proc/2"), "its executable must not be open to the container: {told}");
}
