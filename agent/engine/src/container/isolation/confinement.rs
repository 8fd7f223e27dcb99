//! Capabilities, privileges, system calls and hidden paths.

use std::collections::HashSet;
use std::path::Path;

use agent_runtime::capabilities::CapSet;
use agent_runtime::container::SeccompPolicy;
use agent_runtime::defaults;
use oci_spec::runtime::{Capability, LinuxCapabilities, LinuxDeviceCgroup, LinuxDeviceType, Spec};
use serde::{Deserialize, Serialize};

use super::{bounded, seccomp};
use crate::EngineError;

/// How far the container's processes are trusted; `Default` is least.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Confinement {
    /// Capabilities beside the default ones: names with or without `CAP_`, or `ALL`.
    pub cap_add: Vec<String>,
    /// Capabilities taken away: names, or `ALL`.
    pub cap_drop: Vec<String>,
    /// Everything: all capabilities and devices, no filter, nothing hidden or read-only, the host's users.
    pub privileged: bool,
    /// Programs cannot gain privileges by executing others; `None`: unless privileged.
    pub no_new_privileges: Option<bool>,
    /// Which system calls are allowed.
    pub seccomp: Seccomp,
    /// Nothing below `/proc` and `/sys` is hidden or read-only.
    pub system_paths_unconfined: bool,
}

/// Which system calls are allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seccomp {
    /// Docker's default list for the container's capabilities; all when it is privileged.
    #[default]
    Default,
    /// All.
    Unconfined,
    /// Those of a profile in Docker's JSON form.
    Profile(String),
}

/// Capabilities over things that belong to the host's user namespace, which a private one does not reach.
const OF_THE_HOST: [&str; 17] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "BLOCK_SUSPEND",
    "BPF",
    "IPC_LOCK",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "NET_ADMIN",
    "PERFMON",
    "SYSLOG",
    "SYS_BOOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
];

const NO_PREFIX: &str = "CAP_";

fn plain(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    upper.strip_prefix(NO_PREFIX).unwrap_or(&upper).to_owned()
}

/// What `ALL` means: every capability there is in a user namespace of the container's own; with the host's users
/// those that this host gives out, as in Docker.
fn all(own_users: bool) -> HashSet<Capability> {
    let known = CapSet::ALL.to_string();
    let known = known.split(',').filter_map(|name| name.parse().ok());
    match own_users {
        true => known.collect(),
        false => {
            let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
            let bits = line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0);
            let had = CapSet(bits);
            known.filter(|capability| had.contains(CapSet::from_oci([capability]))).collect()
        }
    }
}

impl Confinement {
    pub(super) fn check(&self, own_users: bool) -> Result<(), EngineError> {
        for (field, names) in [("cap-add", &self.cap_add), ("cap-drop", &self.cap_drop)] {
            bounded(field, names.len())?;
            let unknown = |name: &&String| plain(name) != "ALL" && plain(name).parse::<Capability>().is_err();
            if let Some(name) = names.iter().find(unknown) {
                return Err(EngineError::invalid(field, format!("there is no capability {name:?}")));
            }
        }
        if let Seccomp::Profile(profile) = &self.seccomp {
            seccomp::resolve(profile, &self.capabilities(own_users))?;
        }
        Ok(())
    }

    /// What the container has: defaults, less what is dropped, and what is added, as in Docker.
    fn capabilities(&self, own_users: bool) -> HashSet<Capability> {
        let names = |list: &[String]| -> HashSet<Capability> {
            list.iter().filter_map(|name| plain(name).parse().ok()).collect()
        };
        let says_all = |list: &[String]| list.iter().any(|name| plain(name) == "ALL");
        if self.privileged {
            return all(own_users);
        }
        let (added, dropped) = (names(&self.cap_add), names(&self.cap_drop));
        let base = match (says_all(&self.cap_add), says_all(&self.cap_drop)) {
            (true, _) => all(own_users),
            (false, true) => return added,
            (false, false) => defaults::CAPABILITIES.into_iter().collect(),
        };
        let kept: HashSet<Capability> = base.difference(&dropped).copied().collect();
        match says_all(&self.cap_add) {
            true => kept,
            false => kept.union(&added).copied().collect(),
        }
    }

    /// Whether programs may gain privileges.
    fn no_new_privileges(&self) -> bool {
        self.no_new_privileges.unwrap_or(!self.privileged)
    }

    /// What was asked for and reaches less far than one may think.
    pub(super) fn warnings(&self, own_users: bool) -> Vec<String> {
        let names = self.cap_add.iter().map(|name| plain(name));
        let weak: Vec<String> =
            names.filter(|name| own_users && OF_THE_HOST.contains(&name.as_str())).collect();
        if weak.is_empty() {
            return Vec::new();
        }
        vec![format!(
            "{} reaches nothing of the host's, its network included, from the container's own user namespace; \
             add --userns host if the program needs that",
            weak.join(", ")
        )]
    }

