//! Specifications of services, both ways; what comes in is validated by the core.

use controller_core::{
    ContainerSpec, FailureAction, Logging, Protocol, PublishedPort, Resources, ServiceSpec, SpecError,
    UpdatePolicy,
};
use proto::v1;

use super::broken;

/// Parses and validates what a person asks for.
///
/// # Errors
/// The first field that breaks a rule, as `spec.<path>`.
pub(crate) fn service_spec(spec: Option<v1::ServiceSpec>) -> Result<ServiceSpec, SpecError> {
    let spec = from_wire(spec.ok_or_else(|| broken("spec", "must be given"))?)?;
    spec.validate().map_err(|error| broken(format!("spec.{}", error.field), error.rule))?;
    Ok(spec)
}

fn from_wire(spec: v1::ServiceSpec) -> Result<ServiceSpec, SpecError> {
    let container = spec.container.ok_or_else(|| broken("spec.container", "must be given"))?;
    let ports = spec.ports.into_iter().enumerate();
    Ok(ServiceSpec {
        name: spec.name,
        labels: spec.labels.into_iter().collect(),
        replicas: spec.replicas,
        container: container_from_wire(container),
        ports: ports.map(|(index, port)| port_from_wire(index, port)).collect::<Result<_, _>>()?,
        update: spec.update.map(policy_from_wire).transpose()?.unwrap_or_default(),
    })
}

fn container_from_wire(spec: v1::ContainerSpec) -> ContainerSpec {
    ContainerSpec {
        image: spec.image,
        entrypoint: spec.entrypoint,
        command: spec.command,
        env: spec.env,
        user: spec.user,
        working_dir: spec.working_dir,
        hostname: spec.hostname,
        labels: spec.labels.into_iter().collect(),
        stop_grace_seconds: spec.stop_grace_seconds,
        limits: spec.limits.map(resources_from_wire).unwrap_or_default(),
        reservations: spec.reservations.map(resources_from_wire).unwrap_or_default(),
        placement_constraints: spec.placement_constraints,
        logging: spec.logging.map(logging_from_wire).unwrap_or_default(),
    }
}

fn logging_from_wire(logging: v1::Logging) -> Logging {
    Logging { driver: logging.driver, options: logging.options.into_iter().collect() }
}

fn port_from_wire(index: usize, port: v1::PublishedPort) -> Result<PublishedPort, SpecError> {
    let number = |side: &str, number: u32| match u16::try_from(number) {
        Ok(number) if number != 0 => Ok(number),
        _ => {
            let rule = format!("must be 1 to 65535, not {number}");
            Err(broken(format!("spec.ports[{index}].{side}"), rule))
        }
    };
    let protocol = match v1::Protocol::try_from(port.protocol) {
        Ok(v1::Protocol::Unspecified | v1::Protocol::Tcp) => Protocol::Tcp,
        Ok(v1::Protocol::Udp) => Protocol::Udp,
        Err(_) => {
            let rule = format!("{} is no protocol this version knows", port.protocol);
            return Err(broken(format!("spec.ports[{index}].protocol"), rule));
        }
    };
    Ok(PublishedPort {
        protocol,
        published: number("published", port.published)?,
        target: number("target", port.target)?,
    })
}

fn policy_from_wire(policy: v1::UpdatePolicy) -> Result<UpdatePolicy, SpecError> {
    use v1::update_policy::FailureAction as Wire;
    let failure_action = match Wire::try_from(policy.failure_action) {
        Ok(Wire::Rollback) => FailureAction::Rollback,
        Ok(Wire::Pause) => FailureAction::Pause,
        Err(_) => {
            let rule = format!("{} is no action this version knows", policy.failure_action);
            return Err(broken("spec.update.failure_action", rule));
        }
    };
    Ok(UpdatePolicy {
        parallelism: policy.parallelism,
        monitor_seconds: policy.monitor_seconds,
        failure_action,
    })
}

pub(super) fn resources_from_wire(resources: v1::Resources) -> Resources {
    Resources { nano_cpus: resources.nano_cpus, memory_bytes: resources.memory_bytes, pids: resources.pids }
}

