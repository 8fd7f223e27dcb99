//! Giving a container another name. Names are unique, and taking one is one
//! step with the check that nobody has it.

use std::sync::Arc;

use super::record::Entry;
use super::{ContainerEventKind, identity};
use crate::EngineError;
use crate::engine::Inner;
use crate::records::Durability;

impl Inner {
    pub(crate) async fn rename(&self, entry: &Arc<Entry>, name: &str) -> Result<(), EngineError> {
        identity::check_name(name)?;
        let _work = entry.work.lock().await;
        let (record, from) = self.take_name(entry, name)?;
        if let Err(error) = self.put(&record, Durability::Synced).await {
            entry.change(|live| live.record.name = from);
            return Err(error);
        }
        self.tell(entry, ContainerEventKind::Renamed { from });
        Ok(())
    }

    fn take_name(
        &self,
        entry: &Arc<Entry>,
        name: &str,
    ) -> Result<(super::record::Record, String), EngineError> {
        let entries = self.entries();
        if entry.live().removed {
            return Err(EngineError::NoSuchContainer(entry.id.clone()));
        }
        for other in entries.values() {
            let live = other.live();
            if live.record.name != name || live.is_leaving() {
                continue;
            }
            if other.id == entry.id {
                return Err(EngineError::invalid("name", format!("{name:?} is its name already")));
            }
            return Err(EngineError::NameTaken { name: name.to_owned(), id: live.record.short_id() });
        }
        let mut from = String::new();
        let record = entry.change(|live| from = std::mem::replace(&mut live.record.name, name.to_owned()));
        Ok((record, from))
    }
}
