//! What keeps an agent from running: one line that says what to do, an exit code
//! of its own, and nothing touched.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::harness::{Agent, arguments, command, refused};

fn one_line(said: &str, parts: &[&str]) {
    assert_eq!(said.lines().count(), 1, "{said}");
    for part in parts {
        assert!(said.contains(part), "no {part:?} in {said:?}");
    }
}

#[test]
fn an_agent_that_is_not_root_says_so_and_touches_nothing() {
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let program = home.path().join("agent");
    std::fs::copy(env!("CARGO_BIN_EXE_agent"), &program).unwrap();
    let mut command = Command::new(&program);
    command.args(arguments(home.path())).uid(65534).gid(65534);
    let (code, said) = refused(command);
    assert_eq!(code, 10, "{said}");
    one_line(&said, &["root", "sudo"]);
    assert!(!home.path().join("data").exists() && !home.path().join("run").exists());
}

#[tokio::test]
async fn a_second_agent_on_the_same_directories_is_refused() {
    let agent = Agent::start().await;
    let (code, said) = refused(command(&agent.home));
    assert_eq!(code, 14, "{said}");
    one_line(&said, &["another agent uses", "--data-dir"]);
    agent.client().await;
}

#[test]
fn a_run_directory_that_cannot_be_written_is_named() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("run"), "a file").unwrap();
    let (code, said) = refused(command(home.path()));
    assert_eq!(code, 13, "{said}");
    one_line(&said, &["run directory", "--run-dir"]);
}

#[test]
fn a_docker_socket_that_belongs_to_somebody_is_named() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("theirs.sock");
    let theirs = UnixListener::bind(&path).unwrap();
    let refused_with = |path: &Path| {
        let mut command = command(home.path());
        command.arg("--docker-socket").arg(path);
        let (code, said) = refused(command);
        assert_eq!(code, 19, "{said}");
        assert!(!home.path().join("run/keeper.sock").exists());
        said
    };
    one_line(&refused_with(&path), &["theirs.sock", "another program answers there"]);
    theirs.set_nonblocking(true).unwrap();
    assert!(theirs.accept().is_ok(), "it is still theirs");
    one_line(&refused_with(&home.path().join("nowhere/docker.sock")), &["nowhere", "No such file"]);
}

#[test]
fn an_address_that_is_taken_is_named() {
    let home = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    // In this network namespace, because the address must be taken there; it is refused before more is touched.
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent"));
    let token = format!("RDST1-{}-x", "00".repeat(32));
    command.args(arguments(home.path())).args([
        "--listen",
        &address,
        "--join",
        "127.0.0.1:1",
        "--token",
        &token,
    ]);
    let (code, said) = refused(command);
    assert_eq!(code, 15, "{said}");
    one_line(&said, &[&address, "--listen"]);
    assert!(!home.path().join("data").exists());
}

#[test]
fn joining_without_a_token_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let mut command = command(home.path());
    command.args(["--join", "127.0.0.1:1"]);
    let (code, said) = refused(command);
    assert_eq!(code, 2, "{said}");
    one_line(&said, &["--token", "ctl cluster token"]);
}
