//! The rules a specification must keep before anything is done with it. Each error names the field and the rule.

use crate::resources::Bytes;
use crate::spec::{Constraint, ContainerSpec, ServiceSpec, image};

/// The most replicas one service may have.
pub const MOST_REPLICAS: u32 = 10_000;
/// The smallest memory limit a container can start under, in bytes.
pub const LEAST_MEMORY: u64 = 6 << 20;
/// The most bytes the lists of one container may hold together; an entry of the log has to carry them.
const MOST_TEXT: usize = 256 << 10;
/// The most ports one service may publish.
const MOST_PORTS: usize = 256;

/// A field of a specification that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[error("{field}: {rule}")]
pub struct SpecError {
    /// The field, as in the interface: `container.limits.memory_bytes`.
    pub field: String,
    /// What it must be, and what it is.
    pub rule: String,
}

fn broken(field: impl Into<String>, rule: impl Into<String>) -> SpecError {
    SpecError { field: field.into(), rule: rule.into() }
}

impl ServiceSpec {
    /// Checks every rule that needs nothing but the specification itself.
    ///
    /// # Errors
    /// The first field that breaks a rule.
    pub fn validate(&self) -> Result<(), SpecError> {
        name(&self.name)?;
        if self.replicas > MOST_REPLICAS {
            return Err(broken(
                "replicas",
                format!("must be at most {MOST_REPLICAS}, not {}", self.replicas),
            ));
        }
        labels("labels", self.labels.iter())?;
        ports(self)?;
        container(&self.container)
    }
}

fn name(name: &str) -> Result<(), SpecError> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() {
        return Err(broken("name", "must not be empty"));
    }
    if name.len() > 63 || !name.bytes().all(inner) || name.starts_with('-') || name.ends_with('-') {
        let rule =
            "must be a DNS label: at most 63 characters of a-z, 0-9 and \"-\", not \"-\" at either end";
        return Err(broken("name", rule));
    }
    Ok(())
}

fn labels<'a>(field: &str, labels: impl Iterator<Item = (&'a String, &'a String)>) -> Result<(), SpecError> {
    let mut bytes = 0;
    for (key, value) in labels {
        if key.is_empty() || key.contains('=') || key.contains('\0') || value.contains('\0') {
            return Err(broken(
                field,
                format!("{key:?} is not a label name: it must not be empty or contain \"=\""),
            ));
        }
        bytes += key.len() + value.len();
    }
    if bytes > MOST_TEXT {
        Err(broken(field, format!("must be at most {} together", Bytes(MOST_TEXT as u64))))
    } else {
        Ok(())
    }
}

fn ports(spec: &ServiceSpec) -> Result<(), SpecError> {
    if spec.ports.len() > MOST_PORTS {
        return Err(broken(
            "ports",
            format!("at most {MOST_PORTS} may be published, not {}", spec.ports.len()),
        ));
    }
    let mut seen = std::collections::BTreeSet::new();
    for (index, port) in spec.ports.iter().enumerate() {
        for (side, number) in [("published", port.published), ("target", port.target)] {
            if number == 0 {
                return Err(broken(format!("ports[{index}].{side}"), "must be 1 to 65535, not 0"));
            }
        }
        if !seen.insert((port.protocol, port.published)) {
            let rule = format!("{}/{} is published twice", port.published, port.protocol);
            return Err(broken(format!("ports[{index}].published"), rule));
        }
    }
    Ok(())
}

