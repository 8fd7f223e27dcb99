//! How a container is confined and what it gets of the host, beyond the limits that services have too. All of it
//! comes from whoever asks for the container: nothing here can be made from an image's configuration, and no
//! conversion from one may be written.
//!
//! One file per subject. Each has plain data, `check` (bad values are refused before anything exists) and `apply`
//! (data into the OCI specification, right before a start).

use std::collections::{BTreeMap, HashMap};

use agent_runtime::container::SeccompPolicy;
use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use super::{ContainerConfig, Protocol, signal};
use crate::EngineError;

pub(crate) mod cdi;
mod confinement;
mod cpuset;
mod devices;
mod names;
mod namespaces;
pub(crate) mod real_time;
mod resources;
mod seccomp;
mod sysctl;
mod ulimit;

pub use confinement::{Confinement, Seccomp};
pub use devices::{Device, Devices};
pub use names::Names;
pub use namespaces::{IpcMode, NamespaceModes, NetworkMode};
pub use resources::{DeviceValue, Resources};
pub use ulimit::Ulimit;

/// Most entries in one list: a request is no place for a database.
const MOST: usize = 256;

/// What a caller may ask for; `Default` is the default confinement.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Isolation {
    /// Further groups of the program: names of the image, or numbers.
    pub groups: Vec<String>,
    /// Names, addresses and name servers it finds.
    pub names: Names,
    /// Free text by key, kept and shown. Confines nothing.
    pub annotations: BTreeMap<String, String>,
    /// Name or number of the signal that asks it to end; empty: the image's, else TERM.
    pub stop_signal: String,
    /// Process 1 is one that reaps and forwards signals, with the program as its child.
    pub init: bool,
    /// Ports it serves, beside those its image names.
    pub expose: Vec<(u16, Protocol)>,
    /// Publishes every port it or its image names on a free port of the host.
    pub publish_all: bool,
    /// Ports published on a free port of the host.
    pub publish_free: Vec<(u16, Protocol)>,
    /// What it may use.
    pub resources: Resources,
    /// How far its processes are trusted.
    pub confinement: Confinement,
    /// What it shares.
    pub namespaces: NamespaceModes,
    /// The host's devices it gets.
    pub devices: Devices,
    /// Kernel settings of its own namespaces, by dotted name.
    pub sysctls: BTreeMap<String, String>,
}

impl Isolation {
    /// Refuses what breaks a rule, by the option's name.
    pub(crate) fn check(&self, config: &ContainerConfig) -> Result<(), EngineError> {
        bounded("group-add", self.groups.len())?;
        bounded("annotation", self.annotations.len())?;
        bounded("expose", self.expose.len())?;
        bounded("publish", self.publish_free.len())?;
        if self.expose.iter().chain(&self.publish_free).any(|(port, _)| *port == 0) {
            return Err(EngineError::invalid("expose", "0 is not a port from 1 to 65535"));
        }
        let no_text =
            |(key, value): (&String, &String)| key.is_empty() || key.contains('\0') || value.contains('\0');
        if self.annotations.iter().any(no_text) {
            return Err(EngineError::invalid("annotation", "a key is empty, or there is a NUL byte in one"));
        }
        if !self.stop_signal.is_empty() && signal::parse(&self.stop_signal).is_none() {
            let rule = format!(
                "{:?} is no signal; expected a name such as SIGTERM, or a number from 1 to 64",
                self.stop_signal
            );
            return Err(EngineError::invalid("stop-signal", rule));
        }
        self.names.check()?;
        self.resources.check(&config.limits)?;
        self.confinement.check(self.own_users())?;
        self.namespaces.check(config)?;
        self.devices.check()?;
        sysctl::check(&self.sysctls, &self.namespaces)
    }

    /// Whether it has users of its own, a user namespace.
    pub(crate) fn own_users(&self) -> bool {
        self.namespaces.own_users(self.confinement.privileged)
    }

    /// What was asked for and has less effect than one may think, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let own_users = self.own_users();
        let mut warnings = self.confinement.warnings(own_users);
        warnings.extend(self.namespaces.warnings(own_users));
        warnings
    }

    /// Changes the default specification into the one asked for.
    pub(crate) fn apply(&self, oci: &mut Spec) -> Result<SeccompPolicy, EngineError> {
        if !self.annotations.is_empty() {
            let annotations: HashMap<String, String> = self.annotations.clone().into_iter().collect();
            oci.set_annotations(Some(annotations));
        }
        self.names.apply(oci);
        self.resources.apply(oci)?;
        self.namespaces.apply(oci)?;
        sysctl::apply(&self.sysctls, &self.namespaces, oci);
        self.devices.apply(oci, self.own_users(), self.confinement.privileged)?;
        self.confinement.apply(oci, self.own_users())
    }
}

fn bounded(field: &'static str, count: usize) -> Result<(), EngineError> {
    if count > MOST {
        return Err(EngineError::invalid(field, format!("given {count} times, at most {MOST} are taken")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(isolation: &Isolation) -> String {
        isolation.check(&ContainerConfig::default()).expect_err("a refusal").to_string()
    }

    #[test]
    fn the_default_is_accepted() {
        Isolation::default().check(&ContainerConfig::default()).expect("nothing was asked for");
    }

    #[test]
    fn an_unknown_stop_signal_is_refused_by_name() {
        let text = refused(&Isolation { stop_signal: "SIGNOPE".to_owned(), ..Isolation::default() });
        assert!(text.contains("stop-signal") && text.contains("SIGNOPE"), "{text}");
    }

    #[test]
    fn lists_have_an_end() {
        let groups = vec!["1".to_owned(); MOST + 1];
        assert!(refused(&Isolation { groups, ..Isolation::default() }).contains("group-add"));
    }

    #[test]
    fn a_record_without_it_is_readable() {
        assert_eq!(serde_json::from_str::<Isolation>("{}").expect("it parses"), Isolation::default());
    }
}
