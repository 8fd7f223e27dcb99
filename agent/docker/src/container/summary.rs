//! One row of the list of containers.

use agent_engine::image::Image;
use agent_engine::{Container, ContainerState, Engine, PortMapping};
use serde_json::{Value, json};

use super::{labels, networks, open_ports, protocol};

/// A container as the list shows it at `now_ms`.
pub(super) fn summary(engine: &Engine, container: &Container, image: Option<&Image>, now_ms: i64) -> Value {
    json!({
        "Id": container.id,
        "Names": [format!("/{}", container.name)],
        "Image": container.config.image,
        "ImageID": image.map_or_else(|| container.image_digest.clone(), |image| image.id.to_string()),
        "Command": command(&container.command),
        "Created": container.created_at_ms / 1000,
        "Ports": open_ports(container).iter().map(port).collect::<Vec<_>>(),
        "Labels": labels(container, image),
        "State": container.state.to_string(),
        "Status": status(container, now_ms),
        "HostConfig": { "NetworkMode": "bridge" },
        "NetworkSettings": { "Networks": networks(engine, container) },
        "Mounts": [],
    })
}

/// The program as it is; its arguments in quotes if they hold spaces.
fn command(words: &[String]) -> String {
    let quoted = |(index, word): (usize, &String)| {
        if index > 0 && word.contains(' ') { format!("'{word}'") } else { word.clone() }
    };
    words.iter().enumerate().map(quoted).collect::<Vec<_>>().join(" ")
}

fn port(port: &PortMapping) -> Value {
    json!({ "IP": "0.0.0.0", "PrivatePort": port.target, "PublicPort": port.published, "Type": protocol(port) })
}

fn status(container: &Container, now_ms: i64) -> String {
    let since = |at_ms: u64| human(now_ms.saturating_sub(i64::try_from(at_ms).unwrap_or(i64::MAX)));
    match (container.state, &container.exit) {
        (ContainerState::Created, _) => "Created".to_owned(),
        (ContainerState::Exited, Some(exit)) => format!("Exited ({}) {} ago", exit.code, since(exit.at_ms)),
        (ContainerState::Restarting, exit) => {
            let (code, at_ms) = exit.as_ref().map_or((0, 0), |exit| (exit.code, exit.at_ms));
            format!("Restarting ({code}) {} ago", since(at_ms))
        }
        (ContainerState::Exited, None) => "Exited".to_owned(),
        (ContainerState::Running, _) => format!("Up {}", since(container.started_at_ms.unwrap_or_default())),
        (ContainerState::Paused, _) => {
            format!("Up {} (Paused)", since(container.started_at_ms.unwrap_or_default()))
        }
    }
}

/// A time as Docker's clients show it, in one unit.
fn human(elapsed_ms: i64) -> String {
    let seconds = elapsed_ms.max(0) / 1000;
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, ..60, _) => format!("{minutes} minutes"),
        (.., 1) => "About an hour".to_owned(),
        (.., ..48) => format!("{hours} hours"),
        (.., ..336) => format!("{} days", hours / 24),
        (.., ..1440) => format!("{} weeks", hours / 24 / 7),
        (.., ..17520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use agent_engine::Protocol;

    use super::*;

    #[test]
    fn times_read_as_dockers() {
        let (minute, hour, day) = (60_000, 3_600_000, 86_400_000);
        for (elapsed, expected) in [
            (-5, "Less than a second"),
            (1_999, "1 second"),
            (59_999, "59 seconds"),
            (minute, "About a minute"),
            (59 * minute, "59 minutes"),
            (hour, "About an hour"),
            (89 * minute, "About an hour"),
            (90 * minute, "2 hours"),
            (47 * hour, "47 hours"),
            (2 * day, "2 days"),
            (14 * day, "2 weeks"),
            (60 * day, "2 months"),
            (730 * day, "2 years"),
        ] {
            assert_eq!(human(elapsed), expected, "{elapsed} ms");
        }
    }

    #[test]
    fn arguments_with_spaces_are_quoted() {
        let words = ["sh", "-c", "echo a"].map(str::to_owned);
        assert_eq!(command(&words), "sh -c 'echo a'");
        assert_eq!(command(&[]), "");
    }

    #[test]
    fn a_published_port_has_both_sides() {
        let mapping = PortMapping { protocol: Protocol::Udp, published: 8053, target: 53 };
        let expected = json!({ "IP": "0.0.0.0", "PrivatePort": 53, "PublicPort": 8053, "Type": "udp" });
        assert_eq!(port(&mapping), expected);
    }
}
