//! Reads a container's log files in order while the keeper writes and rotates
//! them. A file is known by its inode: when `current` is another one, the rest
//! of ours is read, then the file that came after it. Blocking.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde::Deserialize;

use super::LogEntry;

/// Records read at a time.
const BATCH: usize = 512;

/// No record is longer: a piece is 16 KiB, and JSON makes at most six bytes of one.
const MAX_RECORD: u64 = 256 * 1024;

/// A place in a log.
#[derive(Debug)]
pub(super) struct Reader {
    dir: PathBuf,
    at: Option<Open>,
    /// Only until the first read: how many of the last records are wanted.
    tail: Option<usize>,
    /// Records to pass over before the first that is wanted.
    skip: usize,
}

#[derive(Debug)]
struct Open {
    inode: u64,
    file: BufReader<File>,
    /// A record that was not whole when it was read.
    partial: Vec<u8>,
}

#[derive(Deserialize)]
struct Record {
    log: String,
    stream: String,
    time: String,
}

impl Reader {
    pub(super) fn new(dir: PathBuf, tail: Option<usize>) -> Reader {
        Reader { dir, at: None, tail, skip: 0 }
    }

    /// The next records, none at the end of what is there.
    pub(super) fn read(&mut self) -> io::Result<Vec<LogEntry>> {
        let mut batch = Vec::new();
        if self.at.is_none() && !self.begin()? {
            return Ok(batch);
        }
        while batch.len() < BATCH {
            let Some(open) = &mut self.at else {
                break;
            };
            match open.next_record()? {
                Some(_) if self.skip > 0 => self.skip -= 1,
                // What does not parse was cut off by a full disk.
                Some(line) => batch.extend(parse(&line)),
                None if self.advance()? => {}
                None => break,
            }
        }
        Ok(batch)
    }

    /// Opens the first file that is wanted; `false` while there is none.
    fn begin(&mut self) -> io::Result<bool> {
        let mut files = self.files()?;
        if let Some(wanted) = self.tail.take() {
            let mut missing = wanted;
            let mut first = files.len().saturating_sub(1);
            for (index, file) in files.iter_mut().enumerate().rev() {
                first = index;
                let records = file.count()?;
                if records >= missing {
                    self.skip = records - missing;
                    break;
                }
                missing -= records;
            }
            files.drain(..first);
        }
        self.at = files.into_iter().next();
        Ok(self.at.is_some())
    }

