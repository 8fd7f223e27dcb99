//! Further programs in running containers, and terminals that are left and come back to.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use itest::host::Host;
use itest::registry::{ADDRESS, Registry};
use itest::solo::Solo;
use itest::{image, programs, wait};

use crate::{SOON, scratch};

/// An agent with a container `c` that sleeps.
fn with_container(label: &str, test: impl FnOnce(&mut Solo<'_>)) {
    let (host, dir) = (Host::new(label), scratch());
    let registry = Registry::start(&host, dir.path());
    registry.push("busybox", "1", &image::busybox(&["sh"]));
    let mut solo = Solo::start(&host, dir.path());
    let image = format!("{ADDRESS}/busybox:1");
    solo.ctl(&["container", "run", "-d", "--name", "c", "-e", "FROM=run", &image, "sleep", "1000"]);
    test(&mut solo);
}

fn exec<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    [&["container", "exec"], rest].concat()
}

#[test]
fn a_program_runs_beside_the_first_with_its_own_environment_and_exit_code() {
    with_container("exec", |solo| {
        let run = |rest: &[&str]| solo.ctl(&exec(rest));
        assert_eq!(run(&["c", "cat", "/proc/1/comm"]), "sleep\n");
        assert_eq!(
            run(&["-e", "OWN=x", "-w", "/tmp", "c", "sh", "-c", "echo $FROM $OWN $PWD"]),
            "run x /tmp\n"
        );
        assert_eq!(run(&["-u", "77:88", "c", "id", "-u"]), "77\n");
        let file = solo.root().join("vars");
        std::fs::write(&file, "# nothing\nA=1\n").expect("a file");
        assert_eq!(run(&["--env-file", file.to_str().expect("text"), "c", "sh", "-c", "echo $A"]), "1\n");

        let output = solo.try_ctl(&exec(&["c", "sh", "-c", "echo out; echo err >&2; exit 42"]));
        assert_eq!(output.status.code(), Some(42));
        assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
        for (command, code, word) in
            [("no-such-program", 127, "no-such-program"), ("/etc", 126, "cannot be executed")]
        {
            let (got, said) = solo.refused(&exec(&["c", command]));
            assert!(got == code && said.contains(word), "{command}: {got}: {said}");
        }
        let (code, said) = solo.refused(&exec(&["-w", "/nowhere", "c", "ls"]));
        assert!(code >= 125 && said.contains("/nowhere"), "{code}: {said}");
        assert!(solo.refused(&exec(&["nobody", "ls"])).1.contains("nobody"));
        // Much output is complete before the code.
        let many =
            run(&["c", "sh", "-c", "i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done"]);
        assert_eq!(many.len(), 11 * 20_000);
    });
}

#[test]
fn input_ends_where_it_ends_and_what_is_detached_goes_on_until_the_container_ends() {
    with_container("exec-in", |solo| {
        let mut command = solo.command(&exec(&["-i", "c", "cat"]));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("ctl starts");
        child.stdin.take().expect("a pipe").write_all(b"all of it").expect("written");
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success() && output.stdout == b"all of it", "{output:?}");

        let id = solo.ctl(&exec(&["-d", "c", "sh", "-c", "echo $$ > /tmp/pid; exec sleep 500"]));
        assert_eq!(id.trim().len(), 64, "{id}");
        wait::until("the process says its id", SOON, || {
            let output = solo.try_ctl(&exec(&["c", "cat", "/tmp/pid"]));
            if output.status.success() { Ok(()) } else { Err(programs::said(&output)) }
        });
        let seen = solo.ctl(&exec(&["c", "sh", "-c", "cat /proc/$(cat /tmp/pid)/comm"]));
        assert_eq!(seen, "sleep\n");
        solo.ctl(&["container", "stop", "--time", "0", "c"]);
        let (_, said) = solo.refused(&exec(&["c", "ls"]));
        assert!(said.contains("exited") && said.contains("running"), "{said}");
        solo.ctl(&["container", "rm", "c"]);
    });
}

#[test]
fn an_attached_program_survives_the_agent_and_tells_its_exit_code() {
    with_container("exec-kill", |solo| {
        let script = "echo begun; read word; echo got $word; exit 9";
        let mut command = solo.command(&exec(&["-i", "c", "sh", "-c", script]));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ctl starts");
        std::thread::sleep(Duration::from_secs(1));
        solo.kill_agent();
        solo.start_again();
        std::thread::sleep(Duration::from_secs(1));
        child.stdin.take().expect("a pipe").write_all(b"again\n").expect("written");
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(9), "{}", programs::said(&output));
        assert_eq!(output.stdout, b"begun\ngot again\n");
    });
}

