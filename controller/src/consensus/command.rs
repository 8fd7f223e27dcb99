//! What a log entry holds: one byte of format version, then the command as JSON.
//!
//! JSON names its fields, so a newer controller may add one (with a default) and
//! still read its old log. The version byte is for the change that this cannot
//! absorb: a controller that meets a version it does not know says so and stops,
//! for skipping a committed command would make its state differ from its peers'.

use controller_core::Command;

/// The version this controller writes, and the newest it reads.
const VERSION: u8 = 1;
/// Largest encoded command. Room for a plan of some 50,000 tasks.
const MAX_BYTES: usize = 32 << 20;

/// Why a command cannot become a log entry.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// It does not serialise.
    #[error("the change cannot be written down: {0}")]
    Json(#[from] serde_json::Error),
    /// It is too large.
    #[error("the change is {bytes} bytes large, the limit is {MAX_BYTES}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

/// Why a committed entry cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer controller.
    #[error("it is in format {found}, this controller understands {VERSION}; use the newer one")]
    Version {
        /// The entry's version.
        found: u8,
    },
    /// Not the JSON of a command.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// No bytes at all.
    #[error("it is empty")]
    Empty,
}

/// Encodes a command for the log.
///
/// # Errors
/// When it is too large or does not serialise; nothing was proposed then.
pub fn encode_command(command: &Command) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = vec![VERSION];
    serde_json::to_writer(&mut bytes, command)?;
    if bytes.len() > MAX_BYTES {
        return Err(EncodeError::TooLarge { bytes: bytes.len() });
    }
    Ok(bytes)
}

/// Decodes the command of a log entry.
///
/// # Errors
/// When a newer controller wrote it, or it is no command.
pub fn decode_command(bytes: &[u8]) -> Result<Command, DecodeError> {
    match bytes.split_first() {
        None => Err(DecodeError::Empty),
        Some((&VERSION, json)) => Ok(serde_json::from_slice(json)?),
        Some((&found, _)) => Err(DecodeError::Version { found }),
    }
}
