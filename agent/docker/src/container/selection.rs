//! Which containers a list shows: `all`, `limit` and the filters.

use agent_engine::Container;
use agent_engine::image::Reference;
use regex::RegexBuilder;

use super::{Images, labels};
use crate::error::ApiError;
use crate::query::{self, Filters, Params};

const KNOWN: [&str; 10] =
    ["ancestor", "before", "exited", "id", "is-task", "label", "name", "network", "since", "status"];
/// Docker has them too.
const LATER: [&str; 5] = ["expose", "health", "isolation", "publish", "volume"];
const STATES: [&str; 7] = ["created", "dead", "exited", "paused", "removing", "restarting", "running"];

/// The containers that are asked for, newest first.
pub(super) fn select(
    params: &Params,
    mut containers: Vec<Container>,
    images: &Images,
) -> Result<Vec<Container>, ApiError> {
    let filters = Filters::of(params, &KNOWN, &LATER)?;
    let limit = limit(params)?;
    if let Some(state) = filters.values("status").iter().find(|state| !STATES.contains(&state.as_str())) {
        return Err(ApiError::BadRequest(format!("invalid filter 'status={state}'")));
    }
    let all = query::flag(params, "all") || limit.is_some() || !filters.values("status").is_empty();
    let exited = exit_codes(&filters)?;
    let is_task = filters.boolean("is-task")?;
    let before = bound(&filters, "before", &containers)?;
    let since = bound(&filters, "since", &containers)?;
    containers.retain(|container| {
        let state = container.state.to_string();
        let code = container.exit.as_ref().map(|exit| exit.code);
        let image = images.get(&container.image_digest);
        let id = &container.id;
        (all || container.state.is_alive())
            && filters.admits("status", |wanted| wanted == state)
            && (exited.is_empty() || code.is_some_and(|code| exited.contains(&code)))
            && is_task.is_none_or(|wanted| container.config.task.is_some() == wanted)
            && before.as_ref().is_none_or(|bound| (container.created_at_ms, id) < (bound.0, &bound.1))
            && since.as_ref().is_none_or(|bound| (container.created_at_ms, id) > (bound.0, &bound.1))
            && filters.admits("id", |wanted| matches(wanted, id))
            && filters.admits("name", |wanted| is_named(wanted, &container.name))
            && filters.admits("network", |wanted| wanted == "bridge")
            && filters.admits("ancestor", |wanted| is_of(wanted, container))
            && filters.admits_labels(&labels(container, image))
    });
    containers.reverse();
    containers.truncate(limit.unwrap_or(usize::MAX));
    Ok(containers)
}

/// Python's clients send -1 for "no limit".
fn limit(params: &Params) -> Result<Option<usize>, ApiError> {
    let Some(text) = query::text(params, "limit").filter(|text| !text.is_empty()) else { return Ok(None) };
    let number: i64 =
        text.parse().map_err(|_| ApiError::BadRequest(format!("limit: {text:?} is not a number")))?;
    Ok(usize::try_from(number).ok().filter(|limit| *limit > 0))
}

fn exit_codes(filters: &Filters) -> Result<Vec<i32>, ApiError> {
    let parse = |text: &String| {
        text.parse().map_err(|_| ApiError::BadRequest(format!("invalid filter 'exited={text}'")))
    };
    filters.values("exited").iter().map(parse).collect()
}

/// When the container of a `before` or `since` was made. The last of several counts.
fn bound(filters: &Filters, name: &str, containers: &[Container]) -> Result<Option<(u64, String)>, ApiError> {
    let Some(wanted) = filters.values(name).last() else { return Ok(None) };
    let is_meant = |container: &&Container| container.name == *wanted || container.id.starts_with(wanted);
    let found = containers.iter().find(is_meant).filter(|_| !wanted.is_empty());
    match found {
        Some(container) => Ok(Some((container.created_at_ms, container.id.clone()))),
        None => Err(ApiError::NoSuchContainer(wanted.clone())),
    }
}

/// Docker takes names for expressions, and knows each with and without a slash.
fn is_named(wanted: &str, name: &str) -> bool {
    matches(wanted, name) || matches(wanted, &format!("/{name}"))
}

/// One that is no expression matches nothing but itself.
fn matches(expression: &str, text: &str) -> bool {
    let compiled = RegexBuilder::new(expression).size_limit(1 << 20).build();
    expression == text || compiled.is_ok_and(|compiled| compiled.is_match(text))
}

