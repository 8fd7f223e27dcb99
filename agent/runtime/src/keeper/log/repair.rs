//! What a crash may have left at the end of a log: part of a record, or, when the host went down, zeros. Found when
//! the file is opened to be gone on with; what follows the last whole record is cut off by the caller.

use std::io;
use std::os::fd::AsFd;

use rustix::io::{Errno, pread};

use crate::log::compact::{self, FILE_HEAD, Found, HEAD, MARK, MAX_LINES, Seed, TAIL};

/// Read at a time.
const WINDOW: usize = 64 * 1024;

/// Where the last line that has an end ends.
pub(super) fn lines(file: impl AsFd, size: u64) -> io::Result<u64> {
    let mut end = size;
    while end > 0 {
        let start = end.saturating_sub(WINDOW as u64);
        let bytes = read(&file, start, end)?;
        if let Some(at) = bytes.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// The seed, and where the last whole frame ends; `None` when the file is no log.
pub(super) fn compact(file: impl AsFd, size: u64) -> io::Result<Option<(Seed, u64)>> {
    let head = FILE_HEAD as u64;
    let Some(seed) = Seed::of(&read(&file, 0, head.min(size))?) else {
        return Ok(None);
    };
    let most = (HEAD + MAX_LINES + TAIL) as u64;
    let last = read(&file, size.saturating_sub(4).max(head).min(size), size)?;
    if let Some(length) = compact::size_before(&last)
        && let Some(start) = size.checked_sub(length as u64).filter(|start| *start >= head)
        && frame_at(&file, seed, start, size)? == Some(size)
    {
        return Ok(Some((seed, size)));
    }
    // The last place where a frame begins, looked for from the end. Windows overlap by the mark.
    let mut end = size;
    while end > head {
        let start = end.saturating_sub(WINDOW as u64).max(head);
        let bytes = read(&file, start, (end + MARK.len() as u64 - 1).min(size))?;
        for at in (0..bytes.len()).rev().filter(|at| bytes[*at..].starts_with(&MARK)) {
            let at = start + at as u64;
            if let Some(whole) = frame_at(&file, seed, at, size.min(at + most))? {
                return Ok(Some((seed, whole)));
            }
        }
        end = start;
    }
    Ok(Some((seed, head)))
}

/// Where the frame at `start` ends, if there is one.
fn frame_at(file: impl AsFd, seed: Seed, start: u64, end: u64) -> io::Result<Option<u64>> {
    let bytes = read(file, start, end)?;
    match compact::frame(seed, &bytes) {
        Found::Frame(frame) => Ok(Some(start + frame.size as u64)),
        Found::Short(_) | Found::Damaged => Ok(None),
    }
}

fn read(file: impl AsFd, start: u64, end: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(end.saturating_sub(start)).unwrap_or(0)];
    let mut filled = 0;
    while filled < bytes.len() {
        match pread(&file, &mut bytes[filled..], start + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
