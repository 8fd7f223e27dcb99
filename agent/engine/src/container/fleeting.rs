//! Records of containers that are started at once and remove themselves. Nothing waits for the disk before they run,
//! so the database may not have heard of one when the agent is killed; the file written here is what the next agent
//! finds it by. It goes with the container's state directory.

use std::collections::BTreeSet;
use std::path::Path;

use super::record::Record;
use crate::EngineError;

const FILE: &str = "record";

/// Writes the record into the container's state directory. A crash of ours leaves it there, one of the host may not.
pub(crate) fn note(dir: &Path, record: &Record) -> Result<(), EngineError> {
    let path = dir.join(FILE);
    let text = serde_json::to_vec(record).map_err(|error| EngineError::file("write", &path, error.into()))?;
    std::fs::write(&path, text).map_err(|error| EngineError::file("write", &path, error))
}

/// The records among `dirs` that the database does not know. One that is not whole was never answered for: its
/// directory is swept like any other that belongs to nobody.
pub(crate) fn unknown(containers: &Path, known: &BTreeSet<&str>) -> Vec<Record> {
    let entries = std::fs::read_dir(containers).into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let strangers = ids.filter(|id| !known.contains(id.as_str()));
    let record = |id: String| -> Option<Record> {
        let record: Record =
            serde_json::from_slice(&std::fs::read(containers.join(&id).join(FILE)).ok()?).ok()?;
        (record.id == id && record.is_fleeting()).then_some(record)
    };
    strangers.filter_map(record).collect()
}
