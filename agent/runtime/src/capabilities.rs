//! Capability sets as bits, and how a process lowers its own.
//!
//! The inheritable and ambient sets of the engine's containers are always empty; only the OCI command line, whose
//! callers may ask for anything, fills them ([`set_all`]).

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::str::FromStr;

use oci_spec::runtime::Capability;
use rustix::thread::{CapabilitySet, CapabilitySets};
use serde::{Deserialize, Serialize};

/// Names by number, as in `linux/capability.h`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A set of capabilities; bit n is capability number n.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CapSet(pub u64);

impl CapSet {
    /// All that are known.
    pub const ALL: CapSet = CapSet((1 << NAMES.len()) - 1);

    /// The set of what an OCI specification lists.
    pub fn from_oci<'a>(listed: impl IntoIterator<Item = &'a Capability>) -> CapSet {
        let mut bits = 0;
        for capability in listed {
            // Displayed without `CAP_`, in the kernel's spelling.
            bits |= CapSet::named(&capability.to_string()).0;
        }
        CapSet(bits)
    }

    /// The set as an OCI specification lists it.
    pub fn to_oci(self) -> HashSet<Capability> {
        let members = NAMES.iter().enumerate().filter(|(number, _)| self.0 >> number & 1 == 1);
        members.filter_map(|(_, name)| Capability::from_str(name).ok()).collect()
    }

    /// The capability called `name`, with or without `CAP_`; empty when there is none.
    pub fn named(name: &str) -> CapSet {
        let name = name.strip_prefix("CAP_").unwrap_or(name);
        NAMES.iter().position(|known| *known == name).map_or(CapSet(0), |number| CapSet(1 << number))
    }

    /// Whether every capability of `other` is in this set; the empty set is in every other.
    pub fn contains(self, other: CapSet) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Display for CapSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("none");
        }
        let names = NAMES.iter().enumerate().filter(|(number, _)| self.0 >> number & 1 == 1);
        f.write_str(&names.map(|(_, name)| *name).collect::<Vec<_>>().join(","))
    }
}

/// Drops every capability outside `keep` from the calling thread's bounding set, those newer than this code
/// included.
pub(crate) fn limit_bounding(keep: CapSet) -> io::Result<()> {
    for number in 0..64 {
        if keep.0 >> number & 1 == 1 {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(
            1 << number,
        )) {
            // The first number the kernel does not know: there are no more.
            Err(rustix::io::Errno::INVAL) if number >= NAMES.len() => break,
            // A kernel older than this table.
            Err(rustix::io::Errno::INVAL) => {}
            other => other?,
        }
    }
    Ok(())
}

/// Sets the calling thread's permitted and effective sets and empties the inheritable one, which empties the
/// ambient one too.
pub(crate) fn set(permitted: CapSet, effective: CapSet) -> io::Result<()> {
    let sets = CapabilitySets {
        effective: CapabilitySet::from_bits_retain(effective.0 & permitted.0),
        permitted: CapabilitySet::from_bits_retain(permitted.0),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).map_err(io::Error::from)
}

/// Sets the calling thread's permitted, effective and inheritable sets, then the ambient one.
pub(crate) fn set_all(
    permitted: CapSet,
    effective: CapSet,
    inheritable: CapSet,
    ambient: CapSet,
) -> io::Result<()> {
    let bits = |set: CapSet| CapabilitySet::from_bits_retain(set.0);
    let sets = CapabilitySets {
        effective: bits(effective),
        permitted: bits(permitted),
        inheritable: bits(inheritable),
    };
    rustix::thread::set_capabilities(None, sets)?;
    rustix::thread::clear_ambient_capability_set()?;
    for number in (0..64).filter(|number| ambient.0 >> number & 1 == 1) {
        rustix::thread::configure_capability_in_ambient_set(bits(CapSet(1 << number)), true)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_the_oci_specification_knows_has_a_number() {
        let all = [Capability::Chown, Capability::SysAdmin, Capability::CheckpointRestore, Capability::Mknod];
        assert_eq!(CapSet::from_oci(&all).0, 1 | 1 << 21 | 1 << 40 | 1 << 27);
    }

    #[test]
    fn an_unknown_name_is_the_empty_set() {
        assert_eq!(CapSet::named("CAP_NO_SUCH"), CapSet(0));
    }

    #[test]
    fn names_round_trip_through_display() {
        assert_eq!(CapSet(1 << 21 | 1).to_string(), "CHOWN,SYS_ADMIN");
        assert_eq!(CapSet::from_oci(&CapSet::ALL.to_oci()), CapSet::ALL);
    }
}
