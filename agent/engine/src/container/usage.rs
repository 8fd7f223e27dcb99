//! What a running container uses. Asked of the kernel each time; nothing is kept.

use std::sync::Arc;

use agent_runtime::cgroup::{Cgroup, Usage};

use super::create::blocking;
use super::record::Entry;
use crate::EngineError;
use crate::engine::Inner;

impl Inner {
    pub(crate) async fn usage(&self, entry: &Arc<Entry>) -> Result<Usage, EngineError> {
        // Whoever holds this keeps the cgroup from being removed.
        let _work = entry.work.lock().await;
        if !entry.state().is_alive() {
            return Err(self.wrong_state(entry, "only a running one uses anything"));
        }
        let path = entry.live().record.cgroup(&self.config);
        blocking(move || Ok(Cgroup::open(&path)?.usage()?)).await
    }
}
