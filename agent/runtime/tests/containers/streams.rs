//! Standard streams: pipes and terminals.

use std::fs::File;
use std::io::{Read, Write};

use agent_runtime::container::WindowSize;

use crate::lab::Lab;

#[test]
fn output_and_error_are_kept_apart_and_input_is_null() {
    let lab = Lab::new();
    let ran = lab.sh("echo out; echo err >&2; cat; exit 7");
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (7, "out\n", "err\n"));
}

#[test]
fn an_open_input_is_read_to_its_end() {
    let lab = Lab::new();
    let mut spec = lab.spec(&["cat"]);
    spec.open_stdin = true;
    let mut running = lab.start(&spec);
    let stdin = running.spawned.as_mut().and_then(|rest| rest.stdin.take()).expect("a pipe");
    File::from(stdin).write_all(b"through and through").expect("written");
    assert_eq!(running.wait().out, "through and through");
}

#[test]
fn a_terminal_is_the_sessions_own_and_has_its_size() {
    let lab = Lab::new();
    let script = "busybox tty; busybox stty size; id -u > /dev/tty; ls -l /proc/self/fd/0 /proc/self/fd/1 | busybox wc -l; \
                  [ -c /dev/console ] && echo console";
    let mut spec = lab.spec(&["sh", "-c", script]);
    spec.terminal = Some(WindowSize { rows: 33, columns: 99 });
    let mut running = lab.start(&spec);
    let terminal = running.spawned.as_mut().and_then(|rest| rest.terminal.take()).expect("a terminal");
    let mut text = Vec::new();
    let mut master = File::from(terminal);
    let mut buffer = [0_u8; 4096];
    // The last close of the other side reads as an error.
    while let Ok(count @ 1..) = master.read(&mut buffer) {
        text.extend_from_slice(&buffer[..count]);
    }
    let text = String::from_utf8_lossy(&text).replace('\r', "");
    assert_eq!(text, "/dev/pts/0\n33 99\n0\n2\nconsole\n");
    assert_eq!(running.wait().code, 0);
}