pub(super) fn to_wire(spec: &ServiceSpec) -> v1::ServiceSpec {
    v1::ServiceSpec {
        name: spec.name.clone(),
        labels: spec.labels.clone().into_iter().collect(),
        replicas: spec.replicas,
        container: Some(container_to_wire(&spec.container)),
        ports: spec.ports.iter().map(port_to_wire).collect(),
        update: Some(policy_to_wire(&spec.update)),
    }
}

pub(super) fn container_to_wire(spec: &ContainerSpec) -> v1::ContainerSpec {
    v1::ContainerSpec {
        image: spec.image.clone(),
        entrypoint: spec.entrypoint.clone(),
        command: spec.command.clone(),
        env: spec.env.clone(),
        user: spec.user.clone(),
        working_dir: spec.working_dir.clone(),
        hostname: spec.hostname.clone(),
        labels: spec.labels.clone().into_iter().collect(),
        stop_grace_seconds: spec.stop_grace_seconds,
        limits: Some(resources_to_wire(spec.limits)),
        reservations: Some(resources_to_wire(spec.reservations)),
        placement_constraints: spec.placement_constraints.clone(),
        logging: logging_to_wire(&spec.logging),
    }
}

fn logging_to_wire(logging: &Logging) -> Option<v1::Logging> {
    let Logging { driver, options } = logging.clone();
    let is_default = driver.is_empty() && options.is_empty();
    (!is_default).then(|| v1::Logging { driver, options: options.into_iter().collect() })
}

pub(super) fn port_to_wire(port: &PublishedPort) -> v1::PublishedPort {
    let protocol = match port.protocol {
        Protocol::Tcp => v1::Protocol::Tcp,
        Protocol::Udp => v1::Protocol::Udp,
    };
    v1::PublishedPort {
        protocol: protocol.into(),
        published: port.published.into(),
        target: port.target.into(),
    }
}

fn policy_to_wire(policy: &UpdatePolicy) -> v1::UpdatePolicy {
    use v1::update_policy::FailureAction as Wire;
    let failure_action = match policy.failure_action {
        FailureAction::Rollback => Wire::Rollback,
        FailureAction::Pause => Wire::Pause,
    };
    v1::UpdatePolicy {
        parallelism: policy.parallelism,
        monitor_seconds: policy.monitor_seconds,
        failure_action: failure_action.into(),
    }
}

