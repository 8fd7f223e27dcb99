//! What agents say of themselves and of their tasks. Agents are members of the
//! cluster, but one may be broken or taken over: everything is bounded.

use controller_core::{NodeDescription, SpecError, TaskStatus};
use proto::v1;

use super::{broken, spec::resources_from_wire, state};

/// Longest single text, in bytes.
const MAX_TEXT: usize = 1024;
/// Most labels of a node.
const MAX_LABELS: usize = 64;
/// Most statuses in one report; agents split larger ones.
const MAX_STATUSES: usize = 10_000;

/// Parses a registration.
///
/// # Errors
/// The first field that breaks a rule, as `register.<path>`.
pub(crate) fn description(register: v1::Register) -> Result<NodeDescription, SpecError> {
    let address = text("register.address", register.address)?;
    let port =
        address.rsplit_once(':').filter(|(host, _)| is_host(host)).map(|(_, port)| port.parse::<u16>());
    if !matches!(port, Some(Ok(1..))) {
        return Err(broken("register.address", format!("must be host:port, not {address:?}")));
    }
    if register.labels.len() > MAX_LABELS {
        let rule = format!("at most {MAX_LABELS} are allowed, not {}", register.labels.len());
        return Err(broken("register.labels", rule));
    }
    for (key, value) in &register.labels {
        if key.is_empty() || key.len() + value.len() > MAX_TEXT {
            let rule = format!("a name must not be empty, and with its value at most {MAX_TEXT} bytes");
            return Err(broken("register.labels", rule));
        }
    }
    Ok(NodeDescription {
        address,
        labels: register.labels.into_iter().collect(),
        capacity: register.capacity.map(resources_from_wire).unwrap_or_default(),
        agent_version: text("register.agent_version", register.agent_version)?,
        os: text("register.os", register.os)?,
        architecture: text("register.architecture", register.architecture)?,
        kernel: text("register.kernel", register.kernel)?,
    })
}

/// Parses a report.
///
/// # Errors
/// The first field that breaks a rule, as `report.statuses[<index>].<path>`.
pub(crate) fn statuses(report: v1::Report) -> Result<Vec<TaskStatus>, SpecError> {
    if report.statuses.len() > MAX_STATUSES {
        let rule = format!("at most {MAX_STATUSES} are allowed, not {}", report.statuses.len());
        return Err(broken("report.statuses", rule));
    }
    report.statuses.into_iter().enumerate().map(|(index, status)| one_status(index, status)).collect()
}

fn one_status(index: usize, status: v1::TaskStatus) -> Result<TaskStatus, SpecError> {
    let field = |name: &str| format!("report.statuses[{index}].{name}");
    let task = status.task_id.parse();
    Ok(TaskStatus {
        task: task.map_err(|_| broken(field("task_id"), "is not the id of a task"))?,
        state: state::observed(&field("state"), status.state)?,
        message: cut(status.message),
        error: cut(status.error),
        exit_code: status.exit_code,
        address: text(&field("address"), status.address)?,
        pid: status.pid,
    })
}

fn text(field: &str, text: String) -> Result<String, SpecError> {
    if text.len() > MAX_TEXT || text.chars().any(char::is_control) {
        let rule = format!("must be at most {MAX_TEXT} bytes without control characters");
        return Err(broken(field, rule));
    }
    Ok(text)
}

/// Words for people may be long (a registry's answer): their beginning will do.
fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT - 3));
        text.push('\u{2026}');
    }
    text
}

fn is_host(host: &str) -> bool {
    let plain = |host: &str| {
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
    };
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(host) => host.parse::<std::net::Ipv6Addr>().is_ok(),
        None => plain(host),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn register(address: &str) -> v1::Register {
        v1::Register { address: address.to_owned(), ..Default::default() }
    }

    #[test]
    fn addresses_that_cannot_be_dialled_are_refused() {
        for good in ["10.0.0.1:7444", "node-1.example:1", "[fe80::1]:65535"] {
            assert_eq!(description(register(good)).unwrap().address, good);
        }
        for bad in
            ["", ":1", "a:", "a:0", "a:65536", "a b:1", "http://a:1", "a/b:1", "[x]:1", "a@b:1", "fe80::1:1"]
        {
            assert_eq!(description(register(bad)).unwrap_err().field, "register.address", "{bad:?}");
        }
    }

    #[test]
    fn a_long_message_is_cut_and_a_wrong_id_is_named() {
        let id = "a".repeat(25);
        let status = |task_id: &str| v1::TaskStatus {
            task_id: task_id.to_owned(),
            state: v1::TaskState::Failed.into(),
            error: "\u{e9}".repeat(4000),
            ..Default::default()
        };
        let report = statuses(v1::Report { statuses: vec![status(&id)] }).unwrap();
        assert!(report[0].error.len() <= MAX_TEXT);
        let error = statuses(v1::Report { statuses: vec![status(&id), status("../x")] }).unwrap_err();
        assert_eq!(error.field, "report.statuses[1].task_id");
    }

    proptest! {
        #[test]
        fn no_report_makes_the_parser_panic(
            id in ".{0,30}", number: i32, error in ".{0,2000}", address in ".{0,40}",
        ) {
            let status = v1::TaskStatus {
                task_id: id, state: number, error, address: address.clone(), ..Default::default()
            };
            let _ = statuses(v1::Report { statuses: vec![status] });
            let _ = description(register(&address));
        }
    }
}
