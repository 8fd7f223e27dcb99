//! Reads raft-engine's files before raft-engine does, and refuses damage.
//!
//! raft-engine has two ways to recover. `AbsoluteConsistency` refuses every
//! irregularity, and a killed process always leaves one: the last file is
//! allocated ahead and ends in zeros, after a power cut maybe in half a write.
//! `TolerateTailCorruption` accepts those, but cuts the last file off at the
//! *first* bad byte: damage in its middle would silently take every later entry
//! along. It also skips over a missing file without a word. So this scan decides
//! first, by reading, and changes nothing:
//!
//! * only the last file may end in something unreadable, and only the *tail*: no
//!   readable batch may follow it (one write is under way at a time, so a torn
//!   one has none behind it), and it must lie beyond what is known to have been
//!   synced ([`Position`], kept beside the log);
//! * everything else must be whole: every checksum, every file number.
//!
//! The format (version 2 of raft-engine's, alignment 0), numbers big endian unless said:
//!
//! ```text
//!   file  = magic (53 bytes) | version u64 | alignment u64 | batch*
//!   batch = length u64 << 8 | compression u8,  offset of items u64
//!         | entries, crc32 (little endian)          (absent when there are none)
//!         | items,   crc32 ^ file number (little endian)
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::checksum::crc32;
use super::position::Position;
use crate::consensus::log_store::LogError;

const MAGIC: &[u8] = b"RAFT-LOG-FILE-HEADER-9986AB3E47F320B394C8E84916EB0ED5";
const FILE_HEADER: usize = MAGIC.len() + 16;
const VERSION: u64 = 2;
const BATCH_HEADER: usize = 16;
const CHECKSUM: usize = 4;

/// Looks at all files of the log in `log`, which belongs to the log store in `directory`.
///
/// # Errors
/// [`LogError::Damaged`] names the file and the place.
pub(super) fn check(directory: &Path, log: &Path, synced: Option<Position>) -> Result<(), LogError> {
    let appended = files(log, ".raftlog")?;
    check_sequence(directory, log, &appended, synced, ".raftlog")?;
    let rewritten = files(log, ".rewrite")?;
    check_sequence(directory, log, &rewritten, None, ".rewrite")
}

/// The files with this ending by number.
fn files(log: &Path, ending: &str) -> Result<BTreeMap<u64, PathBuf>, LogError> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(log).map_err(|error| LogError::read(log, error))? {
        let path = entry.map_err(|error| LogError::read(log, error))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(number) = name.strip_suffix(ending).and_then(|digits| digits.parse().ok()) {
            found.insert(number, path);
        }
    }
    Ok(found)
}

fn check_sequence(
    directory: &Path,
    log: &Path,
    files: &BTreeMap<u64, PathBuf>,
    synced: Option<Position>,
    ending: &str,
) -> Result<(), LogError> {
    let newest = files.last_key_value().map_or(0, |(&number, _)| number);
    let oldest = files.first_key_value().map_or(1, |(&number, _)| number);
    let expected = newest.max(synced.map_or(0, |synced| synced.file));
    if let Some(missing) = (oldest..=expected).find(|number| !files.contains_key(number)) {
        let file = log.join(format!("{missing:016}{ending}"));
        return Err(LogError::damaged(directory, &file, "the file is missing"));
    }
    for (&number, path) in files {
        let bytes = fs::read(path).map_err(|error| LogError::read(path, error))?;
        let known = synced.filter(|synced| synced.file == number).map_or(0, |synced| synced.offset);
        let damaged = |what: String| Err(LogError::damaged(directory, path, what));
        let broken = broken_at(number, &bytes);
        let readable = to_u64(broken.unwrap_or(bytes.len()));
        if readable < known {
            return damaged(format!(
                "it is readable up to byte {readable}, but entries up to byte {known} were confirmed"
            ));
        }
        match broken {
            None => {}
            Some(place) if number < newest || readable_after(number, &bytes, place) => {
                return damaged(format!(
                    "what is at byte {place} does not match its checksum, and is not the last write"
                ));
            }
            Some(place) => report_tail(path, &bytes, place),
        }
    }
    Ok(())
}

/// Where the file stops being readable, if it does before its end.
fn broken_at(number: u64, bytes: &[u8]) -> Option<usize> {
    if !is_header(bytes) {
        return Some(0);
    }
    let mut place = FILE_HEADER;
    while place < bytes.len() {
        match batch(number, bytes, place) {
            Some(length) => place += length,
            None => return Some(place),
        }
    }
    None
}

fn is_header(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
        && u64_at(bytes, MAGIC.len()) == Some(VERSION)
        && u64_at(bytes, MAGIC.len() + 8) == Some(0)
}

/// Length of the intact batch at `place`, if there is one.
fn batch(number: u64, bytes: &[u8], place: usize) -> Option<usize> {
    let (length, items) = batch_header(bytes, place)?;
    let batch = &bytes[place..place + length];
    let entries = &batch[BATCH_HEADER..items];
    let signature = number.to_le_bytes();
    let signature = u32::from_le_bytes([signature[0], signature[1], signature[2], signature[3]]);
    ((entries.is_empty() || is_whole(entries, 0)) && is_whole(&batch[items..], signature)).then_some(length)
}

/// Length and offset of the items, if the 16 bytes at `place` could begin a batch.
fn batch_header(bytes: &[u8], place: usize) -> Option<(usize, usize)> {
    let first = u64_at(bytes, place)?;
    let items = usize::try_from(u64_at(bytes, place + 8)?).ok()?;
    let length = usize::try_from(first >> 8).ok()?;
    let fits = length <= bytes.len() - place && items >= BATCH_HEADER && items + CHECKSUM < length;
    (fits && first & 0xff <= 1).then_some((length, items))
}

/// The last four bytes are the checksum of those before.
fn is_whole(block: &[u8], signature: u32) -> bool {
    match block.split_last_chunk::<CHECKSUM>() {
        Some((content, checksum)) if !content.is_empty() => {
            crc32(content) ^ signature == u32::from_le_bytes(*checksum)
        }
        _ => false,
    }
}

/// Whether an intact batch begins anywhere behind `place`.
fn readable_after(number: u64, bytes: &[u8], place: usize) -> bool {
    (place + 1..bytes.len().saturating_sub(BATCH_HEADER)).any(|place| batch(number, bytes, place).is_some())
}

fn report_tail(path: &Path, bytes: &[u8], place: usize) {
    // Zeros are room that was allocated ahead: every killed process leaves some.
    if bytes[place..].iter().any(|&byte| byte != 0) {
        let file = path.display();
        tracing::warn!(%file, at = place, "the last write was cut short and is removed; nobody was told it succeeded");
    }
}

fn u64_at(bytes: &[u8], place: usize) -> Option<u64> {
    let end = place.checked_add(8)?;
    Some(u64::from_be_bytes(bytes.get(place..end)?.try_into().ok()?))
}

fn to_u64(place: usize) -> u64 {
    u64::try_from(place).unwrap_or(u64::MAX)
}
