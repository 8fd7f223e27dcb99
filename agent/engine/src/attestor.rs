//! Attested starts: before a container's program runs, what the kernel says of its process is compared with what
//! was asked for, and how often that was done is counted. The comparison itself is the runtime's.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use agent_runtime::attest::{AttestError, HostView, attest};
use agent_runtime::container::ContainerSpec;

/// What the attested starts of one engine came to, since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attestations {
    /// Starts that were compared.
    pub checked: u64,
    /// Of those, starts that were stopped because something differed or could not be read.
    pub failed: u64,
}

/// Compares starts, from as many threads as there are.
#[derive(Debug, Default)]
pub(crate) struct Attestor {
    /// As this process and that keeper see the host.
    host: Mutex<Option<(i32, Arc<HostView>)>>,
    checked: AtomicU64,
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
        let unreadable =
            |source| AttestError::Unreadable { object: "the namespaces".to_owned(), pid: keeper, source };
        let result = self.host(keeper).map_err(unreadable).and_then(|host| attest(spec, pid, netns, &host));
        self.checked.fetch_add(1, Ordering::Relaxed);
        if result.is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// Looked at once for each keeper.
    fn host(&self, keeper: i32) -> std::io::Result<Arc<HostView>> {
        let mut known = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, host)) = &*known
            && *of == keeper
        {
            return Ok(Arc::clone(host));
        }
        let host = Arc::new(HostView::observe(Some(keeper))?);
        *known = Some((keeper, Arc::clone(&host)));
        Ok(host)
    }

    pub(crate) fn counts(&self) -> Attestations {
        Attestations {
            checked: self.checked.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}
