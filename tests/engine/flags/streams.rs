//! What `run` shows and passes on of the container's streams, and what it exits with.

use std::io::Write;
use std::process::Stdio;

use itest::programs;

use super::{Bench, on_a_host};

#[test]
fn streams_and_exit_codes_are_dockers() {
    on_a_host("flags-s", |bench| {
        only_the_attached_streams_are_shown(bench);
        input_alone_is_sent_and_left(bench);
        what_cannot_be_meant_is_refused(bench);
        exit_codes(bench);
        progress_is_no_data(bench);
    });
}

fn only_the_attached_streams_are_shown(bench: &Bench<'_>) {
    let script = "echo out; echo err >&2";
    for (streams, out, err) in [
        (&["-a", "stdout"][..], "out\n", ""),
        (&["--attach=STDERR"], "", "err\n"),
        (&["-a", "stdout", "-a", "stderr"], "out\n", "err\n"),
    ] {
        let line = [&["run", "--rm=true", "--quiet"], streams, &[&bench.image, "sh", "-c", script]].concat();
        let output = bench.solo.try_ctl(&line);
        let shown = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!((&*shown.0, &*shown.1), (out, err), "{streams:?}");
    }
}

fn input_alone_is_sent_and_left(bench: &Bench<'_>) {
    let line = ["run", "-i", "-a", "stdin", "--name", "fed", &bench.image, "sh", "-c", "cat; sleep 1000"];
    let mut ctl = bench.solo.command(&line);
    let mut ctl =
        ctl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ctl");
    ctl.stdin.take().expect("a pipe").write_all(b"a word\n").expect("it reads");
    let output = ctl.wait_with_output().expect("it ends when its input does");
    assert!(output.status.success(), "{}", programs::said(&output));
    let id = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert_eq!(bench.pid(&id), bench.pid(&id), "the id is printed, and it goes on");
    itest::wait::until("the container has read it", crate::SOON, || {
        let logs = bench.solo.ctl(&["logs", "fed"]);
        if logs == "a word\n" { Ok(()) } else { Err(logs) }
    });
    bench.solo.ctl(&["container", "rm", "-f", "fed"]);
}

fn what_cannot_be_meant_is_refused(bench: &Bench<'_>) {
    assert!(bench.refused(&["-d", "-a", "stdout"]).contains("contradict"));
    assert!(bench.refused(&["-a", "stdin"]).contains("--interactive"));
    assert!(bench.refused(&["-a", "nowhere"]).contains("stdout"));
    let (_, said) = bench.solo.refused(&["container", "create", "-a", "stdout", &bench.image]);
    assert!(said.contains("start --attach"), "{said}");
    // A switch must not take the image for its value.
    assert!(bench.refused(&["--use-api-socket"]).contains("the whole host"));
    bench.start(&["--name", "weighed"]);
    let (_, said) = bench.solo.refused(&["container", "update", "--kernel-memory", "1g", "weighed"]);
    assert!(said.contains("gave it up"), "{said}");
}

fn exit_codes(bench: &Bench<'_>) {
    let code = |options: &[&str], command: &[&str]| {
        let line = [&["run", "--rm"], options, &[&bench.image], command].concat();
        bench.solo.try_ctl(&line).status.code()
    };
    assert_eq!(code(&[], &["true"]), Some(0));
    assert_eq!(code(&[], &["sh", "-c", "exit 42"]), Some(42));
    assert_eq!(code(&[], &["no-such-program"]), Some(127));
    assert_eq!(code(&[], &["/no/such/program"]), Some(127));
    assert_eq!(code(&[], &["/etc"]), Some(126), "a directory");
    assert_eq!(code(&[], &["/etc/hostname"]), Some(126), "a file that is not executable");
    assert_eq!(code(&["-w", "relative"], &["true"]), Some(125));
    assert_eq!(code(&["-w", "/bin/busybox"], &["true"]), Some(125), "a working directory that is a file");
    assert_eq!(code(&["--memory", "1k"], &["true"]), Some(125));
    assert_eq!(code(&["--no-such-option"], &["true"]), Some(125), "no program can be meant by that");
    assert_eq!(code(&["--runtime", "runc"], &["true"]), Some(125));
    assert_eq!(code(&["-it"], &["true"]), Some(125), "there is no terminal");
    for (line, expected) in [
        (&["exec", "nobody", "true"][..], 125),
        (&["exec", "--nonsense", "nobody", "true"], 125),
        (&["container", "create", "--nonsense", "image"], 125),
        (&["--agent-socket", "/none", "run", "image"], 125),
        (&["container", "start", "--attach", "nobody"], 3),
        (&["container", "rm", "--nonsense"], 2),
    ] {
        assert_eq!(bench.solo.refused(line).0, expected, "{line:?}");
    }
    for (signal, expected) in [("9", 137), ("15", 143)] {
        let script = format!("kill -{signal} $$");
        assert_eq!(code(&["--init"], &["sh", "-c", &script]), Some(expected));
    }
    let id = bench.start(&["--name", "stays"]);
    let exec = |command: &[&str]| bench.solo.try_ctl(&[&["exec", &id], command].concat()).status.code();
    assert_eq!(exec(&["sh", "-c", "exit 3"]), Some(3));
    assert_eq!(exec(&["no-such-program"]), Some(127));
    assert_eq!(exec(&["/etc/hostname"]), Some(126));
    assert_eq!(exec(&["sh", "-c", "kill -9 $$"]), Some(137));
}

fn progress_is_no_data(bench: &Bench<'_>) {
    let missing = format!("{}/missing:1", itest::registry::ADDRESS);
    let output = bench.solo.try_ctl(&["run", "--rm", &missing, "true"]);
    assert_eq!((output.status.code(), &*output.stdout), (Some(125), &b""[..]), "{}", programs::said(&output));
    let output = bench.solo.try_ctl(&["run", "--rm", "--pull", "always", &bench.image, "echo", "data"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "data\n");
    let output = bench.solo.try_ctl(&["run", "--rm", "-q", "--pull", "always", &bench.image, "echo", "data"]);
    assert_eq!(programs::said(&output).matches("data").count(), 1);
    assert!(output.stderr.is_empty(), "{}", programs::said(&output));
}