/// Runs `ctl` on a terminal of its own, types and answers what the screen showed.
fn on_terminal(solo: &Solo<'_>, arguments: &[&str], typed: &[(&str, &[u8])]) -> (i32, String) {
    let command = solo.command(arguments);
    let mut line = vec![command.get_program().to_string_lossy().into_owned()];
    line.extend(command.get_args().map(|word| format!("'{}'", word.to_string_lossy())));
    let mut script = std::process::Command::new("script");
    let line = format!("stty rows 33 cols 99; {}", line.join(" "));
    script.args(["-qefc", &line, "/dev/null"]);
    script.env("ROADSTEAD_CONFIG", solo.root().join("config.json"));
    let mut child = script
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script is installed (util-linux)");
    let mut stdin = child.stdin.take().expect("a pipe");
    let mut stdout = child.stdout.take().expect("a pipe");
    let (sender, screen) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut buffer = [0_u8; 4096];
        while let Ok(count @ 1..) = std::io::Read::read(&mut stdout, &mut buffer) {
            let _ = sender.send(buffer[..count].to_vec());
        }
    });
    let mut shown = String::new();
    for (until, keys) in typed {
        let deadline = std::time::Instant::now() + SOON;
        let from = shown.len();
        while !shown[from..].contains(until) {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            match screen.recv_timeout(left) {
                Ok(bytes) => shown.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("{until:?} did not come: {shown}"),
            }
        }
        stdin.write_all(keys).expect("typed");
    }
    let status = child.wait().expect("it ends");
    drop(stdin);
    reader.join().expect("read to the end");
    shown.extend(screen.try_iter().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()));
    (status.code().unwrap_or(-1), shown)
}

#[test]
fn a_terminal_is_left_by_its_keys_and_come_back_to() {
    with_container("exec-tty", |solo| {
        let script = "echo at $(tty); read a; echo one $a; read b; echo two $b; exit 5";
        let (code, shown) = on_terminal(
            solo,
            &exec(&["-it", "c", "sh", "-c", script]),
            &[("at /dev/pts/", b"x\r"), ("one x", b"\x10\x11")],
        );
        assert_eq!(code, 0, "{shown}");
        let id = shown.split("attach --exec ").nth(1).unwrap_or_else(|| panic!("{shown}")).trim();
        let (code, shown) = on_terminal(solo, &["container", "attach", "--exec", id], &[("", b"y\r")]);
        assert!(code == 5 && shown.contains("two y"), "{code}: {shown}");
    });
}

#[test]
fn a_running_container_is_attached_to_and_left() {
    let (host, dir) = (Host::new("attach"), scratch());
    let registry = Registry::start(&host, dir.path());
    registry.push("busybox", "1", &image::busybox(&["sh"]));
    let solo = Solo::start(&host, dir.path());
    let image = format!("{ADDRESS}/busybox:1");
    let script = "while read l; do echo got $l; [ $l = end ] && exit 3; done";
    solo.ctl(&["container", "run", "-dit", "--name", "t", &image, "sh", "-c", script]);
    let keys = ["container", "attach", "--detach-keys", "ctrl-x,q", "t"];
    let (code, shown) = on_terminal(&solo, &keys, &[("", b"hello\r"), ("got hello", b"\x18q")]);
    assert!(code == 0 && shown.contains("ctl container attach"), "{code}: {shown}");
    let (code, shown) = on_terminal(&solo, &["container", "attach", "t"], &[("", b"end\r")]);
    assert!(code == 3 && shown.contains("got end"), "{code}: {shown}");
    let (_, said) = solo.refused(&["container", "attach", "t"]);
    assert!(said.contains("exited") || said.contains("not run"), "{said}");
}

#[test]
fn what_happens_on_terminals_is_told() {
    let (host, dir) = (Host::new("termev"), scratch());
    let registry = Registry::start(&host, dir.path());
    registry.push("busybox", "1", &image::busybox(&["sh"]));
    let solo = Solo::start(&host, dir.path());
    let image = format!("{ADDRESS}/busybox:1");
    solo.ctl(&["run", "-dit", "--name", "t", &image, "sh", "-c", "while read l; do echo got $l; done"]);
    let (code, shown) =
        on_terminal(&solo, &["container", "attach", "t"], &[("", b"a\r"), ("got a", b"\x10\x11")]);
    assert_eq!(code, 0, "{shown}");
    let line = exec(&["-it", "t", "sh", "-c", "echo begun; read a; exit 6"]);
    let (code, shown) = on_terminal(&solo, &line, &[("begun", b"\x10\x11")]);
    assert_eq!(code, 0, "{shown}");
    let id = shown.split("attach --exec ").nth(1).unwrap_or_else(|| panic!("{shown}")).trim();
    let (code, shown) = on_terminal(&solo, &["container", "attach", "--exec", id], &[("", b"x\r")]);
    assert_eq!(code, 6, "{shown}");
    let told = |event: &str, format: &str| {
        let filter = format!("event={event}");
        let line = ["events", "--since", "1h", "--until", "0s", "--filter", &filter, "--format", format];
        solo.ctl(&line).trim().to_owned()
    };
    let attribute = |name: &str| format!("{{{{.Actor.Attributes.{name}}}}}");
    assert_eq!(told("resize", "{{.Actor.Attributes.height}}x{{.Actor.Attributes.width}}"), "33x99");
    assert_eq!(told("attach", "{{.Type}} {{.from}}"), format!("container {image}"));
    assert_eq!(told("detach", &attribute("name")), "t");
    let command = "sh -c echo begun; read a; exit 6";
    assert_eq!(told("exec_create", "{{.Action}}"), format!("exec_create: {command}"));
    assert_eq!(told("exec_start", "{{.status}}"), format!("exec_start: {command}"));
    assert_eq!(told("exec_die", &attribute("exitCode")), "6");
    for event in ["exec_create", "exec_start", "exec_detach", "exec_die"] {
        assert_eq!(told(event, &attribute("execID")), id, "{event}");
    }
    let whole: serde_json::Value = serde_json::from_str(&told("exec_die", "{{json .}}")).expect("JSON");
    assert!(whole["timeNano"].is_u64() && whole["Actor"]["Attributes"]["name"] == "t", "{whole}");
    solo.ctl(&["container", "rm", "-f", "t"]);
}
