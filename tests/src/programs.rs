//! The programs under test, and those that a tier needs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The path of a program of this workspace, built beside the running test.
///
/// # Panics
/// When it was not built.
#[track_caller]
pub fn ours(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a running test has a path");
    let folder = own.ancestors().find(|path| path.join(name).is_file());
    folder.map_or_else(
        || panic!("{name} is not built: run `cargo build --workspace --bins` first"),
        |path| path.join(name),
    )
}

/// Refuses to go on without root.
///
/// # Panics
/// When the test does not run as root.
#[track_caller]
pub fn need_root() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uid = status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .and_then(|line| line.split_whitespace().nth(1));
    assert!(uid == Some("0"), "this test makes namespaces and mounts: run it as root");
}

/// Refuses to go on without a program of a package.
///
/// # Panics
/// When the program is not installed.
#[track_caller]
pub fn need(program: &str, package: &str) {
    let folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let found = folders.iter().any(|folder| Path::new(folder).join(program).exists());
    assert!(found, "{program} is missing: `tests/install test` installs it (package {package})");
}

/// Runs a command and answers its output.
///
/// # Panics
/// When it can't be started.
#[track_caller]
pub fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"))
}

/// Runs a command with this on its standard input and answers its output.
///
/// # Panics
/// When it can't be started.
#[track_caller]
pub fn output_of(command: &mut Command, input: &[u8]) -> Output {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not want it has closed it.
        let _ = stdin.write_all(input);
    }
    child.wait_with_output().unwrap_or_else(|error| panic!("cannot wait for {command:?}: {error}"))
}

/// Runs a command that must succeed and answers what it printed.
///
/// # Panics
/// When it fails, with all that it said.
#[track_caller]
pub fn succeed(command: &mut Command) -> String {
    let output = output(command);
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Both streams of a command, for messages.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
