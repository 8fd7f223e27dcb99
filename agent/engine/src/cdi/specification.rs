//! One file: from its text to edits, each checked. A field that is not known is refused: what it asks for would be
//! missing from the container.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::name::{Kind, is_device};

/// Versions whose fields are known.
const VERSIONS: [&str; 10] =
    ["0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "0.8.1", "1.0.0", "1.1.0"];

/// Most entries of one list of edits.
const MOST: usize = 512;

/// A whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Specification {
    pub(super) kind: Kind,
    pub(super) devices: BTreeMap<String, Edits>,
    pub(super) common: Edits,
}

/// What is changed of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Edits {
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Nodes in its `/dev`.
    pub device_nodes: Vec<DeviceNode>,
    /// Files and directories of the host.
    pub mounts: Vec<Mount>,
    /// Further groups of its program.
    #[serde(rename = "additionalGids")]
    pub groups: Vec<u32>,
    hooks: Vec<Hook>,
    intel_rdt: Option<Value>,
    net_devices: Vec<Value>,
}

/// A device node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct DeviceNode {
    /// Path in the container.
    pub path: String,
    /// Path on the host; empty: the same.
    pub host_path: String,
    /// `c`, `b` or `u`; empty: as the host has it.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its numbers; without a type they are the host's.
    pub major: Option<u32>,
    /// See `major`.
    pub minor: Option<u32>,
    /// Permissions; the host's when `None`.
    pub file_mode: Option<u32>,
    /// Of `r`, `w` and `m`; empty: all three.
    pub permissions: String,
    /// Owner in the container.
    pub uid: Option<u32>,
    /// Group in the container.
    pub gid: Option<u32>,
}

/// A mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Mount {
    /// Path on the host.
    pub host_path: String,
    /// Path in the container.
    pub container_path: String,
    /// As in fstab.
    pub options: Vec<String>,
    /// Only binds are known.
    #[serde(rename = "type")]
    pub kind: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Hook {
    #[serde(rename = "hookName")]
    name: String,
    path: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    cdi_version: String,
    kind: String,
    #[serde(default, rename = "annotations")]
    _annotations: Value,
    #[serde(default)]
    devices: Vec<Device>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Device {
    name: String,
    #[serde(default, rename = "annotations")]
    _annotations: Value,
    #[serde(default)]
    container_edits: Edits,
}

impl Specification {
    /// Reads JSON.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Specification, String> {
        let file = serde_json::from_str(text);
        Self::checked(file.map_err(|error| format!("it is no CDI specification: {error}"))?)
    }

    /// Reads YAML.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse_yaml(text: &str) -> Result<Specification, String> {
        let file = serde_norway::from_str(text);
        Self::checked(file.map_err(|error| format!("it is no CDI specification: {error}"))?)
    }

    fn checked(file: File) -> Result<Specification, String> {
        if !VERSIONS.contains(&file.cdi_version.as_str()) {
            return Err(format!(
                "its version {:?} is not known; {} is",
                file.cdi_version,
                VERSIONS[VERSIONS.len() - 1]
            ));
        }
        let kind = file.kind.parse().map_err(|_| format!("{:?} is no kind, VENDOR/CLASS", file.kind))?;
        file.container_edits.check()?;
        let mut devices = BTreeMap::new();
        for device in file.devices {
            if !is_device(&device.name) {
                return Err(format!("{:?} is no name of a device", device.name));
            }
            device.container_edits.check().map_err(|wrong| format!("device {}: {wrong}", device.name))?;
            if devices.insert(device.name.clone(), device.container_edits).is_some() {
                return Err(format!("the device {} is in it twice", device.name));
            }
        }
        Ok(Specification { kind, devices, common: file.container_edits })
    }
}

impl Edits {
    /// Whether they change nothing.
    pub fn is_empty(&self) -> bool {
        *self == Edits::default()
    }