fn container(container: &ContainerSpec) -> Result<(), SpecError> {
    image::check(&container.image).map_err(|rule| broken("container.image", rule))?;
    let lists = [
        ("container.entrypoint", &container.entrypoint),
        ("container.command", &container.command),
        ("container.env", &container.env),
        ("container.placement_constraints", &container.placement_constraints),
    ];
    let mut bytes = 0;
    for (field, list) in lists {
        for text in list {
            bytes += text.len();
            if text.contains('\0') {
                return Err(broken(field, "must not contain a zero byte"));
            }
        }
        if bytes > MOST_TEXT {
            return Err(broken(field, format!("is too long: at most {} in all", Bytes(MOST_TEXT as u64))));
        }
    }
    for variable in &container.env {
        if variable.split_once('=').is_none_or(|(name, _)| name.is_empty()) {
            return Err(broken("container.env", format!("{variable:?} must have the form NAME=value")));
        }
    }
    let hosts = [
        ("container.hostname", &container.hostname, 63),
        ("container.user", &container.user, 256),
        ("container.working_dir", &container.working_dir, 4096),
    ];
    for (field, text, most) in hosts {
        if text.len() > most || text.contains('\0') {
            return Err(broken(field, format!("must be at most {most} bytes without a zero byte")));
        }
    }
    if !container.working_dir.is_empty() && !container.working_dir.starts_with('/') {
        return Err(broken("container.working_dir", "must begin with \"/\""));
    }
    labels("container.labels", container.labels.iter())?;
    container.logging.check().map_err(|rule| broken("container.logging", rule))?;
    amounts(container)?;
    for text in &container.placement_constraints {
        Constraint::parse(text)
            .map_err(|error| broken("container.placement_constraints", error.to_string()))?;
    }
    Ok(())
}

fn amounts(container: &ContainerSpec) -> Result<(), SpecError> {
    let (limits, reservations) = (container.limits, container.reservations);
    if limits.memory_bytes != 0 && limits.memory_bytes < LEAST_MEMORY {
        let rule = format!(
            "must be at least {}, not {}: a container cannot start in less",
            Bytes(LEAST_MEMORY),
            Bytes(limits.memory_bytes)
        );
        return Err(broken("container.limits.memory_bytes", rule));
    }
    for (field, reserved, limit) in [
        ("container.reservations.memory_bytes", reservations.memory_bytes, limits.memory_bytes),
        ("container.reservations.nano_cpus", reservations.nano_cpus, limits.nano_cpus),
    ] {
        if limit != 0 && reserved > limit {
            return Err(broken(
                field,
                format!("must not be more than the limit: {reserved} is over {limit}"),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Protocol, PublishedPort};

    fn web() -> ServiceSpec {
        let container = ContainerSpec { image: "roadstead/hello".into(), ..ContainerSpec::default() };
        ServiceSpec { name: "web".into(), replicas: 3, container, ..ServiceSpec::default() }
    }

    fn refused(change: impl FnOnce(&mut ServiceSpec)) -> String {
        let mut spec = web();
        change(&mut spec);
        spec.validate().expect_err("the rule is broken").to_string()
    }

    #[test]
    fn a_plain_service_is_valid() {
        assert_eq!(web().validate(), Ok(()));
    }

    #[test]
    fn names_are_dns_labels() {
        for name in ["", "-a", "a-", "Web", "a.b", "a_b", &"a".repeat(64)] {
            assert!(refused(|spec| spec.name = name.into()).starts_with("name: must"), "{name}");
        }
    }

    #[test]
    fn the_message_says_how_much_memory_a_container_needs() {
        let text = refused(|spec| spec.container.limits.memory_bytes = 1 << 20);
        assert_eq!(
            text,
            "container.limits.memory_bytes: must be at least 6 MiB, not 1 MiB: a container cannot start in less"
        );
    }

    #[test]
    fn numbers_have_bounds() {
        assert_eq!(refused(|spec| spec.replicas = 10_001), "replicas: must be at most 10000, not 10001");
        let port = |published| PublishedPort { protocol: Protocol::Tcp, published, target: 80 };
        assert_eq!(
            refused(|spec| spec.ports = vec![port(0)]),
            "ports[0].published: must be 1 to 65535, not 0"
        );
        assert_eq!(
            refused(|spec| spec.ports = vec![port(1), port(1)]),
            "ports[1].published: 1/tcp is published twice"
        );
    }

    #[test]
    fn a_reservation_stays_within_the_limit() {
        let text = refused(|spec| {
            spec.container.limits.memory_bytes = 8 << 20;
            spec.container.reservations.memory_bytes = 9 << 20;
        });
        assert!(
            text.starts_with("container.reservations.memory_bytes: must not be more than the limit"),
            "{text}"
        );
    }

    #[test]
    fn variables_and_constraints_have_their_form() {
        assert_eq!(
            refused(|spec| spec.container.env = vec!["A".into()]),
            "container.env: \"A\" must have the form NAME=value"
        );
        assert!(
            refused(|spec| spec.container.placement_constraints = vec!["zone=a".into()])
                .starts_with("container.placement_constraints: ")
        );
    }
}
