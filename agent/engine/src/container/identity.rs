//! Names and ids: making them, checking them, and finding a container by what a
//! person or a task calls it.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use super::record::Entry;
use crate::EngineError;

/// The longest name.
const MAX_NAME: usize = 200;

/// 64 hexadecimal digits of the kernel's randomness.
pub(crate) fn new_id() -> std::io::Result<String> {
    let mut bytes = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(hex::encode(bytes))
}

/// Letters, digits, `_`, `.` and `-`, beginning with a letter or digit.
pub(crate) fn check_name(name: &str) -> Result<(), EngineError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let begins_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins_well && name.len() <= MAX_NAME && name.bytes().all(is_plain) {
        return Ok(());
    }
    let rule = format!(
        "{name:?} is not allowed: 1 to {MAX_NAME} letters, digits, '_', '.' and '-', beginning with a letter or digit"
    );
    Err(EngineError::invalid("name", rule))
}

/// Finds a container by id, name, task or unique prefix of the id, in this order.
pub(crate) fn resolve(
    entries: &BTreeMap<String, Arc<Entry>>,
    wanted: &str,
) -> Result<Arc<Entry>, EngineError> {
    if let Some(entry) = entries.get(wanted) {
        return Ok(Arc::clone(entry));
    }
    let is_called = |entry: &&Arc<Entry>| {
        let live = entry.live();
        live.record.name == wanted && !live.is_leaving()
    };
    let is_of_task = |entry: &&Arc<Entry>| entry.live().record.config.task.as_deref() == Some(wanted);
    if let Some(entry) = entries.values().find(is_called).or_else(|| entries.values().find(is_of_task)) {
        return Ok(Arc::clone(entry));
    }
    if wanted.is_empty() {
        return Err(EngineError::NoSuchContainer(wanted.to_owned()));
    }
    let mut matching = entries.range(wanted.to_owned()..).take_while(|(id, _)| id.starts_with(wanted));
    match (matching.next(), matching.count()) {
        (Some((_, entry)), 0) => Ok(Arc::clone(entry)),
        (Some(_), more) => Err(EngineError::Ambiguous(wanted.to_owned(), more + 1)),
        (None, _) => Err(EngineError::NoSuchContainer(wanted.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::ContainerConfig;
    use crate::container::record::{Phase, Record};
    use crate::container::user::Identity;

    fn entry(id: &str, name: &str, task: Option<&str>) -> (String, Arc<Entry>) {
        let record = Record {
            id: id.to_owned(),
            name: name.to_owned(),
            config: ContainerConfig { task: task.map(str::to_owned), ..ContainerConfig::default() },
            phase: Phase::Created,
            image_digest: String::new(),
            layers: Vec::new(),
            mounted: Vec::new(),
            command: Vec::new(),
            env: Vec::new(),
            working_dir: "/".to_owned(),
            hostname: String::new(),
            identity: Identity::default(),
            stop_signal: 15,
            range: 0,
            project: None,
            created_at_ms: 0,
            started_at_ms: None,
            exit: None,
            error: None,
            taken_down: false,
            restarts: crate::container::restart::Restarts::default(),
            health: None,
            noted: false,
        };
        (id.to_owned(), Arc::new(Entry::new(record)))
    }

    #[test]
    fn a_container_is_found_by_id_name_task_and_unique_prefix() {
        let entries = BTreeMap::from([
            entry("aa11", "web", None),
            entry("aa22", "db", Some("task1")),
            entry("bb33", "aa2", None),
        ]);
        let found = |wanted: &str| resolve(&entries, wanted).map(|entry| entry.id.clone());
        assert_eq!(found("aa11").unwrap(), "aa11");
        assert_eq!(found("web").unwrap(), "aa11");
        assert_eq!(found("task1").unwrap(), "aa22");
        assert_eq!(found("b").unwrap(), "bb33");
        assert_eq!(found("aa2").unwrap(), "bb33", "a name is stronger than a prefix");
        assert!(matches!(found("aa"), Err(EngineError::Ambiguous(_, 2))));
        assert!(matches!(found("cc"), Err(EngineError::NoSuchContainer(_))));
        assert!(matches!(found(""), Err(EngineError::NoSuchContainer(_))));
    }

    #[test]
    fn names_that_are_no_plain_words_are_refused() {
        for name in ["", "-a", "a/b", "a b", "ä", &"a".repeat(201)] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert!(check_name("web.1.x_y-z").is_ok());
    }

    #[test]
    fn ids_are_64_digits_and_differ() {
        let (one, two) = (new_id().unwrap(), new_id().unwrap());
        assert_eq!(one.len(), 64);
        assert_ne!(one, two);
    }
}
