//! Attestation: what the kernel says of a container is compared with what was asked for, before its program runs.
//!
//! Vocabulary: [`HostView`] is what the reader itself lives in; **observed** is what the kernel says of the
//! container's process, parsed; **expected** is what the specification promises, derived from it without the
//! planner, so that one bug does not hide in both; a [`Mismatch`] is where they differ.
//!
//! Who runs it, and when: the agent, another process than the keeper that made the container, while the
//! container's process waits at its gate; and again for each further process that is sent into it. Everything is final there: `execve` of a user 0 only adds up the
//! bounding set again, which is compared too, and with `no_new_privs` no file grants more. The process is read
//! through one descriptor of `/proc/PID`, which stays this process's whatever becomes of its number; that it is
//! the right one is seen from its parent and its cgroup, which are compared as well.
//!
//! Deliberately absent: killing (the caller has the means), and which system calls a filter allows: the kernel
//! shows that to nobody but a tracer.

mod compare;
mod compare_mounts;
mod expected;
mod mounts;
mod observed;
mod read;

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

use crate::container::{ContainerSpec, ExecSpec};
pub use read::HostView;

/// One property that is not as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Which property, by the kernel's name for it.
    pub property: String,
    /// What the specification asks for.
    pub asked: String,
    /// What the kernel says.
    pub found: String,
}

impl Mismatch {
    fn new(property: impl Into<String>, asked: impl fmt::Display, found: impl fmt::Display) -> Mismatch {
        Mismatch { property: property.into(), asked: asked.to_string(), found: found.to_string() }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: asked for {}, found {}", self.property, self.asked, self.found)
    }
}

/// Why a container must not run.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// The kernel shows another container than the one asked for.
    #[error("the kernel shows another confinement than asked for: {}", listed(.0))]
    Differs(Vec<Mismatch>),
    /// What it is cannot be read, which is no reason to believe anything.
    #[error("cannot read {object} of process {pid}: {source}")]
    Unreadable {
        /// File below `/proc/PID`, or of its cgroup.
        object: String,
        /// The container's process.
        pid: i32,
        /// What the kernel said.
        source: io::Error,
    },
}

impl AttestError {
    /// Whether there was nothing to read, because the process has ended.
    pub fn has_ended(&self) -> bool {
        let AttestError::Unreadable { object, source, .. } = self else { return false };
        match source.raw_os_error() {
            Some(libc::ENOENT | libc::ESRCH) => true,
            // What has ended and is not reaped is in no mount namespace any more.
            Some(libc::EINVAL) => object == "mountinfo",
            _ => false,
        }
    }
}

fn listed(mismatches: &[Mismatch]) -> String {
    mismatches.iter().map(Mismatch::to_string).collect::<Vec<_>>().join("; ")
}

/// Compares the process `pid`, which waits at the gate of a container made from `spec`, with `spec`. `netns` is
/// the network namespace that was handed over with it.
///
/// # Errors
/// When anything differs, or cannot be read.
pub fn attest(
    spec: &ContainerSpec,
    pid: i32,
    netns: Option<BorrowedFd<'_>>,
    host: &HostView,
) -> Result<(), AttestError> {
    let unreadable = |(object, source)| AttestError::Unreadable { object, pid, source };
    let expected = expected::of(spec, &read::outside(spec, netns).map_err(unreadable)?);
    let observed = read::observe(pid, &expected).map_err(unreadable)?;
    verdict(compare::compare(&expected, &observed, host))
}

/// Compares the process `pid`, which waits at the gate of a further process made from `exec`, with `exec` and with
/// the container made from `spec`, whose first process is `first`. The container's mounts and limits were compared
/// when it was started, and may be others since; what the process shares with its first one is compared instead.
///
/// # Errors
/// When anything differs, or cannot be read: that is also so when the container ends meanwhile.
pub fn attest_exec(
    spec: &ContainerSpec,
    exec: &ExecSpec,
    pid: i32,
    first: i32,
    host: &HostView,
) -> Result<(), AttestError> {
    let unreadable = |pid| move |(object, source)| AttestError::Unreadable { object, pid, source };
    let expected = expected::of_exec(spec, exec, &read::joined(first).map_err(unreadable(first))?);
    let observed = read::observe(pid, &expected).map_err(unreadable(pid))?;
    verdict(compare::compare_exec(&expected, &observed, host))
}

fn verdict(mismatches: Vec<Mismatch>) -> Result<(), AttestError> {
    if mismatches.is_empty() { Ok(()) } else { Err(AttestError::Differs(mismatches)) }
}