pub(super) fn resources_to_wire(resources: Resources) -> v1::Resources {
    v1::Resources {
        nano_cpus: resources.nano_cpus,
        memory_bytes: resources.memory_bytes,
        pids: resources.pids,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn resources()(nano_cpus: u64, memory_bytes: u64, pids: u64) -> Resources {
            Resources { nano_cpus, memory_bytes, pids }
        }
    }

    prop_compose! {
        fn container()(
            texts in vec(".{0,12}", 5),
            options in btree_map(".{0,6}", ".{0,6}", 0..4),
            lists in vec(vec(".{0,8}", 0..4), 4),
            labels in btree_map(".{0,6}", ".{0,6}", 0..4),
            stop_grace_seconds: u32,
            limits in resources(),
            reservations in resources(),
        ) -> ContainerSpec {
            ContainerSpec {
                image: texts[0].clone(), user: texts[1].clone(),
                working_dir: texts[2].clone(), hostname: texts[3].clone(),
                entrypoint: lists[0].clone(), command: lists[1].clone(),
                env: lists[2].clone(), placement_constraints: lists[3].clone(),
                labels, stop_grace_seconds, limits, reservations,
                logging: Logging { driver: texts[4].clone(), options },
            }
        }
    }

    prop_compose! {
        fn port()(udp: bool, published in 1..=u16::MAX, target in 1..=u16::MAX) -> PublishedPort {
            let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
            PublishedPort { protocol, published, target }
        }
    }

    prop_compose! {
        fn spec()(
            name in ".{0,12}",
            labels in btree_map(".{0,6}", ".{0,6}", 0..4),
            replicas: u32,
            container in container(),
            ports in vec(port(), 0..4),
            (parallelism, monitor_seconds, pause) in any::<(u32, u32, bool)>(),
        ) -> ServiceSpec {
            let failure_action = if pause { FailureAction::Pause } else { FailureAction::Rollback };
            let update = UpdatePolicy { parallelism, monitor_seconds, failure_action };
            ServiceSpec { name, labels, replicas, container, ports, update }
        }
    }

    proptest! {
        #[test]
        fn a_specification_survives_the_round_trip(spec in spec()) {
            prop_assert_eq!(from_wire(to_wire(&spec)), Ok(spec));
        }
    }

    fn good() -> v1::ServiceSpec {
        v1::ServiceSpec {
            name: "web".to_owned(),
            replicas: 1,
            container: Some(v1::ContainerSpec { image: "roadstead/hello".to_owned(), ..Default::default() }),
            ..Default::default()
        }
    }

    type Breaks = fn(&mut v1::ServiceSpec, &mut v1::ContainerSpec);

    /// What breaks a rule, and the field that the error must name.
    const BREAKS: &[(&str, Breaks)] = &[
        ("spec.name", |spec, _| spec.name = String::new()),
        ("spec.name", |spec, _| spec.name = "Web_1".to_owned()),
        ("spec.name", |spec, _| spec.name = "a".repeat(64)),
        ("spec.replicas", |spec, _| spec.replicas = 10_001),
        ("spec.labels", |spec, _| drop(spec.labels.insert(String::new(), String::new()))),
        ("spec.ports[0].published", |spec, _| spec.ports = vec![port_of(0, 0, 80)]),
        ("spec.ports[0].published", |spec, _| spec.ports = vec![port_of(0, 70_000, 80)]),
        ("spec.ports[1].target", |spec, _| spec.ports = vec![port_of(0, 1, 1), port_of(0, 2, 65_536)]),
        ("spec.ports[1].published", |spec, _| spec.ports = vec![port_of(0, 80, 1), port_of(1, 80, 2)]),
        ("spec.ports[0].protocol", |spec, _| spec.ports = vec![port_of(9, 80, 80)]),
        ("spec.update.failure_action", |spec, _| {
            spec.update = Some(v1::UpdatePolicy { failure_action: 7, ..Default::default() });
        }),
        ("spec.container.image", |_, container| container.image = String::new()),
        ("spec.container.image", |_, container| container.image = "not an image".to_owned()),
        ("spec.container.env", |_, container| container.env = vec!["NOVALUE".to_owned()]),
        ("spec.container.command", |_, container| container.command = vec!["a\0b".to_owned()]),
        ("spec.container.working_dir", |_, container| container.working_dir = "here".to_owned()),
        ("spec.container.limits.memory_bytes", |_, container| {
            container.limits = Some(v1::Resources { memory_bytes: 4096, ..Default::default() });
        }),
        ("spec.container.reservations.nano_cpus", |_, container| {
            container.limits = Some(v1::Resources { nano_cpus: 1, ..Default::default() });
            container.reservations = Some(v1::Resources { nano_cpus: 2, ..Default::default() });
        }),
        ("spec.container.logging", |_, container| {
            container.logging = Some(v1::Logging { driver: "syslog".to_owned(), ..Default::default() });
        }),
        ("spec.container.placement_constraints", |_, container| {
            container.placement_constraints = vec!["node.color==red".to_owned()];
        }),
    ];

    fn port_of(protocol: i32, published: u32, target: u32) -> v1::PublishedPort {
        v1::PublishedPort { protocol, published, target }
    }

    #[test]
    fn each_broken_rule_names_its_field() {
        assert!(service_spec(Some(good())).is_ok());
        assert_eq!(service_spec(None).unwrap_err().field, "spec");
        let bare = v1::ServiceSpec { container: None, ..good() };
        assert_eq!(service_spec(Some(bare)).unwrap_err().field, "spec.container");
        for (index, (field, breaks)) in BREAKS.iter().enumerate() {
            let mut spec = good();
            let mut container = spec.container.take().unwrap();
            breaks(&mut spec, &mut container);
            spec.container = Some(container);
            let error = service_spec(Some(spec)).expect_err(field);
            assert_eq!(&error.field, field, "row {index}: {error}");
        }
    }
}
