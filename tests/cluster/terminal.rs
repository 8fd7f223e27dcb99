//! One container on this host, with a terminal: what a person types and sees.

use std::io::{Read, Write};
use std::process::Stdio;

use itest::dev::Dev;
use itest::host::Host;
use itest::image;
use itest::registry::{ADDRESS, Registry};

use crate::scratch;

#[test]
fn bash_runs_in_a_container_with_a_terminal() {
    let (host, dir) = (Host::new("tty"), scratch());
    let registry = Registry::start(&host, dir.path());
    registry.push("debian", "12", &image::debian_bash());
    let dev = Dev::start(&host, dir.path(), &[]);

    // script(1) gives ctl a terminal of its own.
    let line = format!(
        "stty rows 33 cols 101; {} container run --rm -it {ADDRESS}/debian:12 bash",
        itest::programs::ours("ctl").display()
    );
    let mut command = host.command("script");
    command
        .args(["-qec", &line, "/dev/null"])
        .env("ROADSTEAD_CONFIG", dir.path().join("config.json"))
        .env("TERM", "dumb");
    let mut session = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script starts");
    let mut stdin = session.stdin.take().expect("stdin is piped");
    let mut stdout = session.stdout.take().expect("stdout is piped");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stdout.read_to_string(&mut text);
        text
    });
    let mut say =
        |text: &str| stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()).expect("script reads");
    std::thread::sleep(std::time::Duration::from_secs(3));
    say("tty; stty size; cat /etc/debian_version; id -u\n");
    say("echo $((6*7)) && sleep 60\n");
    std::thread::sleep(std::time::Duration::from_secs(1));
    // Ctrl-C reaches the program in the container, not ctl.
    say("\x03");
    std::thread::sleep(std::time::Duration::from_millis(500));
    say("echo still $((40+2)) here; exit 5\n");
    let status = session.wait().expect("script ends");
    let text = reader.join().expect("the reader ends");
    for expected in ["/dev/pts/0", "33 101", "still 42 here"] {
        assert!(text.contains(expected), "{expected:?} is missing in: {text}");
    }
    assert_eq!(status.code(), Some(5), "{text}");
    assert_eq!(dev.json(&["container", "ls", "--all"]).as_array().map(Vec::len), Some(0));
}

#[test]
fn input_output_and_exit_codes_pass_through_pipes() {
    let (host, dir) = (Host::new("pipe"), scratch());
    let registry = Registry::start(&host, dir.path());
    registry.push("busybox", "1", &image::busybox(&["sh"]));
    let dev = Dev::start(&host, dir.path(), &[]);
    let name = format!("{ADDRESS}/busybox:1");
    let run = ["container", "run", "--rm", "-i", &name, "sh", "-c", "wc -c; echo oops >&2; exit 9"];
    let mut command = itest::dev::ctl(&host, dev.root(), &run);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("ctl starts");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin.write_all(&vec![b'x'; 3_000_000]).expect("ctl reads");
    drop(stdin);
    let output = child.wait_with_output().expect("ctl ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "3000000");
    assert!(String::from_utf8_lossy(&output.stderr).contains("oops"));
    assert_eq!(output.status.code(), Some(9));

    let many = ["container", "run", "--rm", &name, "seq", "1", "200000"];
    let text = dev.ctl(&many);
    assert_eq!(text.lines().count(), 200_000);
    assert_eq!(text.lines().last(), Some("200000"));
}
