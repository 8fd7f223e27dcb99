//! Each filter takes away what does not match it, and nothing else.

use agent_engine::{ContainerConfig, Exit, PortMapping};

use super::*;

fn made(number: u64, name: &str, state: ContainerState) -> Container {
    let config = ContainerConfig {
        image: "roadstead/hello".to_owned(),
        labels: [("part".to_owned(), name.to_owned())].into(),
        task: (number == 3).then(|| "t".to_owned()),
        ports: vec![PortMapping {
            protocol: if number == 1 { Protocol::Udp } else { Protocol::Tcp },
            published: 8000 + u16::try_from(number).unwrap(),
            target: 80,
        }],
        ..ContainerConfig::default()
    };
    let exit = Exit { code: 3, signal: None, oom_killed: false, at_ms: 9 };
    Container {
        id: format!("{number}{}", "0".repeat(63)),
        name: name.to_owned(),
        config,
        image_digest: format!("sha256:{}", "ab".repeat(32)),
        state,
        exit: (state == ContainerState::Exited).then_some(exit),
        created_at_ms: number,
        command: Vec::new(),
        env: Vec::new(),
        working_dir: String::new(),
        hostname: String::new(),
        pid: None,
        restart_count: 0,
        restart_at_ms: None,
        error: None,
        taken_down: false,
        address: None,
        started_at_ms: None,
        health: None,
        start_timings: Vec::new(),
    }
}

fn shown(all: bool, pairs: &[(&str, &str)]) -> Result<String, String> {
    use ContainerState::{Created, Exited, Paused, Running};
    let containers = vec![
        made(1, "db", Running),
        made(2, "job", Exited),
        made(3, "web-1", Paused),
        made(4, "web-2", Created),
    ];
    let given =
        pairs.iter().map(|(key, value)| v1::Filter { key: (*key).to_owned(), value: (*value).to_owned() });
    let filters = Filters::new(given.collect(), &KEYS).map_err(|status| status.message().to_owned())?;
    let selected = select(&filters, all, containers).map_err(|status| status.message().to_owned())?;
    Ok(selected.into_iter().map(|container| container.name).collect::<Vec<_>>().join(" "))
}

#[test]
fn without_filters_those_that_live_are_shown_or_all() {
    assert_eq!(shown(false, &[]).unwrap(), "db web-1");
    assert_eq!(shown(true, &[]).unwrap(), "db job web-1 web-2");
}

#[test]
fn each_filter_takes_away_what_does_not_match() {
    for (key, value, expected) in [
        ("name", "web", "web-1 web-2"),
        ("name", "^/web-1$", ""),
        ("name", "/web-1", "web-1"),
        ("name", "(", ""),
        ("id", "^10", "db"),
        ("status", "paused", "web-1"),
        ("exited", "3", "job"),
        ("exited", "0", ""),
        ("label", "part=db", "db"),
        ("label", "part", "db job web-1 web-2"),
        ("is-task", "true", "web-1"),
        ("before", "web-1", "db job"),
        ("since", "job", "web-1 web-2"),
        ("ancestor", "docker.io/roadstead/hello:latest", "db job web-1 web-2"),
        ("ancestor", "ababababab", "db job web-1 web-2"),
        ("ancestor", "other", ""),
        ("network", "host", ""),
        ("publish", "8001", "db"),
        ("publish", "8001/tcp", ""),
        ("publish", "8002-8003/tcp", "job web-1"),
    ] {
        assert_eq!(shown(true, &[(key, value)]).unwrap(), expected, "{key}={value}");
    }
    assert_eq!(shown(true, &[("name", "web"), ("status", "created")]).unwrap(), "web-2");
}

#[test]
fn filters_that_make_no_sense_are_refused() {
    for (key, value) in [("status", "ill"), ("exited", "x"), ("publish", "80/x"), ("colour", "red")] {
        let said = shown(true, &[(key, value)]).unwrap_err();
        assert!(said.contains(value) || said.contains(key), "{said}");
    }
    assert!(shown(true, &[("since", "none")]).unwrap_err().contains("none"));
}
