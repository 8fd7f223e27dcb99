//! How far the log is known to be synced, written beside it after each append.
//!
//! A log whose last write was torn and one whose last *acknowledged* write was
//! damaged look the same from inside. This note tells them apart: it is written
//! after the log's own sync, without one of its own, so it never claims too much,
//! costs no flush, and after a power cut at worst claims less than is there.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::checksum::crc32;
use crate::consensus::log_store::LogError;

/// A place in the log's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    /// Number of the file.
    pub(super) file: u64,
    /// Bytes of it that are synced.
    pub(super) offset: u64,
}

/// The note itself: file, offset, checksum; 20 bytes, so it is never torn.
#[derive(Debug)]
pub(super) struct Note {
    file: File,
    path: PathBuf,
}

impl Note {
    /// Opens or makes it, and reads what it says; unreadable is the same as absent.
    pub(super) fn open(path: &Path) -> Result<(Self, Option<Position>), LogError> {
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = opened.map_err(|error| LogError::read(path, error))?;
        let note = Self { file, path: path.to_owned() };
        let position = note.read().map_err(|error| LogError::read(path, error))?;
        Ok((note, position))
    }

    fn read(&self) -> io::Result<Option<Position>> {
        let mut bytes = [0_u8; 20];
        match self.file.read_exact_at(&mut bytes, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let [number, offset] = [0, 8].map(|at| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i])));
        let checksum = u32::from_le_bytes(std::array::from_fn(|i| bytes[16 + i]));
        Ok((crc32(&bytes[..16]) == checksum).then_some(Position { file: number, offset }))
    }

    /// The log is synced up to here.
    pub(super) fn write(&self, position: Position) -> Result<(), LogError> {
        let mut bytes = [0_u8; 20];
        bytes[..8].copy_from_slice(&position.file.to_le_bytes());
        bytes[8..16].copy_from_slice(&position.offset.to_le_bytes());
        let checksum = crc32(&bytes[..16]).to_le_bytes();
        bytes[16..].copy_from_slice(&checksum);
        self.file.write_all_at(&bytes, 0).map_err(|error| LogError::write(&self.path, error))
    }
}
