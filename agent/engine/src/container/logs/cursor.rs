//! A place in one log file, of either form: the next lines from there, and where the last lines begin. What is not
//! whole yet is waited for; what a crash has damaged is passed over once something follows it. Blocking.

use std::collections::VecDeque;
use std::fs::File;
use std::io;

use agent_runtime::log::compact::{self, FILE_HEAD, Found, HEAD, MARK, MAX_LINES, Seed, TAIL};
use agent_runtime::log::{Layout, json};
use serde::Deserialize;

use super::LogEntry;
use super::identity::{Identity, Sealed};
use super::packed::Packed;
use super::window::{Backwards, Window, read_at};

/// A place in a file.
#[derive(Debug)]
pub(super) struct Cursor {
    file: File,
    identity: Identity,
    /// Not decompressed yet.
    packed: Option<Packed>,
    window: Window,
    form: Form,
    /// Lines of the next record to pass over.
    skip: usize,
    /// How long the file was when damage was found at the cursor and nothing good behind it.
    searched: u64,
}

#[derive(Debug, Clone, Copy)]
enum Form {
    Json,
    /// Without a seed until the file's head was read.
    Compact(Option<Seed>),
}

/// How many of the last lines are wanted, over all files, from the newest line on.
#[derive(Debug)]
pub(super) struct Tail {
    missing: usize,
    seen: bool,
    /// A line was offered that does not belong to it.
    pub(super) is_complete: bool,
}

impl Tail {
    pub(super) fn new(wanted: usize) -> Tail {
        Tail { missing: wanted, seen: false, is_complete: false }
    }

    /// Whether the line in front of what was offered before belongs to it. A piece is part of the line behind it,
    /// but for the very last, which is a line that has not ended.
    fn takes(&mut self, is_whole: bool) -> bool {
        if is_whole || !self.seen {
            self.is_complete = self.missing == 0;
            self.missing = self.missing.saturating_sub(1);
        }
        self.seen = true;
        !self.is_complete
    }
}

#[derive(Deserialize)]
struct Record {
    #[serde(default)]
    log: String,
    #[serde(default)]
    stream: String,
    time: String,
}

impl Cursor {
    /// At the beginning of a file.
    pub(super) fn new(file: File, layout: Layout) -> io::Result<Cursor> {
        let identity = Identity::of(&file, None)?;
        let form = if layout == Layout::Compact { Form::Compact(None) } else { Form::Json };
        Ok(Cursor { file, identity, packed: None, window: Window::default(), form, skip: 0, searched: 0 })
    }

