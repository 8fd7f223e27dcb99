//! Attested starts: before a container's program runs, or a further one in it, what the kernel says of its process
//! is compared with what was asked for, and how often that was done is counted. The comparison itself is the
//! runtime's.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use agent_runtime::attest::{AttestError, HostView, attest, attest_exec};
use agent_runtime::container::{ContainerSpec, ExecSpec};

/// What the attested starts of one engine came to, since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attestations {
    /// Starts of containers that were compared.
    pub checked: u64,
    /// Further processes in containers that were compared, health checks among them.
    pub execs: u64,
    /// Of all those, what was stopped because something differed or could not be read.
    pub failed: u64,
}

/// Compares starts, from as many threads as there are.
#[derive(Debug, Default)]
pub(crate) struct Attestor {
    /// As this process and that keeper see the host.
    host: Mutex<Option<(i32, Arc<HostView>)>>,
    checked: AtomicU64,
    execs: AtomicU64,
    failed: AtomicU64,
}

impl Attestor {
    /// Compares the process `pid`, held at its gate by the keeper `keeper`, with `spec`.
    pub(crate) fn check(
        &self,
        spec: &ContainerSpec,
        pid: i32,
        netns: Option<BorrowedFd<'_>>,
        keeper: i32,
    ) -> Result<(), AttestError> {
        let result = self.host(keeper).and_then(|host| attest(spec, pid, netns, &host));
        self.checked.fetch_add(1, Ordering::Relaxed);
        if result.is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// Compares the process `pid`, held at its gate by the keeper `keeper`, with `exec` and with the container of
    /// `spec`, whose first process is `first`.
    pub(crate) fn check_exec(
        &self,
        (spec, exec): (&ContainerSpec, &ExecSpec),
        (pid, first): (i32, i32),
        keeper: i32,
    ) -> Result<(), AttestError> {
        let result = self.host(keeper).and_then(|host| attest_exec(spec, exec, pid, first, &host));
        self.execs.fetch_add(1, Ordering::Relaxed);
        // That a container ends while something is sent into it is nobody's fault.
        if result.as_ref().is_err_and(|error| !error.has_ended()) {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// Looked at once for each keeper.
    fn host(&self, keeper: i32) -> Result<Arc<HostView>, AttestError> {
        let unreadable =
            |source| AttestError::Unreadable { object: "the namespaces".to_owned(), pid: keeper, source };
        let mut known = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, host)) = &*known
            && *of == keeper
        {
            return Ok(Arc::clone(host));
        }
        let host = Arc::new(HostView::observe(Some(keeper)).map_err(unreadable)?);
        *known = Some((keeper, Arc::clone(&host)));
        Ok(host)
    }

    pub(crate) fn counts(&self) -> Attestations {
        Attestations {
            checked: self.checked.load(Ordering::Relaxed),
            execs: self.execs.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}
