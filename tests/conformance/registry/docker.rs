//! Docker's own client: pull, push and login by way of the agent's docker socket.

use std::process::Command;

use super::*;
use crate::clients;

/// A client that is pointed at the agent, with a configuration of its own.
fn docker(lab: &Lab<'_>, program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    let socket = lab.solo.root().join("data/run/docker.sock");
    command.arg("-H").arg(format!("unix://{}", socket.display())).args(arguments);
    command.env("DOCKER_CONFIG", lab.solo.root().join("docker-client"));
    for name in ["DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_API_VERSION", "DOCKER_TLS_VERIFY"] {
        command.env_remove(name);
    }
    command
}

#[test]
fn dockers_client_logs_in_pulls_and_pushes() {
    let (host, dir) = (Host::new("docker"), scratch());
    let lab = Lab::start(&host, dir.path());
    lab.log_in();
    lab.make("app:1", &[("hello", b"to docker")]);
    let name = format!("{ADDRESS}/app:1");
    for program in clients() {
        let _ = std::fs::remove_dir_all(lab.solo.root().join("docker-client"));
        let try_docker = |arguments: &[&str], input: &str| {
            let output = programs::output_of(&mut docker(&lab, &program, arguments), input.as_bytes());
            (output.status.success(), programs::said(&output))
        };
        let (worked, said) = try_docker(&["pull", &name], "");
        assert!(!worked && said.contains("denies access"), "{said}");
        let login = ["login", "-u", USER, "--password-stdin", ADDRESS];
        let (worked, said) = try_docker(&login, "wrong");
        assert!(!worked && said.contains("does not accept this user"), "{said}");
        let (worked, said) = try_docker(&login, PASSWORD);
        assert!(worked && said.contains("Login Succeeded"), "{said}");
        let (worked, said) = try_docker(&["pull", &name], "");
        assert!(worked && said.contains("Digest: sha256:") && said.contains("Pull complete"), "{said}");
        let (worked, said) = try_docker(&["push", &name], "");
        assert!(
            worked && said.contains("Layer already exists") && said.contains("1: digest: sha256:"),
            "{said}"
        );
        let (worked, said) = try_docker(&["pull", &format!("{ADDRESS}/none:1")], "");
        assert!(!worked && said.contains("not found"), "{said}");
        let (worked, said) = try_docker(&["push", &format!("{ADDRESS}/none:1")], "");
        assert!(!worked && said.contains("No such image"), "{said}");
    }
}