    /// Adds what another one changes.
    ///
    /// # Errors
    /// What of it is not done here.
    pub(super) fn extend(&mut self, more: &Edits) -> Result<(), String> {
        if let Some(hook) = more.hooks.first() {
            return Err(format!(
                "the hook {} ({}), and programs of the host are not run for a container; write the specification without \
                 hooks (nvidia-ctk cdi generate --disable-hook=all)",
                hook.path, hook.name
            ));
        }
        if more.intel_rdt.is_some() {
            return Err("a share of the processor's cache (intelRdt), which is not given".to_owned());
        }
        if !more.net_devices.is_empty() {
            return Err("network devices of the host (netDevices), which are not moved".to_owned());
        }
        self.env.extend(more.env.iter().cloned());
        self.device_nodes.extend(more.device_nodes.iter().cloned());
        self.mounts.extend(more.mounts.iter().cloned());
        self.groups.extend(&more.groups);
        let most = [self.env.len(), self.device_nodes.len(), self.mounts.len(), self.groups.len()];
        match most.iter().any(|count| *count > MOST) {
            true => Err(format!("more than {MOST} changes of one kind")),
            false => Ok(()),
        }
    }

    /// What can be told without the host.
    fn check(&self) -> Result<(), String> {
        for variable in &self.env {
            let name = variable.split_once('=').map(|(name, _)| name).unwrap_or_default();
            if name.is_empty() || variable.contains('\0') {
                return Err(format!("{variable:?} is not NAME=value"));
            }
        }
        let is_path = |path: &str| path.starts_with('/') && !path.contains('\0');
        for node in &self.device_nodes {
            let host_is_path = node.host_path.is_empty() || is_path(&node.host_path);
            if !is_path(&node.path) || !host_is_path {
                return Err(format!("{:?} is no absolute path of a device", node.path));
            }
            if !matches!(node.kind.as_str(), "" | "b" | "c" | "u") {
                return Err(format!("{} is of the type {:?}, which is no device", node.path, node.kind));
            }
            if node.kind.is_empty() && (node.major.is_some() || node.minor.is_some()) {
                return Err(format!("{} has a number and no type", node.path));
            }
            let letters = node.permissions.as_str();
            if letters.len() > 3 || !letters.chars().all(|letter| "rwm".contains(letter)) {
                return Err(format!(
                    "{} has the permissions {letters:?}, which are not of r, w and m",
                    node.path
                ));
            }
        }
        for mount in &self.mounts {
            if !is_path(&mount.host_path) || !is_path(&mount.container_path) {
                return Err(format!(
                    "{:?} is not mounted from and to an absolute path",
                    mount.container_path
                ));
            }
            if !matches!(mount.kind.as_str(), "" | "bind" | "none") {
                return Err(format!(
                    "{} is of the type {:?}, and only binds are known",
                    mount.container_path, mount.kind
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(edits: &str) -> Result<Edits, String> {
        let text = format!(
            "{{\"cdiVersion\": \"0.8.0\", \"kind\": \"v.com/c\", \"annotations\": {{\"a\": \"b\"}}, \
             \"devices\": [{{\"name\": \"d\", \"containerEdits\": {edits}}}]}}"
        );
        Specification::parse(&text)
            .map(|mut specification| specification.devices.remove("d").unwrap_or_default())
    }

    #[test]
    fn every_kind_of_edit_is_read() {
        let edits = parse(
            "{\"env\": [\"A=b=c\"], \"additionalGids\": [7], \"deviceNodes\": [{\"path\": \"/dev/x\", \"hostPath\": \"/dev/null\", \
             \"type\": \"c\", \"major\": 1, \"minor\": 3, \"fileMode\": 438, \"permissions\": \"rw\", \"uid\": 5, \"gid\": 6}], \
             \"mounts\": [{\"hostPath\": \"/a\", \"containerPath\": \"/b\", \"options\": [\"ro\"], \"type\": \"bind\"}]}",
        )
        .expect("it is well formed");
        assert_eq!(
            (edits.env[0].as_str(), edits.groups[0], edits.mounts[0].container_path.as_str()),
            ("A=b=c", 7, "/b")
        );
        assert_eq!((edits.device_nodes[0].minor, edits.device_nodes[0].file_mode), (Some(3), Some(0o666)));
    }

    #[test]
    fn yaml_says_the_same_as_json() {
        let yaml = "---\ncdiVersion: 0.8.0\nkind: v.com/c\ncontainerEdits:\n  env: [A=1]\ndevices:\n- name: \"0\"\n  \
                    containerEdits: &common\n    deviceNodes:\n    - path: /dev/x\n      hostPath: /dev/null\n      \
                    permissions: rw\n      fileMode: 438\n- name: \"1\"\n  containerEdits: *common\n";
        let json = "{\"cdiVersion\": \"0.8.0\", \"kind\": \"v.com/c\", \"containerEdits\": {\"env\": [\"A=1\"]}, \"devices\": [\
                    {\"name\": \"0\", \"containerEdits\": {\"deviceNodes\": [{\"path\": \"/dev/x\", \"hostPath\": \"/dev/null\", \
                    \"permissions\": \"rw\", \"fileMode\": 438}]}}, \
                    {\"name\": \"1\", \"containerEdits\": {\"deviceNodes\": [{\"path\": \"/dev/x\", \"hostPath\": \"/dev/null\", \
                    \"permissions\": \"rw\", \"fileMode\": 438}]}}]}";
        assert_eq!(Specification::parse_yaml(yaml), Specification::parse(json));
        assert_eq!(Specification::parse_yaml(json), Specification::parse(json), "JSON is YAML");
        for bad in
            ["", "[", "cdiVersion: 0.8.0", "cdiVersion: 0.8.0\nkind: v.com/c\nunknown: 1", "a: &a [*a]"]
        {
            assert!(Specification::parse_yaml(bad).is_err(), "{bad:?}");
        }
        let many = (0..40).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| {
            format!("{text}a{}: &a{} [*a{n}, *a{n}]\n", n + 1, n + 1)
        });
        assert!(Specification::parse_yaml(&many).is_err(), "it would be larger than the machine");
    }

    #[test]
    fn what_breaks_a_rule_is_refused() {
        for bad in [
            "{\"env\": [\"A\"]}",
            "{\"env\": [\"=x\"]}",
            "{\"deviceNodes\": [{\"path\": \"dev/x\"}]}",
            "{\"deviceNodes\": [{\"path\": \"/dev/x\", \"type\": \"p\"}]}",
            "{\"deviceNodes\": [{\"path\": \"/dev/x\", \"major\": 1}]}",
            "{\"deviceNodes\": [{\"path\": \"/dev/x\", \"major\": -1}]}",
            "{\"deviceNodes\": [{\"path\": \"/dev/x\", \"permissions\": \"x\"}]}",
            "{\"mounts\": [{\"hostPath\": \"a\", \"containerPath\": \"/b\"}]}",
            "{\"mounts\": [{\"hostPath\": \"/a\", \"containerPath\": \"/b\", \"type\": \"overlay\"}]}",
            "{\"capabilities\": [\"ALL\"]}",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(
            Specification::parse("{\"cdiVersion\": \"9.0.0\", \"kind\": \"v.com/c\"}")
                .unwrap_err()
                .contains("9.0.0")
        );
        assert!(Specification::parse("{\"cdiVersion\": \"0.8.0\", \"kind\": \"../c\"}").is_err());
        let twice = "{\"cdiVersion\": \"0.8.0\", \"kind\": \"v.com/c\", \"devices\": [{\"name\": \"a\"}, {\"name\": \"a\"}]}";
        assert!(Specification::parse(twice).unwrap_err().contains("twice"));
    }

    #[test]
    fn what_is_not_done_is_refused_when_it_is_asked_for() {
        let refused =
            |edits: &str| Edits::default().extend(&parse(edits).expect("it is well formed")).unwrap_err();
        let hook =
            "{\"hooks\": [{\"hookName\": \"createContainer\", \"path\": \"/usr/bin/x\", \"args\": [\"x\"]}]}";
        assert!(refused(hook).contains("/usr/bin/x"));
        assert!(refused("{\"intelRdt\": {\"closID\": \"x\"}}").contains("intelRdt"));
        assert!(refused("{\"netDevices\": [{\"hostInterfaceName\": \"eth1\"}]}").contains("netDevices"));
    }
}
