//! The host's devices that a container gets: nodes in its `/dev`, and rules for the device cgroup.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceType, Spec};
use serde::{Deserialize, Serialize};

use super::bounded;
use crate::EngineError;

/// Most nodes a container gets.
const MOST_NODES: usize = 2000;
/// How deep directories of devices are looked into.
const DEPTH: u32 = 8;

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Devices {
    /// Nodes, or directories of them.
    pub devices: Vec<Device>,
    /// Further rules, as `c 10:200 rwm`.
    pub rules: Vec<String>,
    /// CDI names, `vendor.com/class=device`.
    pub names: Vec<String>,
}

/// One device, or those in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Path on the host.
    pub host: String,
    /// Path in the container, below `/dev`; empty: the same.
    pub container: String,
    /// Of `r`, `w` and `m`; empty: all three.
    pub access: String,
}

impl Devices {
    pub(super) fn check(&self) -> Result<(), EngineError> {
        bounded("device", self.devices.len())?;
        bounded("device-cgroup-rule", self.rules.len())?;
        bounded("device", self.names.len())?;
        for device in &self.devices {
            check_access("device", device.access())?;
            device.nodes()?;
        }
        self.rules.iter().try_for_each(|rule| parse_rule(rule).map(drop))
    }

    /// Adds nodes and rules. With `own_users` the nodes belong to the container's root.
    pub(super) fn apply(&self, oci: &mut Spec, own_users: bool, privileged: bool) -> Result<(), EngineError> {
        let mut nodes = Vec::new();
        let mut rules = Vec::new();
        if privileged {
            for (path, found) in all_of_the_host()? {
                nodes.push(node(&path, &found, own_users)?);
            }
        }
        for device in &self.devices {
            for (path, found) in device.nodes()? {
                let made = node(&path, &found, own_users)?;
                rules.push(rule_of(&made, device.access()));
                nodes.retain(|known: &LinuxDevice| known.path() != made.path());
                nodes.push(made);
            }
        }
        for rule in &self.rules {
            rules.push(parse_rule(rule)?);
        }
        if nodes.len() > MOST_NODES {
            return Err(too_many());
        }
        let Some(linux) = oci.linux_mut() else { return Ok(()) };
        if !nodes.is_empty() {
            linux.set_devices(Some(nodes));
        }
        if let Some(resources) = linux.resources_mut().as_mut().filter(|_| !privileged) {
            let mut all = resources.devices().clone().unwrap_or_default();
            all.extend(rules);
            resources.set_devices(Some(all));
        }
        Ok(())
    }
}

impl Device {
    fn access(&self) -> &str {
        if self.access.is_empty() { "rwm" } else { &self.access }
    }

    /// Paths in the container, and what is at their origins.
    fn nodes(&self) -> Result<Vec<(PathBuf, Metadata)>, EngineError> {
        let refuse = |rule: String| EngineError::invalid("device", rule);
        let host = Path::new(&self.host);
        let inside = if self.container.is_empty() { host } else { Path::new(&self.container) };
        for path in [host, inside] {
            if !path.is_absolute() || path.components().any(|part| part.as_os_str() == "..") {
                return Err(refuse(format!("{} is not an absolute path without '..'", path.display())));
            }
        }
        if !inside.starts_with("/dev") || inside == Path::new("/dev") {
            return Err(refuse(format!(
                "{} is not below /dev; give a path there: HOST:/dev/NAME",
                inside.display()
            )));
        }
        let found = std::fs::metadata(host).map_err(|error| refuse(format!("{}: {error}", self.host)))?;
        if is_device(&found) {
            return Ok(vec![(inside.to_owned(), found)]);
        }
        if !found.is_dir() {
            return Err(refuse(format!("{} is neither a device nor a directory of devices", self.host)));
        }
        let mut nodes = Vec::new();
        walk(host, inside, DEPTH, &mut nodes)?;
        match nodes.is_empty() {
            true => Err(refuse(format!("there is no device in {}", self.host))),
            false => Ok(nodes),
        }
    }
}

fn too_many() -> EngineError {
    EngineError::invalid("device", format!("more than {MOST_NODES} devices"))
}

pub(super) fn is_device(found: &Metadata) -> bool {
    found.file_type().is_char_device() || found.file_type().is_block_device()
}

/// Every node below `host`, links left out.
fn walk(
    host: &Path,
    inside: &Path,
    depth: u32,
    nodes: &mut Vec<(PathBuf, Metadata)>,
) -> Result<(), EngineError> {
    let failed = |error| EngineError::file("list", host, error);
    for entry in std::fs::read_dir(host).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // Devices come and go while this looks.
        let Ok(found) = std::fs::symlink_metadata(entry.path()) else { continue };
        let place = inside.join(entry.file_name());
        if is_device(&found) {
            nodes.push((place, found));
        } else if found.is_dir() && depth > 0 {
            walk(&entry.path(), &place, depth - 1, nodes)?;
        }
        if nodes.len() > MOST_NODES {
            return Err(too_many());
        }
    }
    Ok(())
}

/// What a privileged container finds in its `/dev`; what each container has anyway is left out.
fn all_of_the_host() -> Result<Vec<(PathBuf, Metadata)>, EngineError> {
    const OWN: [&str; 13] = [
        "pts", "shm", "fd", "mqueue", ".udev", "console", "ptmx", "null", "zero", "full", "random",
        "urandom", "tty",
    ];
    let dev = Path::new("/dev");
    let mut nodes = Vec::new();
    walk(dev, dev, DEPTH, &mut nodes)?;
    let is_own = |path: &Path| {
        let first = path.strip_prefix(dev).ok().and_then(|rest| rest.components().next());
        first.is_some_and(|first| OWN.iter().any(|own| first.as_os_str() == *own))
    };
    nodes.retain(|(path, _)| !is_own(path));
    Ok(nodes)
}

