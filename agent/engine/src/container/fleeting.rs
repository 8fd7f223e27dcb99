//! Records of containers that are started at once and remove themselves. Nothing about them waits for the disk, and
//! most never come to the database: the file written here is what the next agent finds one by after a crash. It goes
//! with the container's state directory.

use std::collections::BTreeSet;
use std::path::Path;

use super::record::Record;
use crate::EngineError;

const FILE: &str = "record";
/// The next one, until it is whole.
const NEXT: &str = "record.next";

/// Writes the record into the container's state directory. A crash of ours leaves it there, one of the host may not.
pub(crate) fn note(dir: &Path, record: &Record) -> Result<(), EngineError> {
    write(&dir.join(FILE), record)
}

/// Writes another record in its place: one of the two is there at any time.
pub(crate) fn note_again(dir: &Path, record: &Record) -> Result<(), EngineError> {
    let (next, path) = (dir.join(NEXT), dir.join(FILE));
    write(&next, record)?;
    std::fs::rename(&next, &path).map_err(|error| EngineError::file("write", &path, error))
}

fn write(path: &Path, record: &Record) -> Result<(), EngineError> {
    let text = serde_json::to_vec(record).map_err(|error| EngineError::file("write", path, error.into()))?;
    std::fs::write(path, text).map_err(|error| EngineError::file("write", path, error))
}

/// The records among `dirs` that the database does not know. One that is not whole was never answered for: its
/// directory is swept like any other that belongs to nobody.
pub(crate) fn unknown(containers: &Path, known: &BTreeSet<&str>) -> Vec<Record> {
    let entries = std::fs::read_dir(containers).into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let strangers = ids.filter(|id| !known.contains(id.as_str()));
    let record = |id: String| -> Option<Record> {
        let mut record: Record =
            serde_json::from_slice(&std::fs::read(containers.join(&id).join(FILE)).ok()?).ok()?;
        record.noted = true;
        (record.id == id && record.is_fleeting()).then_some(record)
    };
    strangers.filter_map(record).collect()
}
