//! The system call filter of an OCI configuration: its program, and the flags it is loaded with. Pure.

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompFilterFlag};

use super::super::PlanError;
use crate::seccomp::{Instruction, custom};

/// A filter and how it is to be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    /// The program.
    pub program: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*` bits.
    pub flags: u32,
}

/// Compiles what `asked` says, if anything is asked.
pub(crate) fn plan(asked: Option<&LinuxSeccomp>) -> Result<Option<Filter>, PlanError> {
    let Some(asked) = asked else { return Ok(None) };
    let flags = asked.flags().iter().flatten().map(|flag| bit(*flag)).fold(0, |bits, bit| bits | bit);
    let mut rules = asked.clone();
    rules.set_flags(None);
    let program = custom::filter(&rules).map_err(|reason| PlanError::new("linux.seccomp", reason))?;
    Ok(Some(Filter { program, flags }))
}

fn bit(flag: LinuxSeccompFilterFlag) -> u32 {
    use LinuxSeccompFilterFlag as Flag;
    match flag {
        Flag::SeccompFilterFlagTsync => 1,
        Flag::SeccompFilterFlagLog => 2,
        Flag::SeccompFilterFlagSpecAllow => 4,
        Flag::SeccompFilterFlagWaitKillableRecv => 32,
    }
}
