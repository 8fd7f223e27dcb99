//! Numbers of processes that have become somebody else's. The container has ended, the agent has not heard of it, and the
//! number of its first process is that of a process of the host: whatever is asked of the container then, that one must
//! not be touched, looked into or joined.

use std::process::{Child, Command, Stdio};

use itest::host::Host;
use itest::{image, programs, wait};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::Field;
use crate::{SOON, scratch};

/// Keeps one thread of a process from going on, until it is dropped or its maker ends.
struct Held(Pid);

impl Held {
    fn thread(process: u32, name: &str) -> Held {
        let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("it runs").flatten();
        let is_it = |path: &std::path::Path| {
            std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name)
        };
        let found = threads.map(|entry| entry.path()).find(|path| is_it(path));
        let found = found.unwrap_or_else(|| panic!("no thread of {process} is called {name}"));
        let number = found.file_name().and_then(|name| name.to_str()?.parse().ok()).expect("a number");
        let thread = Pid::from_raw(number);
        ptrace::seize(thread, ptrace::Options::empty()).expect("it can be traced");
        ptrace::interrupt(thread).expect("it is ours");
        waitpid(thread, Some(WaitPidFlag::__WALL)).expect("it stops");
        Held(thread)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // One that has ended needs no letting go.
        let _ = ptrace::detach(self.0, None);
    }
}

/// A process of the host with this number, which must be free.
fn with_number(pid: u32) -> Child {
    for _ in 0..2000 {
        // The next number to be given out is the one after it; somebody else may be faster.
        std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string())
            .expect("a kernel with CONFIG_CHECKPOINT_RESTORE, and root");
        let mut child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().expect("sleep");
        if child.id() == pid {
            return child;
        }
        child.kill().expect("it was our child");
        child.wait().expect("it was our child");
    }
    panic!("the number {pid} was not to be had");
}

/// What `ctl` can ask of a container that its process's number could be used for.
const VERBS: &[&str] = &[
    "container exec gone touch {canary}/evil",
    "container exec -u 0 -w {canary} gone touch evil",
    "container cp gone:{canary}/file -",
    "container cp gone:{canary} {out}",
    "container cp {mine} gone:{canary}/file",
    "container top gone",
    "container stats --no-stream gone",
    "container run --rm --pid container:gone {image} sh -c {look}",
    "container run --rm --ipc container:gone {image} sh -c {look}",
    "container run --rm --network container:gone {image} sh -c {look}",
    "container run --rm --userns host --pid container:gone {image} sh -c {look}",
    "container diff gone",
    "container update --pids-limit 1 gone",
    "container pause gone",
    "container unpause gone",
    "container kill -s STOP gone",
    "container kill gone",
    "container stop -t 0 gone",
];

/// Says "won" in a container that sees more than itself.
const LOOK: &str = "[ $(ls -d /proc/[0-9]* | wc -l) -gt 6 ] && echo won; \
                    [ $(grep -c : /proc/net/dev) -gt 1 ] && echo won; ls /dev/shm | grep -q evil && echo won; true";

/// Runs `ctl`, but not for long: some of it waits for an end that cannot be heard of now.
fn patiently(field: &Field<'_>, arguments: &[&str]) -> String {
    let command = field.solo.command(arguments);
    let mut limited = Command::new("timeout");
    limited.arg("8").arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    programs::said(&programs::output(&mut limited))
}

/// State and cgroups of a process.
fn condition(pid: u32) -> (String, String) {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).expect("it lives");
    let state = read("stat").rsplit_once(") ").map(|(_, rest)| rest[..1].to_owned());
    (state.expect("a state"), read("cgroup"))
}

#[test]
fn a_number_that_is_another_processs_by_now_is_not_the_containers() {
    let (host, dir) = (Host::new("recycled"), scratch());
    let field = Field::new(&host, dir.path());
    let image = field.image("busybox", &image::busybox(&["sh"]));
    let flags = ["--network", "none", "--ipc", "shareable", "--name", "gone"];
    field.solo.ctl(&[&["container", "run", "-d"], &flags[..], &[&image, "sleep", "1000"]].concat());
    let listed = field.solo.json(&["container", "ls", "--filter", "name=gone"]);
    let pid = listed[0]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("it runs");
    std::fs::write("/dev/shm/evil-recycled", "").expect("memory");
    let (mine, out) = (dir.path().join("mine"), dir.path().join("out"));
    std::fs::write(&mine, "from outside").expect("the test's directory is writable");
    let held = Held::thread(field.solo.agent_pid(), "keeper-events");
    itest::dev::kill(pid, "KILL");
    wait::until("the keeper has reaped it", SOON, || {
        if std::path::Path::new(&format!("/proc/{pid}")).exists() { Err(pid.to_string()) } else { Ok(()) }
    });
    let mut victim = with_number(pid);
    wait::until("it waits", SOON, || if condition(pid).0 == "S" { Ok(()) } else { Err(condition(pid).0) });
    let before = condition(pid);
    let (canary, mine, out) = (field.canary.text(), mine.display().to_string(), out.display().to_string());
    let mut can = Vec::new();
    for verb in VERBS {
        let words: Vec<String> = verb
            .split(' ')
            .map(|word| word.replace("{canary}", &canary).replace("{mine}", &mine).replace("{out}", &out))
            .map(|word| word.replace("{image}", &image).replace("{look}", LOOK))
            .collect();
        let said = patiently(&field, &words.iter().map(String::as_str).collect::<Vec<_>>());
        let is_untouched = matches!(victim.try_wait(), Ok(None)) && condition(pid) == before;
        let is_inside = said.contains("won") || said.contains("untouched") || said.contains("sleep 1000");
        if is_inside || !is_untouched {
            can.push(format!("beaten: {verb}\n    {said} {:?}", victim.try_wait()));
        }
        field.canary.check(verb);
        assert!(!std::path::Path::new(&out).exists(), "{verb}: something was copied: {said}");
    }
    drop(held);
    std::fs::remove_file("/dev/shm/evil-recycled").expect("it was made");
    assert!(can.is_empty(), "the host's process was taken for the container's\n{}", can.join("\n"));
    wait::until("the end is heard of", SOON, || {
        let shown = field.solo.json(&["container", "ls", "--all", "--filter", "name=gone"]);
        if shown[0]["exit_code"] == 137 { Ok(()) } else { Err(shown.to_string()) }
    });
    field.solo.ctl(&["container", "rm", "--force", "gone"]);
    assert!(matches!(victim.try_wait(), Ok(None)), "what is left of the container was looked for by number");
    victim.kill().expect("it was our child");
    victim.wait().expect("it was our child");
    field.finish();
}