    pub(super) fn apply(&self, oci: &mut Spec, own_users: bool) -> Result<SeccompPolicy, EngineError> {
        let set = self.capabilities(own_users);
        if let Some(process) = oci.process_mut() {
            let mut capabilities = LinuxCapabilities::default();
            capabilities
                .set_bounding(Some(set.clone()))
                .set_permitted(Some(set.clone()))
                .set_effective(Some(set.clone()))
                .set_inheritable(None)
                .set_ambient(None);
            process
                .set_capabilities(Some(capabilities))
                .set_no_new_privileges(Some(self.no_new_privileges()));
        }
        if (self.system_paths_unconfined || self.privileged)
            && let Some(linux) = oci.linux_mut()
        {
            linux.set_masked_paths(None).set_readonly_paths(None);
        }
        if self.privileged {
            open_everything(oci);
        }
        match &self.seccomp {
            Seccomp::Default if self.privileged => Ok(SeccompPolicy::Unconfined),
            Seccomp::Default => Ok(SeccompPolicy::Default),
            Seccomp::Unconfined => Ok(SeccompPolicy::Unconfined),
            Seccomp::Profile(profile) => {
                let resolved = seccomp::resolve(profile, &set)?;
                if let Some(linux) = oci.linux_mut() {
                    linux.set_seccomp(Some(resolved));
                }
                Ok(SeccompPolicy::Default)
            }
        }
    }
}

/// Writable kernel filesystems, and every device may be opened.
fn open_everything(oci: &mut Spec) {
    for mount in oci.mounts_mut().iter_mut().flatten() {
        if [Path::new("/sys"), Path::new("/sys/fs/cgroup")].contains(&mount.destination().as_path())
            && let Some(options) = mount.options_mut()
        {
            options.retain(|option| option != "ro");
        }
    }
    if let Some(resources) = oci.linux_mut().as_mut().and_then(|linux| linux.resources_mut().as_mut()) {
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(true).set_typ(Some(LinuxDeviceType::A)).set_access(Some("rwm".to_owned()));
        resources.set_devices(Some(vec![rule]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confined(add: &[&str], drop: &[&str]) -> HashSet<Capability> {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        let confinement =
            Confinement { cap_add: names(add), cap_drop: names(drop), ..Confinement::default() };
        confinement.check(true).expect("known names");
        confinement.capabilities(true)
    }

    #[test]
    fn sets_are_made_as_in_docker() {
        let default: HashSet<_> = defaults::CAPABILITIES.into_iter().collect();
        assert_eq!(confined(&[], &[]), default);
        assert_eq!(confined(&["ALL"], &[]).len(), 41);
        assert_eq!(confined(&["all"], &["cap_chown"]).len(), 40);
        assert_eq!(confined(&["CAP_SYS_ADMIN"], &["ALL"]), HashSet::from([Capability::SysAdmin]));
        assert_eq!(confined(&["ALL"], &["ALL"]).len(), 41);
        assert_eq!(confined(&["net_admin"], &["NET_RAW"]).len(), 14);
        // What is both added and dropped is had: adding comes last.
        assert!(confined(&["CHOWN"], &["CHOWN"]).contains(&Capability::Chown));
    }

    #[test]
    fn an_unknown_capability_is_refused() {
        let confinement = Confinement { cap_drop: vec!["NOPE".into()], ..Confinement::default() };
        assert!(confinement.check(true).unwrap_err().to_string().contains("NOPE"));
    }

    #[test]
    fn what_a_private_user_namespace_takes_away_is_said() {
        let confinement = Confinement { cap_add: vec!["CAP_NET_ADMIN".into()], ..Confinement::default() };
        assert!(confinement.warnings(true)[0].contains("NET_ADMIN"));
        assert!(confinement.warnings(false).is_empty());
    }

    #[test]
    fn privileged_confines_nothing_and_inherits_nothing() {
        let mut oci = defaults::spec(None);
        let confinement = Confinement { privileged: true, ..Confinement::default() };
        assert_eq!(confinement.apply(&mut oci, false).expect("applied"), SeccompPolicy::Unconfined);
        let process = oci.process().clone().expect("a process");
        let capabilities = process.capabilities().clone().expect("capabilities");
        assert_eq!(capabilities.bounding().as_ref(), Some(&all(false)));
        assert!(capabilities.inheritable().is_none() && capabilities.ambient().is_none());
        assert_eq!(process.no_new_privileges(), Some(false));
        let linux = oci.linux().clone().expect("linux");
        assert!(linux.masked_paths().is_none() && linux.readonly_paths().is_none());
        let ro = |at: &str| {
            let mounts = oci.mounts().as_deref().unwrap_or_default();
            let mount = mounts.iter().find(|mount| mount.destination() == Path::new(at)).expect("a mount");
            mount.options().iter().flatten().any(|option| option == "ro")
        };
        assert!(!ro("/sys") && !ro("/sys/fs/cgroup"));
    }
}
