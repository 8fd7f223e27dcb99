//! Reads a tar archive entry by entry: headers, extensions, limits. Writes nothing.
//!
//! A pull parser of our own rather than the tar crate's, for three reasons: that one reads extension headers of any
//! size into memory, splits PAX values at newlines, and passes over what it cannot parse. Where archive programs are
//! known to disagree (two sizes, names stated twice, data behind a link, global headers) the archive is refused,
//! so no scanner can have seen another tree than the one that is written here.

use std::io::{self, BufRead, Read};

use super::header::{BLOCK, Block, Header};
use super::pax::Extensions;
use super::{Limits, UnpackError};

/// Ids beyond this mean "none" to the kernel, or are negative in programs that use signed ones.
const MAX_ID: u64 = (1 << 31) - 2;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
    Hardlink,
    Character { major: u32, minor: u32 },
    Block { major: u32, minor: u32 },
    Fifo,
}

/// One entry with all extensions applied. Paths are as the archive has them.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: (i64, u32),
    pub(crate) size: u64,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Extension headers that wait for the entry they belong to.
#[derive(Debug, Default)]
struct Pending {
    pax: Option<Extensions>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

#[derive(Debug)]
pub(crate) struct Archive<R> {
    source: R,
    extension_limit: u64,
    /// Number of the current entry, for messages.
    entry: u64,
    /// Data of the current entry that was not read yet, and the padding behind it.
    remaining: u64,
    padding: u64,
}

impl<R: BufRead> Archive<R> {
    pub(crate) fn new(source: R, limits: &Limits) -> Self {
        Self { source, extension_limit: limits.extension_bytes, entry: 0, remaining: 0, padding: 0 }
    }

    /// The next entry; `None` at the end. Data of the previous one that was not read is skipped.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, UnpackError> {
        self.skip_data()?;
        self.entry += 1;
        let mut pending = Pending::default();
        loop {
            let Some(block) = self.read_block()? else {
                return if pending.is_empty() {
                    Ok(None)
                } else {
                    Err(self.malformed("it ends after an extension"))
                };
            };
            let header = Header::parse(&block).map_err(|reason| self.malformed(reason))?;
            match header.kind {
                b'x' | b'g' | b'L' | b'K' => {
                    let data = self.read_extension(header.size)?;
                    pending.take(header.kind, data).map_err(|reason| self.malformed(reason))?;
                }
                _ => {
                    let entry = pending.apply(header).map_err(|reason| self.malformed(reason))?;
                    self.announce(entry.size);
                    return Ok(Some(entry));
                }
            }
        }
    }

    /// Hands the data of the current entry to `sink`, piece by piece and without copying it.
    pub(crate) fn copy_data<E: From<UnpackError>>(
        &mut self,
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while self.remaining > 0 {
            let buffer = self.source.fill_buf().map_err(UnpackError::from)?;
            if buffer.is_empty() {
                return Err(E::from(self.malformed("the archive ends within a file")));
            }
            let take = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(buffer.len());
            sink(buffer.get(..take).unwrap_or_default())?;
            self.source.consume(take);
            self.remaining -= take as u64;
        }
        Ok(())
    }

    fn announce(&mut self, size: u64) {
        self.remaining = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
    }

    fn skip_data(&mut self) -> Result<(), UnpackError> {
        self.copy_data::<UnpackError>(|_| Ok(()))?;
        let padding = std::mem::take(&mut self.padding);
        let skipped = io::copy(&mut self.source.by_ref().take(padding), &mut io::sink())?;
        if skipped == padding { Ok(()) } else { Err(self.malformed("the archive ends within a block")) }
    }

    /// The next header; `None` at the two zero blocks that end an archive, or where the file ends without them.
    fn read_block(&mut self) -> Result<Option<Block>, UnpackError> {
        let mut block = [0; BLOCK];
        if !self.fill(&mut block)? {
            return Ok(None);
        }
        if block.iter().any(|byte| *byte != 0) {
            return Ok(Some(block));
        }
        if self.fill(&mut block)? && block.iter().any(|byte| *byte != 0) {
            return Err(self.malformed("a zero block is followed by more"));
        }
        Ok(None)
    }

