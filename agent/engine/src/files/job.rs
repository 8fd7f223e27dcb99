//! What engine and helper say to each other, over one stream socket. The engine sends the job, then the bytes of an
//! archive if the job takes one, then shuts its side. The helper answers in frames: a letter, a length, a payload.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

/// The longest frame, in bytes.
pub(super) const MAX_FRAME: usize = 256 * 1024;

/// What the helper is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Job {
    /// Whether the container has a user namespace of its own, to be entered first.
    pub(super) own_users: bool,
    /// The work itself.
    pub(super) work: Work,
}

/// The work of one helper.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Say what is under a path.
    Stat {
        /// From the container's root.
        path: Vec<u8>,
        /// Whether a link at its end is followed.
        follow: bool,
    },
    /// Answer an archive of what is under a path.
    Read {
        /// From the container's root.
        path: Vec<u8>,
        /// Whether a link at its end is followed.
        follow: bool,
        /// What it is called in the archive; empty: the last part of the path.
        name: Vec<u8>,
    },
    /// Answer an archive of the root's own file system, without what is mounted on it.
    Export,
    /// Unpack the archive that follows into a directory.
    Write {
        /// The directory, from the container's root.
        path: Vec<u8>,
        /// Owners as in the archive, instead of the container's root.
        keep_owners: bool,
    },
}

/// Kinds of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    /// [`super::FileInfo`], as JSON.
    Info,
    /// Bytes of an archive.
    Data,
    /// The end: [`super::Copied`], as JSON.
    Done,
    /// The end: [`super::FilesError`], as JSON.
    Failed,
}

impl Tag {
    pub(super) fn byte(self) -> u8 {
        match self {
            Tag::Info => b'i',
            Tag::Data => b'd',
            Tag::Done => b'e',
            Tag::Failed => b'f',
        }
    }

    pub(super) fn of(byte: u8) -> Option<Tag> {
        [Tag::Info, Tag::Data, Tag::Done, Tag::Failed].into_iter().find(|tag| tag.byte() == byte)
    }
}

/// The job as it is sent.
pub(super) fn encode(job: &Job) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(job)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    Ok([&length.to_le_bytes()[..], &body].concat())
}

/// Reads the job.
pub(super) fn receive(source: &mut impl Read) -> io::Result<Job> {
    let mut length = [0; 4];
    source.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_FRAME {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = vec![0; length];
    source.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}

/// Writes one frame.
pub(super) fn send(sink: &mut impl Write, tag: Tag, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
    sink.write_all(&[tag.byte()])?;
    sink.write_all(&length.to_le_bytes())?;
    sink.write_all(payload)
}

/// Turns what is written into frames of data.
#[derive(Debug)]
pub(super) struct Frames<W>(pub(super) W);

impl<W: Write> Write for Frames<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = bytes.get(..bytes.len().min(MAX_FRAME)).unwrap_or_default();
        send(&mut self.0, Tag::Data, piece)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