/// By the name the container was made from, or by the beginning of the image's id.
fn is_of(wanted: &str, container: &Container) -> bool {
    let same = |one: &str, other: &str| match (one.parse::<Reference>(), other.parse::<Reference>()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    };
    let digest = container.image_digest.as_str();
    let is_id = |id: &str| id.len() >= 6 && digest.split(':').nth(1).is_some_and(|hex| hex.starts_with(id));
    same(wanted, &container.config.image) || is_id(wanted.trim_start_matches("sha256:"))
}

#[cfg(test)]
mod tests {
    use agent_engine::{ContainerConfig, ContainerState};
    use axum::extract::Query;

    use super::*;

    fn made(number: u64, name: &str, state: ContainerState) -> Container {
        let config = ContainerConfig {
            image: "roadstead/hello".to_owned(),
            labels: [("part".to_owned(), name.to_owned())].into(),
            task: (number == 3).then(|| "t".to_owned()),
            ..ContainerConfig::default()
        };
        Container {
            id: format!("{number}{}", "0".repeat(63)),
            name: name.to_owned(),
            config,
            image_digest: format!("sha256:{}", "ab".repeat(32)),
            command: Vec::new(),
            env: Vec::new(),
            working_dir: String::new(),
            hostname: String::new(),
            state,
            pid: None,
            exit: (state == ContainerState::Exited).then_some(agent_engine::Exit {
                code: 3,
                signal: None,
                oom_killed: false,
                at_ms: 9,
            }),
            restart_count: 0,
            restart_at_ms: None,
            error: None,
            taken_down: false,
            address: None,
            created_at_ms: number,
            started_at_ms: None,
            health: None,
            start_timings: Vec::new(),
        }
    }

    fn shown(pairs: &[(&str, &str)]) -> Result<String, String> {
        use ContainerState::{Created, Exited, Running};
        let containers = vec![
            made(1, "db", Running),
            made(2, "job", Exited),
            made(3, "web-1", Running),
            made(4, "web-2", Created),
        ];
        let params =
            Query(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect());
        let selected = select(&params, containers, &Images::new()).map_err(|error| error.to_string())?;
        Ok(selected.into_iter().map(|container| container.name).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_list_shows_what_runs_or_all_or_the_newest() {
        assert_eq!(shown(&[]).unwrap(), "web-1 db");
        assert_eq!(shown(&[("all", "True")]).unwrap(), "web-2 web-1 job db");
        assert_eq!(shown(&[("limit", "2")]).unwrap(), "web-2 web-1");
        assert_eq!(shown(&[("limit", "-1"), ("all", "0")]).unwrap(), "web-1 db");
        assert!(shown(&[("limit", "x")]).is_err());
    }

    #[test]
    fn each_filter_takes_away_what_does_not_match() {
        for (filters, expected) in [
            (r#"{"name":["web"]}"#, "web-2 web-1"),
            (r#"{"name":["^/web-1$"]}"#, "web-1"),
            (r#"{"name":["("]}"#, ""),
            (r#"{"id":["^10"]}"#, "db"),
            (r#"{"status":["exited","created"]}"#, "web-2 job"),
            (r#"{"exited":["3"]}"#, "job"),
            (r#"{"label":["part=db"]}"#, "db"),
            (r#"{"label":["part"],"name":["b"]}"#, "web-2 web-1 job db"),
            (r#"{"is-task":["true"]}"#, "web-1"),
            (r#"{"before":["web-1"]}"#, "job db"),
            (r#"{"since":["job"]}"#, "web-2 web-1"),
            (r#"{"ancestor":["docker.io/roadstead/hello:latest"]}"#, "web-2 web-1 job db"),
            (r#"{"ancestor":["ababababab"]}"#, "web-2 web-1 job db"),
            (r#"{"ancestor":["other"]}"#, ""),
            (r#"{"network":["host"]}"#, ""),
        ] {
            assert_eq!(shown(&[("all", "1"), ("filters", filters)]).unwrap(), expected, "{filters}");
        }
        assert_eq!(shown(&[("filters", r#"{"status":["exited"]}"#)]).unwrap(), "job", "a status means all");
    }

    #[test]
    fn filters_that_make_no_sense_are_refused() {
        for filters in [r#"{"status":["ill"]}"#, r#"{"exited":["x"]}"#, r#"{"is-task":["maybe"]}"#] {
            assert!(shown(&[("filters", filters)]).unwrap_err().contains("invalid filter"), "{filters}");
        }
        assert_eq!(shown(&[("filters", r#"{"since":["none"]}"#)]).unwrap_err(), "No such container: none");
    }
}
