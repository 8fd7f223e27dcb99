//! The newest snapshot as one file.
//!
//! ```text
//!   sha256 of everything after this line, hex
//!   {"format":1,"index":20000,"term":3,"voters":[1],"learners":[]}
//!   the state
//! ```
//!
//! It is written beside the old one, synced, renamed over it, and the directory
//! is synced: there is always a whole one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use raft::eraftpb::ConfState;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::consensus::log_store::{LogError, Snapshot};

const FORMAT: u8 = 1;

#[derive(Serialize, Deserialize)]
struct Header {
    format: u8,
    index: u64,
    term: u64,
    voters: Vec<u64>,
    learners: Vec<u64>,
}

/// The file, known by its directory.
#[derive(Debug)]
pub(super) struct SnapshotFile {
    directory: PathBuf,
    path: PathBuf,
}

impl SnapshotFile {
    /// In this directory.
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), path: directory.join("snapshot") }
    }

    /// Reads and verifies it, if there is one.
    pub(super) fn read(&self) -> Result<Option<Snapshot>, LogError> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LogError::read(&self.path, error)),
        };
        let damaged = |what: &str| LogError::damaged(&self.directory, &self.path, what);
        let (digest, rest) = split_line(&bytes).ok_or_else(|| damaged("it has no checksum"))?;
        if hex::encode(Sha256::digest(rest)).as_bytes() != digest {
            return Err(damaged("the snapshot does not match its checksum"));
        }
        let (header, data) = split_line(rest).ok_or_else(|| damaged("it has no header"))?;
        let header: Header = serde_json::from_slice(header).map_err(|error| damaged(&error.to_string()))?;
        if header.format != FORMAT {
            return Err(LogError::Format {
                file: self.path.clone(),
                found: header.format,
                understood: FORMAT,
            });
        }
        let voters = ConfState::from((header.voters, header.learners));
        Ok(Some(Snapshot { index: header.index, term: header.term, voters, data: data.to_vec() }))
    }

    /// Replaces it; durable on return.
    pub(super) fn write(&self, snapshot: &Snapshot) -> Result<(), LogError> {
        self.replace(snapshot).map_err(|error| LogError::write(&self.path, error))
    }

    fn replace(&self, snapshot: &Snapshot) -> io::Result<()> {
        let mut header = serde_json::to_vec(&Header {
            format: FORMAT,
            index: snapshot.index,
            term: snapshot.term,
            voters: snapshot.voters.voters.to_vec(),
            learners: snapshot.voters.learners.to_vec(),
        })?;
        header.push(b'\n');
        let digest = Sha256::new().chain_update(&header).chain_update(&snapshot.data).finalize();
        let beside = self.directory.join("snapshot.new");
        let mut file = File::create(&beside)?;
        file.write_all(hex::encode(digest).as_bytes())?;
        file.write_all(b"\n")?;
        file.write_all(&header)?;
        file.write_all(&snapshot.data)?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        sync_directory(&self.directory)
    }
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    Some((&bytes[..end], &bytes[end + 1..]))
}