    /// All files, oldest first.
    fn files(&self) -> io::Result<Vec<Open>> {
        let mut files: Vec<Open> = Vec::new();
        // From the newest: a rotation in between shows a file twice, never skips one.
        for number in 0_u32.. {
            let name = if number == 0 { "current".to_owned() } else { number.to_string() };
            match Open::new(&self.dir.join(name)) {
                Ok(open) if files.last().is_some_and(|newer| newer.inode == open.inode) => {}
                Ok(open) => files.push(open),
                Err(error) if error.kind() == io::ErrorKind::NotFound && number > 0 => break,
                // The moment between the renaming of one and the making of the next.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        files.reverse();
        Ok(files)
    }

    /// At the end of our file: goes to the next one, if ours is not the newest.
    fn advance(&mut self) -> io::Result<bool> {
        let Some(ours) = &mut self.at else {
            return Ok(false);
        };
        let is_newest = match std::fs::metadata(self.dir.join("current")) {
            Ok(metadata) => metadata.ino() == ours.inode,
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(error),
        };
        // Written between our last read and the rotation.
        if is_newest || ours.has_more()? {
            return Ok(!is_newest);
        }
        let inode = ours.inode;
        let mut files = self.files()?;
        if let Some(index) = files.iter().position(|file| file.inode == inode) {
            files.drain(..=index);
        }
        match files.into_iter().next() {
            Some(next) => {
                self.at = Some(next);
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

impl Open {
    fn new(path: &std::path::Path) -> io::Result<Open> {
        let file = File::open(path)?;
        let inode = file.metadata()?.ino();
        Ok(Open { inode, file: BufReader::with_capacity(64 * 1024, file), partial: Vec::new() })
    }

    /// The next whole record.
    fn next_record(&mut self) -> io::Result<Option<Vec<u8>>> {
        let room = MAX_RECORD.saturating_sub(self.partial.len() as u64).max(1);
        (&mut self.file).take(room).read_until(b'\n', &mut self.partial)?;
        let is_whole = self.partial.ends_with(b"\n") || self.partial.len() as u64 >= MAX_RECORD;
        Ok(is_whole.then(|| std::mem::take(&mut self.partial)))
    }

    fn has_more(&mut self) -> io::Result<bool> {
        Ok(!self.file.fill_buf()?.is_empty())
    }

    /// How many records it has now; goes back to its beginning.
    fn count(&mut self) -> io::Result<usize> {
        let mut records = 0;
        loop {
            let buffer = self.file.fill_buf()?;
            if buffer.is_empty() {
                break;
            }
            records += buffer.iter().filter(|byte| **byte == b'\n').count();
            let length = buffer.len();
            self.file.consume(length);
        }
        io::Seek::rewind(&mut self.file)?;
        Ok(records)
    }
}

fn parse(line: &[u8]) -> Option<LogEntry> {
    let record: Record = serde_json::from_slice(line).ok()?;
    let time: jiff::Timestamp = record.time.parse().ok()?;
    let time_ns = u64::try_from(time.as_nanosecond()).unwrap_or(0);
    Some(LogEntry { time_ns, stderr: record.stream == "stderr", data: record.log.into_bytes() })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn line(number: usize) -> String {
        format!(
            "{{\"log\":\"{number}\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-21T03:00:00.000000001Z\"}}\n"
        )
    }

    fn append(dir: &Path, numbers: std::ops::Range<usize>) {
        use std::io::Write;
        let mut file = File::options().append(true).create(true).open(dir.join("current")).unwrap();
        numbers.for_each(|number| file.write_all(line(number).as_bytes()).unwrap());
    }

    /// What the keeper does, with three files.
    fn rotate(dir: &Path) {
        let _ = std::fs::rename(dir.join("1"), dir.join("2"));
        std::fs::rename(dir.join("current"), dir.join("1")).unwrap();
    }

    fn all(reader: &mut Reader) -> Vec<usize> {
        let mut numbers = Vec::new();
        loop {
            let batch = reader.read().unwrap();
            if batch.is_empty() {
                return numbers;
            }
            numbers.extend(
                batch
                    .iter()
                    .map(|entry| std::str::from_utf8(&entry.data).unwrap().trim().parse::<usize>().unwrap()),
            );
        }
    }

    #[test]
    fn a_follower_sees_every_record_once_across_rotations() {
        let dir = tempfile::tempdir().unwrap();
        let mut reader = Reader::new(dir.path().to_path_buf(), None);
        assert!(all(&mut reader).is_empty());
        append(dir.path(), 0..10);
        assert_eq!(all(&mut reader), (0..10).collect::<Vec<_>>());
        append(dir.path(), 10..20);
        rotate(dir.path());
        append(dir.path(), 20..30);
        rotate(dir.path());
        append(dir.path(), 30..40);
        assert_eq!(all(&mut reader), (10..40).collect::<Vec<_>>());
        assert!(all(&mut reader).is_empty());
    }

    #[test]
    fn a_follower_that_was_left_behind_goes_on_with_the_oldest_there_is() {
        let dir = tempfile::tempdir().unwrap();
        append(dir.path(), 0..5);
        let mut reader = Reader::new(dir.path().to_path_buf(), None);
        assert_eq!(all(&mut reader).len(), 5);
        for start in [10, 20, 30, 40] {
            rotate(dir.path());
            append(dir.path(), start..start + 5);
        }
        assert_eq!(all(&mut reader), [20, 21, 22, 23, 24, 30, 31, 32, 33, 34, 40, 41, 42, 43, 44]);
    }

    #[test]
    fn the_tail_counts_records_over_all_files() {
        let dir = tempfile::tempdir().unwrap();
        append(dir.path(), 0..10);
        rotate(dir.path());
        append(dir.path(), 10..15);
        let tail = |count| all(&mut Reader::new(dir.path().to_path_buf(), Some(count)));
        assert_eq!(tail(3), [12, 13, 14]);
        assert_eq!(tail(7), (8..15).collect::<Vec<_>>());
        assert_eq!(tail(100), (0..15).collect::<Vec<_>>());
        assert!(tail(0).is_empty());
    }

    #[test]
    fn half_a_record_waits_for_its_other_half_and_damage_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let text = line(7);
        let (first, second) = text.split_at(20);
        let current = dir.path().join("current");
        std::fs::write(&current, format!("garbage\n{first}")).unwrap();
        let mut reader = Reader::new(dir.path().to_path_buf(), None);
        assert!(all(&mut reader).is_empty());
        let mut file = File::options().append(true).open(&current).unwrap();
        io::Write::write_all(&mut file, second.as_bytes()).unwrap();
        assert_eq!(all(&mut reader), [7]);
    }
}
