//! From files of this machine to an archive. Files with several links stay so, user attributes and fractions of a
//! second are kept in PAX records, sockets are left out.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{getxattr, listxattr, major, minor};
use tar::{Builder, EntryType, Header};

use super::{Copied, printable};

/// Bytes of a name or link target in a plain header.
const PLAIN: usize = 100;

struct Packer<W: Write> {
    builder: Builder<W>,
    links: HashMap<(u64, u64), Vec<u8>>,
    copied: Copied,
}

/// Writes `path` and all below it as `name`; the empty name stands for the directory the archive is unpacked into.
///
/// # Errors
/// With the name of what cannot be read.
pub fn pack(path: &Path, name: &[u8], follow: bool, sink: impl Write) -> io::Result<Copied> {
    let metadata = if follow { path.metadata() } else { path.symlink_metadata() };
    let metadata = metadata.map_err(|error| named(path, &error))?;
    let mut packer = Packer { builder: Builder::new(sink), links: HashMap::new(), copied: Copied::default() };
    packer.tree(path, name, &metadata)?;
    packer.builder.into_inner()?.flush()?;
    Ok(packer.copied)
}

impl<W: Write> Packer<W> {
    fn tree(&mut self, path: &Path, name: &[u8], metadata: &Metadata) -> io::Result<()> {
        if !name.is_empty() {
            self.one(path, name, metadata)?;
        }
        if !metadata.is_dir() {
            return Ok(());
        }
        for entry in std::fs::read_dir(path).map_err(|error| named(path, &error))? {
            let inside = entry.map_err(|error| named(path, &error))?.path();
            let last = inside.file_name().unwrap_or(OsStr::new("")).as_bytes();
            let name = if name.is_empty() { last.to_vec() } else { [name, b"/", last].concat() };
            match inside.symlink_metadata() {
                Ok(metadata) => self.tree(&inside, &name, &metadata)?,
                // Gone since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(named(&inside, &error)),
            }
        }
        Ok(())
    }

    fn one(&mut self, path: &Path, name: &[u8], metadata: &Metadata) -> io::Result<()> {
        let kind = metadata.file_type();
        if kind.is_file() {
            return self.file(path, name, metadata);
        }
        let mut name = name.to_vec();
        let mut link = Vec::new();
        let letter = if kind.is_dir() {
            name.push(b'/');
            EntryType::Directory
        } else if kind.is_symlink() {
            let text = std::fs::read_link(path).map_err(|error| named(path, &error))?;
            link = text.as_os_str().as_bytes().to_vec();
            EntryType::Symlink
        } else if kind.is_fifo() {
            EntryType::Fifo
        } else if kind.is_char_device() {
            EntryType::Char
        } else if kind.is_block_device() {
            EntryType::Block
        } else {
            self.copied.note(format!("{} is a socket: left out", printable(&name)));
            return Ok(());
        };
        self.write(letter, &name, &link, metadata, 0, path, io::empty())
    }

    fn file(&mut self, path: &Path, name: &[u8], metadata: &Metadata) -> io::Result<()> {
        if metadata.nlink() > 1 {
            let key = (metadata.dev(), metadata.ino());
            if let Some(first) = self.links.get(&key).cloned() {
                return self.write(EntryType::Link, name, &first, metadata, 0, path, io::empty());
            }
            self.links.insert(key, name.to_vec());
        }
        let file = File::open(path).map_err(|error| named(path, &error))?;
        // Its size now: the archive says it before the data.
        let size = file.metadata().map_err(|error| named(path, &error))?.len();
        let mut filled = Filled { source: file, left: size, short: false };
        self.write(EntryType::Regular, name, b"", metadata, size, path, &mut filled)?;
        if filled.short {
            self.copied.note(format!("{} became shorter while it was copied", printable(name)));
        }
        self.copied.bytes += size;
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one call writes one entry, and this is what it has")]
    fn write(
        &mut self,
        kind: EntryType,
        name: &[u8],
        link: &[u8],
        metadata: &Metadata,
        size: u64,
        path: &Path,
        data: impl Read,
    ) -> io::Result<()> {
        let mut records: Vec<(String, Vec<u8>)> = Vec::new();
        let long: Vec<(&str, &[u8])> =
            [("path", name), ("linkpath", link)].into_iter().filter(|(_, text)| text.len() > PLAIN).collect();
        if long.iter().any(|(_, text)| std::str::from_utf8(text).is_err()) {
            records.push(("hdrcharset".to_owned(), b"BINARY".to_vec()));
        }
        records.extend(long.into_iter().map(|(key, text)| (key.to_owned(), text.to_vec())));
        // Before 1970 the header's seconds say it well enough.
        if metadata.mtime_nsec() != 0 && metadata.mtime() >= 0 {
            let time = format!("{}.{:09}", metadata.mtime(), metadata.mtime_nsec());
            records.push(("mtime".to_owned(), time.into_bytes()));
        }
        if matches!(kind, EntryType::Regular | EntryType::Directory) {
            records.extend(xattrs(path));
        }
        if !records.is_empty() {
            let records = records.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
            self.builder.append_pax_extensions(records)?;
        }
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        if let Some(ustar) = header.as_ustar_mut() {
            ustar.name.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
            ustar.linkname.iter_mut().zip(link).for_each(|(to, from)| *to = *from);
        }
        header.set_mode(metadata.mode() & 0o7777);
        header.set_uid(metadata.uid().into());
        header.set_gid(metadata.gid().into());
        header.set_size(size);
        header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or(0));
        header.set_device_major(major(metadata.rdev()))?;
        header.set_device_minor(minor(metadata.rdev()))?;
        header.set_cksum();
        self.builder.append(&header, data)?;
        self.copied.entries += 1;
        Ok(())
    }
}

/// The user's own attributes of a file; one that cannot be read is as good as none.
fn xattrs(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0; 65_536];
    let length = listxattr(path, &mut names).unwrap_or(0);
    let names = names.get(..length).unwrap_or_default();
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok()) {
        let is_kept = name == "security.capability" || name.starts_with("user.");
        if !is_kept || name.contains('=') {
            continue;
        }
        let mut value = vec![0; 65_536];
        if let Ok(length) = getxattr(path, name, &mut value) {
            value.truncate(length);
            found.push((format!("SCHILY.xattr.{name}"), value));
        }
    }
    found
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
        let mut count = if self.short { 0 } else { self.source.read(room)? };
        if count == 0 {
            self.short = true;
            room.fill(0);
            count = room.len();
        }
        self.left -= count as u64;
        Ok(count)
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
