//! Completion as a shell asks for it: names of what there is, and none without an agent, soon.

use std::time::{Duration, Instant};

use itest::host::Host;
use itest::registry::{ADDRESS, Registry};
use itest::solo::Solo;
use itest::{image, programs};

use crate::scratch;

/// What bash would offer for a line that ends with the word that is typed.
fn offered(host: &Host, solo: &Solo<'_>, line: &str, socket: &str) -> Vec<String> {
    let ctl = programs::ours("ctl");
    let script = format!(
        "PATH={}:$PATH; source <(ctl completion bash); COMP_WORDS=(ctl --agent-socket {socket} {line}); COMP_TYPE=9; \
         COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _clap_complete_ctl ctl \"${{COMP_WORDS[COMP_CWORD]}}\"; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        ctl.parent().expect("a directory").display()
    );
    let mut bash = host.command("bash");
    bash.args(["-c", &script]).env("ROADSTEAD_CONFIG", solo.root().join("config.json"));
    programs::succeed(&mut bash).lines().map(str::to_owned).collect()
}

#[test]
fn a_shell_is_told_the_names_that_make_sense() {
    let (host, dir) = (Host::new("compl"), scratch());
    let registry = Registry::start(&host, dir.path());
    registry.push("busybox", "1", &image::busybox(&["sh"]));
    let mut solo = Solo::start(&host, dir.path());
    let image = format!("{ADDRESS}/busybox:1");
    solo.ctl(&["run", "-d", "--name", "web-one", &image, "sleep", "1000"]);
    solo.ctl(&["run", "-d", "--name", "web-two", &image, "sleep", "1000"]);
    solo.ctl(&["container", "create", "--name", "web-made", &image, "true"]);
    solo.ctl(&["volume", "create", "data"]);
    let socket = solo.root().join("data/run/agent.sock").display().to_string();
    let offers = |line: &str| {
        let mut words = offered(&host, &solo, line, &socket);
        words.iter_mut().for_each(|word| *word = word.trim_end().to_owned());
        words.sort();
        words
    };
    assert_eq!(offers("exec web-"), ["web-one", "web-two"], "what does not run has no programs");
    assert_eq!(offers("container start web-"), ["web-made"]);
    assert_eq!(offers("container rm web-one web-m"), ["web-made"]);
    assert_eq!(offers("logs web-tw"), ["web-two"]);
    assert_eq!(offers("volume rm d"), ["data"]);
    assert_eq!(offers("run loc"), [image]);
    assert_eq!(offers("run --network container:web-o"), ["container:web-one"]);
    assert_eq!(offers("container inspect --for"), ["--format"]);
    // An agent that does not answer holds up nobody.
    itest::dev::kill(solo.agent_pid(), "STOP");
    let since = Instant::now();
    let none = offers("exec web-");
    itest::dev::kill(solo.agent_pid(), "CONT");
    assert!(none.iter().all(String::is_empty), "{none:?}");
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    solo.ctl(&["container", "rm", "-f", "web-one", "web-two", "web-made"]);
    solo.stop();
}
