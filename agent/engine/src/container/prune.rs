//! Removing all containers that do not run. Those of services are their
//! owner's business and stay.

use std::sync::Arc;

use super::record::Entry;
use super::{ContainerConfig, ContainerState};
use crate::engine::Inner;

/// Which of those that do not run are removed; all of it must hold.
#[derive(Debug, Clone, Default)]
pub struct PruneFilter {
    /// Made before, in milliseconds since 1970.
    pub until_ms: Option<u64>,
    /// Has each of these labels: `key` or `key=value`.
    pub labels: Vec<String>,
    /// Has none of these.
    pub without_labels: Vec<String>,
}

/// What pruning did.
#[derive(Debug, Clone, Default)]
pub struct Pruned {
    /// Ids of those that were removed.
    pub containers: Vec<String>,
    /// What they had written, in bytes.
    pub bytes: u64,
    /// Why others were not.
    pub failures: Vec<String>,
}

impl PruneFilter {
    fn admits(&self, config: &ContainerConfig, created_at_ms: u64) -> bool {
        let has = |label: &String| has_label(config, label);
        self.until_ms.is_none_or(|until| created_at_ms < until)
            && self.labels.iter().all(has)
            && !self.without_labels.iter().any(has)
    }
}

/// Whether it has the label `key` or `key=value`.
pub(crate) fn has_label(config: &ContainerConfig, label: &str) -> bool {
    match label.split_once('=') {
        Some((key, value)) => config.labels.get(key).is_some_and(|own| own == value),
        None => config.labels.contains_key(label),
    }
}

impl Inner {
    pub(crate) async fn prune(self: &Arc<Self>, filter: &PruneFilter) -> Pruned {
        let entries: Vec<Arc<Entry>> = self.entries().values().cloned().collect();
        let mut pruned = Pruned::default();
        for entry in entries {
            let container = entry.container();
            let is_over = matches!(container.state, ContainerState::Created | ContainerState::Exited);
            let is_leaving = entry.live().is_leaving();
            if !is_over
                || is_leaving
                || container.config.task.is_some()
                || !filter.admits(&container.config, container.created_at_ms)
            {
                continue;
            }
            let bytes = self.size(&entry).await.unwrap_or_default();
            // Without force: one that was started meanwhile stays.
            match self.remove(&entry, false).await {
                Ok(()) => {
                    pruned.containers.push(container.id);
                    pruned.bytes += bytes;
                }
                Err(error) => pruned.failures.push(format!("{}: {error}", container.name)),
            }
        }
        pruned
    }

    /// Bytes that a container has written into its own layer.
    pub(crate) async fn size(&self, entry: &Arc<Entry>) -> Result<u64, crate::EngineError> {
        Ok(self.snapshots.size(&entry.id).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_wants_all_that_it_says() {
        let labels = [("part".to_owned(), "db".to_owned()), ("keep".to_owned(), String::new())];
        let config = ContainerConfig { labels: labels.into(), ..ContainerConfig::default() };
        let admits = |until_ms: Option<u64>, with: &[&str], without: &[&str]| {
            let list = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect();
            let filter = PruneFilter { until_ms, labels: list(with), without_labels: list(without) };
            filter.admits(&config, 100)
        };
        assert!(admits(None, &[], &[]) && admits(Some(101), &["part=db", "keep"], &["other"]));
        assert!(!admits(Some(100), &[], &[]));
        assert!(!admits(None, &["part=web"], &[]) && !admits(None, &["part", "x"], &[]));
        assert!(!admits(None, &[], &["keep"]));
    }
}
