//! Which boot of the host this engine last served: a container that ran in
//! another one ended with it, and nothing that it had on the host is left.

use crate::EngineError;
use crate::records::{Durability, Records, Table};

/// The kernel's random name of this boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Where it is kept.
const KEY: &str = "boot";

/// The records of the host itself.
#[derive(Debug)]
pub(super) struct Boots {
    table: Table,
}

/// This boot's name; empty when the kernel does not say, which then is no reboot.
pub(super) fn id() -> String {
    std::fs::read_to_string(BOOT_ID).map(|text| text.trim().to_owned()).unwrap_or_default()
}

impl Boots {
    pub(super) fn new(records: &Records) -> Self {
        Self { table: records.table("host") }
    }

    /// The boot in which recovery was last completed.
    pub(super) async fn last(&self) -> Result<Option<String>, EngineError> {
        Ok(self.table.get(KEY).await?)
    }

    pub(super) async fn remember(&self, id: &String) -> Result<(), EngineError> {
        if self.last().await?.as_ref() != Some(id) {
            self.table.put(KEY, id, Durability::Synced).await?;
        }
        Ok(())
    }
}
