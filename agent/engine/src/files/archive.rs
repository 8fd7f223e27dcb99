//! Writes archives: one entry with everything tar can say of it. The `tar` crate makes the headers; what does not fit
//! into them (long names, fractions of a second, extended attributes) goes into PAX records before them, which GNU
//! tar, bsdtar, busybox, Python and Go read alike. Names are bytes; those that are not UTF-8 are marked as such.

use std::io::{self, Read, Write};

use tar::{Builder, EntryType, Header};

/// Bytes of a name or link target in a plain header.
const PLAIN: usize = 100;

/// One entry.
#[derive(Debug, Default)]
pub(crate) struct Entry<'a> {
    /// Its path; directories end in a slash.
    pub(crate) path: &'a [u8],
    /// The target of a symbolic or hard link.
    pub(crate) link: &'a [u8],
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) mtime: (i64, u32),
    pub(crate) device: (u32, u32),
    /// Full names and values.
    pub(crate) xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

/// An archive that is being written.
pub(crate) struct Writer<W: Write> {
    builder: Builder<W>,
}

impl<W: Write> std::fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writer")
    }
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(sink: W) -> Self {
        Writer { builder: Builder::new(sink) }
    }

    /// Writes one entry. `data` is read to the entry's size; a file that became shorter meanwhile is filled with
    /// zeros. Answers whether it was long enough.
    pub(crate) fn entry(&mut self, kind: EntryType, entry: &Entry<'_>, data: impl Read) -> io::Result<bool> {
        let records = records(entry);
        if !records.is_empty() {
            let records = records.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
            self.builder.append_pax_extensions(records)?;
        }
        let header = header(kind, entry)?;
        let mut data = Filled { source: data, left: entry.size, short: false };
        self.builder.append(&header, &mut data)?;
        Ok(!data.short)
    }

    /// Ends the archive.
    pub(crate) fn finish(self) -> io::Result<W> {
        self.builder.into_inner()
    }
}

fn header(kind: EntryType, entry: &Entry<'_>) -> io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    if let Some(ustar) = header.as_ustar_mut() {
        fill(&mut ustar.name, entry.path);
        fill(&mut ustar.linkname, entry.link);
    }
    header.set_mode(entry.mode & 0o7777);
    header.set_uid(entry.uid.into());
    header.set_gid(entry.gid.into());
    header.set_size(entry.size);
    header.set_mtime(u64::try_from(entry.mtime.0).unwrap_or(0));
    header.set_device_major(entry.device.0)?;
    header.set_device_minor(entry.device.1)?;
    header.set_cksum();
    Ok(header)
}

fn fill(field: &mut [u8; PLAIN], text: &[u8]) {
    for (to, from) in field.iter_mut().zip(text) {
        *to = *from;
    }
}

/// What the plain header cannot say.
fn records(entry: &Entry<'_>) -> Vec<(String, Vec<u8>)> {
    let mut records = Vec::new();
    let long = [("path", entry.path), ("linkpath", entry.link)];
    let long: Vec<_> = long.into_iter().filter(|(_, text)| text.len() > PLAIN).collect();
    if long.iter().any(|(_, text)| std::str::from_utf8(text).is_err()) {
        records.push(("hdrcharset".to_owned(), b"BINARY".to_vec()));
    }
    records.extend(long.into_iter().map(|(key, text)| (key.to_owned(), text.to_vec())));
    if entry.mtime.1 != 0 || entry.mtime.0 < 0 {
        records.push(("mtime".to_owned(), pax_time(entry.mtime).into_bytes()));
    }
    for (name, value) in entry.xattrs {
        // A record's key is text up to the equals sign.
        if let Ok(name) = std::str::from_utf8(name)
            && !name.contains('=')
        {
            records.push((format!("SCHILY.xattr.{name}"), value.clone()));
        }
    }
    records
}

/// `-12.5` means half a second before -12.
fn pax_time((seconds, nanoseconds): (i64, u32)) -> String {
    if seconds < 0 && nanoseconds > 0 {
        return format!("-{}.{:09}", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanoseconds);
    }
    format!("{seconds}.{nanoseconds:09}")
}

/// Exactly so many bytes of a source, zeros for those it lacks.
struct Filled<R> {
    source: R,
    left: u64,
    short: bool,
}

impl<R: Read> Read for Filled<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(room) = buffer.get_mut(..most).filter(|room| !room.is_empty()) else { return Ok(0) };
        let count = match if self.short { Ok(0) } else { self.source.read(room) } {
            Ok(0) => {
                self.short = true;
                room.fill(0);
                room.len()
            }
            other => other?,
        };
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{ArchiveReader, Limits};

    #[test]
    fn whatever_is_written_our_own_strict_reader_reads_back() {
        let long = [b"d/".repeat(90), b"\xff\xfe-name".to_vec()].concat();
        let xattrs = [(b"user.note".to_vec(), b"a\nb=\0c".to_vec())];
        let entry = Entry {
            path: &long,
            mode: 0o104_755,
            uid: 70_000,
            gid: 3_000_000,
            size: 5,
            mtime: (-12, 500_000_000),
            xattrs: &xattrs,
            ..Entry::default()
        };
        let mut writer = Writer::new(Vec::new());
        assert!(writer.entry(EntryType::Regular, &entry, &b"hello, more"[..]).unwrap());
        let short = Entry { path: b"short", size: 9, mtime: (5, 1), ..Entry::default() };
        assert!(!writer.entry(EntryType::Regular, &short, &b"abc"[..]).unwrap());
        let bytes = writer.finish().unwrap();
        let mut reader = ArchiveReader::new(bytes.as_slice(), &Limits::default());
        let first = reader.next_entry().unwrap().unwrap();
        assert_eq!((first.path, first.mode, first.mtime), (long, 0o4755, (-12, 500_000_000)));
        assert_eq!((first.uid, first.gid, first.xattrs), (70_000, 3_000_000, xattrs.to_vec()));
        let second = reader.next_entry().unwrap().unwrap();
        let mut data = Vec::new();
        reader
            .copy_data::<crate::image::UnpackError>(|piece| {
                data.extend_from_slice(piece);
                Ok(())
            })
            .unwrap();
        assert_eq!((second.size, data.as_slice()), (9, &b"abc\0\0\0\0\0\0"[..]));
        assert!(reader.next_entry().unwrap().is_none());
    }
}
