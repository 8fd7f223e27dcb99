//! The cgroup and the resources of an OCI configuration, beyond those the engine itself asks for. Pure.

use std::path::{Component, Path};

use oci_spec::runtime::{Linux, LinuxResources, Spec};

use super::super::step::{DeviceRule, HostStep};
use super::super::{PlanError, resources};
use super::step::OciHostStep;

/// What a container may open whatever the rules before say: the nodes every container has, terminals, and making
/// any node, which by itself opens nothing.
const ALLOWED: [(char, Option<u32>, Option<u32>, &str); 11] = [
    ('c', None, None, "m"),
    ('b', None, None, "m"),
    ('c', Some(1), Some(3), "rwm"),
    ('c', Some(1), Some(5), "rwm"),
    ('c', Some(1), Some(7), "rwm"),
    ('c', Some(1), Some(8), "rwm"),
    ('c', Some(1), Some(9), "rwm"),
    ('c', Some(5), Some(0), "rwm"),
    ('c', Some(5), Some(1), "rwm"),
    ('c', Some(5), Some(2), "rwm"),
    ('c', Some(136), None, "rwm"),
];

/// The cgroup's path: absolute ones count from each hierarchy's root, relative ones from this runtime's own
/// directory there, and without one the container's id is a relative one.
pub(super) fn cgroup_path(linux: &Linux, id: &str) -> Result<String, PlanError> {
    let field = "linux.cgroupsPath";
    let given = linux.cgroups_path().as_deref().filter(|path| !path.as_os_str().is_empty());
    let path = given.unwrap_or(Path::new(id));
    let text = path.to_str().ok_or_else(|| PlanError::new(field, "is not text"))?;
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::RootDir);
    if text == "/" || text.contains(['\0', '\n']) || text.len() > 4000 || !path.components().all(plain) {
        return Err(PlanError::new(field, format!("{text:?} is not the path of a cgroup")));
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
    let below = if path.is_absolute() { "" } else { "/agent-oci" };
    Ok(format!("{below}/{}", parts.join("/")))
}

/// The steps of the resources `asked`; with `devices` also those of the device rules.
pub(crate) fn plan(
    asked: Option<&LinuxResources>,
    v1: bool,
    devices: bool,
) -> Result<Vec<HostStep>, PlanError> {
    let none = LinuxResources::default();
    let asked = asked.unwrap_or(&none);
    let mut steps = engine_steps(asked, v1)?;
    for limit in asked.hugepage_limits().iter().flatten() {
        let size = limit.page_size();
        if !size.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(PlanError::new(
                "linux.resources.hugepageLimits",
                format!("{size:?} is not a page size"),
            ));
        }
        let file = if v1 { format!("hugetlb.{size}.limit_in_bytes") } else { format!("hugetlb.{size}.max") };
        steps.push(set("hugetlb", file, limit.limit().to_string()));
    }
    for (device, limit) in sorted(asked.rdma()) {
        let count = |count: Option<u32>| count.map_or_else(|| "max".to_owned(), |count| count.to_string());
        let (handles, objects) = (count(limit.hca_handles()), count(limit.hca_objects()));
        steps.push(set("rdma", "rdma.max", format!("{device} hca_handle={handles} hca_object={objects}")));
    }
    if let Some(network) = asked.network() {
        network_steps(network, v1, &mut steps)?;
    }
    for (file, value) in sorted(asked.unified()) {
        unified(&file, &value, v1, &mut steps)?;
    }
    if devices {
        steps.push(HostStep::Oci(OciHostStep::LimitDevices(rules(asked)?)));
    }
    Ok(steps)
}

/// What the engine has steps for.
fn engine_steps(asked: &LinuxResources, v1: bool) -> Result<Vec<HostStep>, PlanError> {
    let mut known = LinuxResources::default();
    known.set_cpu(asked.cpu().clone()).set_pids(*asked.pids());
    known.set_memory(*asked.memory()).set_block_io(asked.block_io().clone());
    let mut linux = Linux::default();
    linux.set_resources(Some(known));
    resources::plan(&linux, v1)
}

fn rules(asked: &LinuxResources) -> Result<Vec<DeviceRule>, PlanError> {
    let everything =
        DeviceRule { allow: false, kind: 'a', major: None, minor: None, access: "rwm".to_owned() };
    let mut rules = vec![everything];
    for rule in asked.devices().iter().flatten() {
        rules.push(resources::rule(rule)?);
    }
    rules.extend(ALLOWED.map(|(kind, major, minor, access)| DeviceRule {
        allow: true,
        kind,
        major,
        minor,
        access: access.to_owned(),
    }));
    Ok(rules)
}

fn network_steps(
    network: &oci_spec::runtime::LinuxNetwork,
    v1: bool,
    steps: &mut Vec<HostStep>,
) -> Result<(), PlanError> {
    let priorities = network.priorities().as_deref().unwrap_or_default();
    if !v1 && (network.class_id().is_some() || !priorities.is_empty()) {
        return Err(PlanError::new("linux.resources.network", "needs cgroup version 1"));
    }
    if let Some(class) = network.class_id() {
        steps.push(set("net_cls", "net_cls.classid", class.to_string()));
    }
    for priority in priorities {
        let line = format!("{} {}", priority.name(), priority.priority());
        steps.push(set("net_prio", "net_prio.ifpriomap", line));
    }
    Ok(())
}

fn unified(file: &str, value: &str, v1: bool, steps: &mut Vec<HostStep>) -> Result<(), PlanError> {
    let field = "linux.resources.unified";
    if v1 {
        return Err(PlanError::new(field, "needs a host with cgroup version 2 only"));
    }
    let Some((controller, _)) = file.split_once('.').filter(|_| !file.contains('/')) else {
        return Err(PlanError::new(field, format!("{file:?} is not a file of a cgroup")));
    };
    for line in value.lines() {
        steps.push(set(controller, file, line.to_owned()));
    }
    Ok(())
}

/// Sorted, because the specification keeps them in a hash map and plans must not differ from run to run.
fn sorted<V: Clone>(map: &Option<std::collections::HashMap<String, V>>) -> Vec<(String, V)> {
    let mut sorted: Vec<(String, V)> =
        map.iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
    sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
    sorted
}

fn set(controller: &str, file: impl Into<String>, value: String) -> HostStep {
    let (controller, file) = (controller.to_owned(), file.into());
    HostStep::Oci(OciHostStep::SetFile { controller, file, value })
}

/// Refuses what only an annotation of another cgroup manager would carry out.
pub(super) fn check(oci: &Spec) -> Result<(), PlanError> {
    let linux = oci.linux().as_ref();
    let asked = linux.is_some_and(|linux| linux.intel_rdt().is_some());
    if asked { Err(PlanError::new("linux.intelRdt", "is not supported")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_cgroup_path_lies_below_the_runtimes_own_directory() {
        let path = |given: Option<&str>| {
            let mut linux = Linux::default();
            linux.set_cgroups_path(given.map(Into::into));
            cgroup_path(&linux, "c1")
        };
        assert_eq!(path(Some("/pod/c1")).expect("a path"), "/pod/c1");
        assert_eq!(path(Some("pod/c1")).expect("a path"), "/agent-oci/pod/c1");
        assert_eq!(path(None).expect("a path"), "/agent-oci/c1");
        for bad in ["/", "/a/../b", "../a", "a\nb"] {
            assert!(path(Some(bad)).is_err(), "{bad:?}");
        }
    }
}