fn node(path: &Path, found: &Metadata, own_users: bool) -> Result<LinuxDevice, EngineError> {
    let kind = if found.file_type().is_block_device() { LinuxDeviceType::B } else { LinuxDeviceType::C };
    let number = found.rdev();
    // The owner on the host is nobody inside; whoever may give a container the device gives it to its root.
    let (uid, gid) = if own_users { (0, 0) } else { (found.uid(), found.gid()) };
    LinuxDeviceBuilder::default()
        .path(path)
        .typ(kind)
        .major(i64::from(rustix::fs::major(number)))
        .minor(i64::from(rustix::fs::minor(number)))
        .file_mode(found.permissions().mode() & 0o777)
        .uid(uid)
        .gid(gid)
        .build()
        .map_err(|error| EngineError::invalid("device", error.to_string()))
}

pub(super) fn rule_of(node: &LinuxDevice, access: &str) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(true)
        .set_typ(Some(node.typ()))
        .set_major(Some(node.major()))
        .set_minor(Some(node.minor()))
        .set_access(Some(access.to_owned()));
    rule
}

fn check_access(field: &'static str, access: &str) -> Result<(), EngineError> {
    let once = |letter: char| access.matches(letter).count() <= 1;
    if access.is_empty() || !access.chars().all(|letter| "rwm".contains(letter) && once(letter)) {
        return Err(EngineError::invalid(field, format!("{access:?} is not made of r, w and m, each once")));
    }
    Ok(())
}

/// Reads `TYPE MAJOR:MINOR ACCESS`; a rule can only allow.
fn parse_rule(text: &str) -> Result<LinuxDeviceCgroup, EngineError> {
    let refuse = || {
        let rule =
            format!("{text:?} is no rule; expected for example \"c 10:200 rwm\", with * for every number");
        EngineError::invalid("device-cgroup-rule", rule)
    };
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let [kind, numbers, access] = words[..] else { return Err(refuse()) };
    let kind = match kind {
        "a" => LinuxDeviceType::A,
        "b" => LinuxDeviceType::B,
        "c" => LinuxDeviceType::C,
        _ => return Err(refuse()),
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(refuse)?;
    let number = |text: &str| match text {
        "*" => Ok(None),
        _ => text.parse::<u32>().map(|number| Some(i64::from(number))).map_err(|_| refuse()),
    };
    check_access("device-cgroup-rule", access)?;
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(true)
        .set_typ(Some(kind))
        .set_major(number(major)?)
        .set_minor(number(minor)?)
        .set_access(Some(access.to_owned()));
    Ok(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(host: &str, container: &str, access: &str) -> Devices {
        let device = Device { host: host.into(), container: container.into(), access: access.into() };
        Devices { devices: vec![device], ..Devices::default() }
    }

    #[test]
    fn a_device_is_a_node_and_a_rule() {
        let mut oci = agent_runtime::defaults::spec(None);
        device("/dev/zero", "/dev/nothing", "r").apply(&mut oci, true, false).expect("applied");
        let linux = oci.linux().clone().expect("linux");
        let nodes = linux.devices().clone().expect("nodes");
        assert_eq!(
            (nodes[0].path().as_path(), nodes[0].major(), nodes[0].minor()),
            (Path::new("/dev/nothing"), 1, 5)
        );
        let rules =
            linux.resources().as_ref().and_then(|resources| resources.devices().clone()).expect("rules");
        let last = rules.last().expect("a rule");
        assert_eq!((last.major(), last.minor(), last.access().as_deref()), (Some(1), Some(5), Some("r")));
    }

    #[test]
    fn what_is_no_device_or_has_no_place_is_refused() {
        for bad in [
            device("/etc/passwd", "", ""),
            device("/no/such", "", ""),
            device("dev/null", "", ""),
            device("/dev/null", "/etc/null", ""),
            device("/dev/null", "/dev/../etc/null", ""),
            device("/dev/null", "/dev", ""),
            device("/dev/null", "", "x"),
            device("/dev/null", "", "rr"),
            Devices { rules: vec!["c 1:2".into()], ..Devices::default() },
            Devices { rules: vec!["x 1:2 r".into()], ..Devices::default() },
            Devices { rules: vec!["c 1 r".into()], ..Devices::default() },
            Devices { rules: vec!["c -1:2 r".into()], ..Devices::default() },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
        Devices { rules: vec!["a *:* rwm".into(), "c 10:* r".into()], ..Devices::default() }
            .check()
            .expect("rules");
    }

    #[test]
    fn a_directory_is_all_its_devices() {
        let nodes =
            Device { host: "/dev".into(), container: "/dev/host".into(), access: String::new() }.nodes();
        let nodes = nodes.expect("the host has devices");
        assert!(nodes.iter().any(|(path, _)| path == Path::new("/dev/host/null")), "{nodes:?}");
    }

    #[test]
    fn a_privileged_container_has_the_hosts_devices_but_those_it_has_anyway() {
        let all = all_of_the_host().expect("the host has devices");
        assert!(!all.is_empty() && !all.iter().any(|(path, _)| path == Path::new("/dev/null")));
    }
}
