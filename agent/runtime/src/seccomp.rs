//! Which system calls a container may make: the default list as data, and its compiler.
//!
//! A profile (`default.txt`) is resolved for a set of capabilities into one decision per system call number
//! ([`profile`]), neighbouring numbers with the same decision become ranges, and the ranges become a binary
//! search tree of classic BPF ([`compile`]): about seven comparisons per call, and a program short enough to
//! load in microseconds. Filters are cached per capability set, because a host starts thousands of containers
//! with the same one.
//!
//! x86-64 only: a call made through another table (i386's `int 0x80`) kills the process, the x32 numbers do not
//! exist. Profiles of users (`linux.seccomp`) take the same way, with conditions on whole arguments ([`custom`]).

mod compile;
pub(crate) mod custom;
#[cfg(test)]
mod machine;
mod profile;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

pub use compile::Instruction;
pub use profile::ProfileError;

use crate::capabilities::CapSet;

/// The default filter for a container with the bounding set `capabilities`.
pub fn default_filter(capabilities: CapSet) -> Result<Vec<Instruction>, ProfileError> {
    Ok(compile::compile(&profile::resolve(capabilities)?))
}

/// Whether a filter of the specification can be made.
///
/// # Errors
/// What stands in the way, in words.
pub fn check(profile: &oci_spec::runtime::LinuxSeccomp) -> Result<(), String> {
    custom::filter(profile).map(drop)
}

/// Compiled filters by capability set.
#[derive(Debug, Default)]
pub(crate) struct FilterCache {
    filters: RefCell<BTreeMap<CapSet, Rc<[Instruction]>>>,
}

/// Most sets kept; a host uses a handful, and a stranger must not be able to fill the keeper's memory.
const CACHED: usize = 32;

impl FilterCache {
    /// The default filter for `capabilities`, compiled when it is asked for the first time.
    pub(crate) fn get(&self, capabilities: CapSet) -> Result<Rc<[Instruction]>, ProfileError> {
        if let Some(filter) = self.filters.borrow().get(&capabilities) {
            return Ok(Rc::clone(filter));
        }
        let filter: Rc<[Instruction]> = default_filter(capabilities)?.into();
        let mut filters = self.filters.borrow_mut();
        if filters.len() >= CACHED {
            filters.pop_first();
        }
        filters.insert(capabilities, Rc::clone(&filter));
        Ok(filter)
    }
}