    /// Fills `block`; false when the source ends just before it.
    fn fill(&mut self, block: &mut Block) -> Result<bool, UnpackError> {
        if self.source.fill_buf()?.is_empty() {
            return Ok(false);
        }
        match self.source.read_exact(block) {
            Ok(()) => Ok(true),
            Err(fault) if fault.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.malformed("the archive ends within a block"))
            }
            Err(fault) => Err(fault.into()),
        }
    }

    fn read_extension(&mut self, size: u64) -> Result<Vec<u8>, UnpackError> {
        if size > self.extension_limit {
            return Err(UnpackError::Limit {
                what: "bytes in an extension header",
                limit: self.extension_limit,
            });
        }
        self.announce(size);
        let mut data = Vec::new();
        self.copy_data::<UnpackError>(|piece| {
            data.extend_from_slice(piece);
            Ok(())
        })?;
        self.skip_data()?;
        Ok(data)
    }

    fn malformed(&self, reason: impl Into<String>) -> UnpackError {
        UnpackError::Malformed { entry: self.entry, reason: reason.into() }
    }
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.pax.is_none() && self.long_name.is_none() && self.long_link.is_none()
    }

    fn take(&mut self, kind: u8, data: Vec<u8>) -> Result<(), String> {
        let twice = match kind {
            b'x' => self.pax.replace(Extensions::parse(&data)?).is_some(),
            b'L' => self.long_name.replace(until_nul(data)).is_some(),
            b'K' => self.long_link.replace(until_nul(data)).is_some(),
            _ => {
                Extensions::check_global(&data)?;
                false
            }
        };
        if twice { Err("an extension header stands twice".into()) } else { Ok(()) }
    }

    fn apply(self, header: Header) -> Result<Entry, String> {
        let pax = self.pax.unwrap_or_default();
        let path = agree(pax.path, self.long_name, "name")?.unwrap_or(header.name);
        let link = agree(pax.link, self.long_link, "link target")?.unwrap_or(header.link);
        let size = match pax.size {
            Some(size) if header.size != 0 && header.size != size => {
                return Err(format!("it has two sizes, {size} and {}", header.size));
            }
            Some(size) => size,
            None => header.size,
        };
        let device = (header.major, header.minor);
        let kind = kind(header.kind, &path, device)?;
        if kind != Kind::File && size != 0 {
            return Err("an entry that is no file has data".into());
        }
        // Sizes beyond this could not be counted with their padding.
        if size > i64::MAX as u64 {
            return Err("the size is out of range".into());
        }
        let mtime = pax.mtime.unwrap_or((header.mtime, 0));
        let uid = id(pax.uid.unwrap_or(header.uid), "user")?;
        let gid = id(pax.gid.unwrap_or(header.gid), "group")?;
        Ok(Entry { path, link, kind, mode: header.mode, uid, gid, mtime, size, xattrs: pax.xattrs })
    }
}

/// PAX and GNU may both state a long name; they have to state the same one.
fn agree(pax: Option<Vec<u8>>, gnu: Option<Vec<u8>>, what: &str) -> Result<Option<Vec<u8>>, String> {
    match (pax, gnu) {
        (Some(pax), Some(gnu)) if pax != gnu => Err(format!("its {what} is stated twice and differently")),
        (pax, gnu) => Ok(pax.or(gnu)),
    }
}

fn id(value: u64, what: &str) -> Result<u32, String> {
    u32::try_from(value)
        .ok()
        .filter(|_| value <= MAX_ID)
        .ok_or_else(|| format!("the {what} id {value} is out of range"))
}

fn kind(flag: u8, path: &[u8], (major, minor): (u32, u32)) -> Result<Kind, String> {
    let slash = path.ends_with(b"/");
    match flag {
        // Before ustar a directory was a file whose name ends in a slash.
        0 if slash => Ok(Kind::Directory),
        b'0' | b'7' if slash => Err("a file's name ends in a slash".into()),
        0 | b'0' | b'7' => Ok(Kind::File),
        b'1' => Ok(Kind::Hardlink),
        b'2' => Ok(Kind::Symlink),
        b'3' => Ok(Kind::Character { major, minor }),
        b'4' => Ok(Kind::Block { major, minor }),
        b'5' => Ok(Kind::Directory),
        b'6' => Ok(Kind::Fifo),
        b'S' => Err("sparse files are not supported".into()),
        other => Err(format!("entries of type {:?} are not supported", char::from(other))),
    }
}

fn until_nul(mut data: Vec<u8>) -> Vec<u8> {
    if let Some(end) = data.iter().position(|byte| *byte == 0) {
        data.truncate(end);
    }
    data
}