    /// At the beginning of a compressed file, which is decompressed when it is read.
    pub(super) fn packed(packed: Packed, layout: Layout) -> io::Result<Cursor> {
        let identity = Identity::of(packed.file(), packed.made_of())?;
        let plain = Cursor::new(packed.file().try_clone()?, layout)?;
        Ok(Cursor { identity, packed: Some(packed), ..plain })
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    fn unpack(&mut self) -> io::Result<()> {
        if let Some(packed) = self.packed.take() {
            self.file = packed.unpack()?;
        }
        Ok(())
    }

    /// How much of the file has been read.
    pub(super) fn position(&self) -> u64 {
        self.window.position()
    }

    /// How long the file is now.
    pub(super) fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Whether its last line was written before then.
    pub(super) fn ended_before(&self, time_ns: u64) -> bool {
        let sealed = self.identity.made_of().or_else(|| Sealed::of(&self.file).ok());
        // The file's clock is coarser than ours.
        sealed.is_some_and(|sealed| sealed.written_ns + 1_000_000_000 < i128::from(time_ns))
    }

    /// Adds the lines of the next record; `false` when no whole one is there yet.
    pub(super) fn next(&mut self, lines: &mut VecDeque<LogEntry>) -> io::Result<bool> {
        self.unpack()?;
        let before = lines.len();
        let found = match self.form {
            Form::Json => self.next_json(lines)?,
            Form::Compact(seed) => self.next_frame(seed, lines)?,
        };
        if self.skip > 0 && found {
            lines.drain(before..(before + self.skip).min(lines.len()));
            self.skip = 0;
        }
        Ok(found)
    }

    /// Whether anything was written behind the last whole record.
    pub(super) fn has_more(&self) -> io::Result<bool> {
        let mut lines = VecDeque::new();
        let mut probe = Cursor {
            file: self.file.try_clone()?,
            identity: self.identity.try_clone()?,
            packed: None,
            window: Window::at(self.window.position()),
            form: self.form,
            skip: 0,
            searched: 0,
        };
        probe.next(&mut lines)
    }

    fn next_json(&mut self, lines: &mut VecDeque<LogEntry>) -> io::Result<bool> {
        let mut looked = 0;
        loop {
            let bytes = self.window.bytes();
            if let Some(at) = bytes[looked..].iter().position(|byte| *byte == b'\n') {
                let end = looked + at + 1;
                // What does not parse was damaged.
                lines.extend(parse(&bytes[..end]));
                self.window.consume(end);
                return Ok(true);
            }
            looked = bytes.len();
            if looked > json::MAX_RECORD {
                self.window.consume(looked);
                return Ok(true);
            }
            if !self.window.grow(&self.file)? {
                self.window.forget();
                return Ok(false);
            }
        }
    }

    fn next_frame(&mut self, seed: Option<Seed>, lines: &mut VecDeque<LogEntry>) -> io::Result<bool> {
        let Some(seed) = seed.map_or_else(|| self.head(), |seed| Ok(Some(seed)))? else {
            return Ok(false);
        };
        loop {
            let is_damaged = match compact::frame(seed, self.window.bytes()) {
                Found::Frame(frame) => {
                    lines.extend(frame.lines().map(entry));
                    let size = frame.size;
                    self.window.consume(size);
                    return Ok(true);
                }
                Found::Short(_) => false,
                Found::Damaged => true,
            };
            let good = if is_damaged { self.good_behind(seed)? } else { None };
            match good {
                Some(position) => self.window = Window::at(position),
                None if !is_damaged && self.window.grow(&self.file)? => {}
                None => {
                    self.window.forget();
                    return Ok(false);
                }
            }
        }
    }

    /// Reads the file's head; `None` while it is not there.
    fn head(&mut self) -> io::Result<Option<Seed>> {
        let mut head = [0; FILE_HEAD];
        let count = read_at(&self.file, &mut head, 0)?;
        let Some(seed) = Seed::of(&head[..count]) else {
            return Ok(None);
        };
        self.form = Form::Compact(Some(seed));
        if self.window.position() < FILE_HEAD as u64 {
            self.window = Window::at(FILE_HEAD as u64);
        }
        Ok(Some(seed))
    }

    /// The next place with a frame behind damage.
    fn good_behind(&mut self, seed: Seed) -> io::Result<Option<u64>> {
        let length = self.file.metadata()?.len();
        if length == self.searched {
            return Ok(None);
        }
        let mut window = Window::at(self.window.position() + 1);
        loop {
            let bytes = window.bytes();
            match bytes.windows(MARK.len()).position(|two| two == MARK) {
                Some(at) => {
                    window.consume(at);
                    while matches!(compact::frame(seed, window.bytes()), Found::Short(_))
                        && window.grow(&self.file)?
                    {}
                    if let Found::Frame(_) = compact::frame(seed, window.bytes()) {
                        return Ok(Some(window.position()));
                    }
                    window.consume(1);
                }
                None => {
                    let passed = bytes.len().saturating_sub(1);
                    window.consume(passed);
                    if !window.grow(&self.file)? {
                        self.searched = length;
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Goes to where the last lines begin, as far as they are in this file.
    pub(super) fn seek(&mut self, tail: &mut Tail) -> io::Result<()> {
        self.unpack()?;
        let length = self.file.metadata()?.len();
        match self.form {
            Form::Json => self.seek_json(tail, length),
            Form::Compact(_) => match self.head()? {
                Some(seed) => self.seek_frames(tail, seed, length),
                None => Ok(()),
            },
        }
    }

    fn seek_json(&mut self, tail: &mut Tail, length: u64) -> io::Result<()> {
        let file = self.file.try_clone()?;
        let mut back = Backwards::new(&file, 0, length);
        // What has no line feed yet is not a record.
        let Some(mut end) = feed_before(&mut back, length)? else {
            return Ok(());
        };
        while end > 0 {
            let start = feed_before(&mut back, end - 1)?.unwrap_or(0);
            let size = usize::try_from(end - start).unwrap_or(usize::MAX);
            let bytes = back.before(end, size)?;
            let record = parse(&bytes[bytes.len() - size..]);
            if record.is_some_and(|record| !tail.takes(record.data.ends_with(b"\n"))) {
                break;
            }
            end = start;
        }
        self.window = Window::at(end);
        Ok(())
    }

    fn seek_frames(&mut self, tail: &mut Tail, seed: Seed, length: u64) -> io::Result<()> {
        let file = self.file.try_clone()?;
        let first = FILE_HEAD as u64;
        let mut back = Backwards::new(&file, first, length);
        let mut end = length;
        while end > first {
            let Some((start, size)) = frame_before(&mut back, &file, seed, first, end)? else {
                end = first;
                break;
            };
            let bytes = back.before(start + size as u64, size)?;
            let Found::Frame(frame) = compact::frame(seed, &bytes[bytes.len() - size..]) else {
                // It was there a moment ago.
                break;
            };
            let whole: Vec<bool> = frame.lines().map(|line| line.is_whole).collect();
            let taken = whole.iter().rev().take_while(|is_whole| tail.takes(**is_whole)).count();
            if taken < whole.len() {
                let passed = whole.len() - taken;
                (self.skip, end) = if taken == 0 { (0, start + size as u64) } else { (passed, start) };
                break;
            }
            end = start;
        }
        self.window = Window::at(end);
        Ok(())
    }
}

/// Behind the last line feed in front of `end`.
fn feed_before(back: &mut Backwards<'_>, end: u64) -> io::Result<Option<u64>> {
    let mut wanted = 1;
    loop {
        let bytes = back.before(end, wanted)?;
        if let Some(at) = bytes.iter().rposition(|byte| *byte == b'\n') {
            return Ok(Some(end - (bytes.len() - at - 1) as u64));
        }
        if bytes.len() < wanted {
            return Ok(None);
        }
        wanted = bytes.len() + 1;
    }
}

/// Where the last frame in front of `end` begins, and its size. Mostly it ends there; behind damage it is looked for.
fn frame_before(
    back: &mut Backwards<'_>,
    file: &File,
    seed: Seed,
    first: u64,
    end: u64,
) -> io::Result<Option<(u64, usize)>> {
    let size = compact::size_before(back.before(end, 4)?);
    if let Some(size) = size.filter(|size| *size as u64 <= end - first) {
        let bytes = back.before(end, size)?;
        if let Found::Frame(frame) = compact::frame(seed, &bytes[bytes.len() - size..])
            && frame.size == size
        {
            return Ok(Some((end - size as u64, size)));
        }
    }
    let most = HEAD + MAX_LINES + TAIL;
    let mut at = end;
    while at > first {
        at -= 1;
        if !back.before(at + 1, 1)?.ends_with(&MARK[..1]) {
            continue;
        }
        let mut bytes = vec![0; most.min(usize::try_from(end - at).unwrap_or(most))];
        let count = read_at(file, &mut bytes, at)?;
        if let Found::Frame(frame) = compact::frame(seed, &bytes[..count]) {
            return Ok(Some((at, frame.size)));
        }
    }
    Ok(None)
}

fn entry(line: agent_runtime::log::Line<'_>) -> LogEntry {
    let mut data = line.text.to_vec();
    data.extend(line.is_whole.then_some(b'\n'));
    LogEntry { time_ns: line.time_ns, stderr: line.stderr, data }
}

fn parse(line: &[u8]) -> Option<LogEntry> {
    let record: Record = serde_json::from_slice(line).ok()?;
    let time: jiff::Timestamp = record.time.parse().ok()?;
    let time_ns = u64::try_from(time.as_nanosecond()).unwrap_or(0);
    Some(LogEntry { time_ns, stderr: record.stream == "stderr", data: record.log.into_bytes() })
}
