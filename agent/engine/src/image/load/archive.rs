//! The files of an archive, each of which becomes a blob while it passes by: memory holds their names only, and so
//! many of those. A file whose name is a digest must have that digest.

use std::collections::BTreeMap;

use crate::content::{ContentError, Digest, Expected, Ingest};
use crate::image::commit::finish;
use crate::image::lease::Lease;
use crate::image::unpack::{ArchiveEntry, ArchiveName, ArchiveReader, EntryKind};
use crate::image::{Inner, PullError, UnpackError};

use super::{Received, plain};

/// Entries of an archive, directories among them.
const MAX_ENTRIES: usize = 100_000;
/// Bytes of all their names.
const MAX_NAMES: usize = 16 << 20;
/// Links from one to the next.
const MAX_LINKS: usize = 8;

/// What is under a name.
#[derive(Debug)]
enum File {
    Blob(Digest, u64),
    /// The name it leads to.
    Link(String),
}

/// The files of an archive.
#[derive(Debug, Default)]
pub(super) struct Files {
    by_name: BTreeMap<String, File>,
    bytes_of_names: usize,
}

impl Files {
    /// Reads the archive to its end. Blocking.
    pub(super) fn take_in(inner: &Inner, source: Received, lease: &Lease) -> Result<Self, PullError> {
        let source = plain(source).map_err(|reason| PullError::Archive { reason })?;
        let mut archive = ArchiveReader::new(source, &inner.limits);
        let (mut files, mut entries) = (Self::default(), 0);
        while let Some(entry) = archive.next_entry().map_err(|fault| unreadable(&fault))? {
            entries += 1;
            let name = ArchiveName::parse(&entry.path, &inner.limits).map_err(|fault| unreadable(&fault))?;
            let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
            files.bytes_of_names += name.len() + entry.link.len();
            if entries > MAX_ENTRIES || files.bytes_of_names > MAX_NAMES {
                return Err(refused(format!("it has more than {MAX_ENTRIES} entries, or very long names")));
            }
            match entry.kind {
                EntryKind::File => {
                    let file = blob(inner, &name, &entry, &mut archive, lease)?;
                    if files.by_name.insert(name.clone(), file).is_some() {
                        return Err(refused(format!("{name:.200} stands in it twice")));
                    }
                }
                EntryKind::Symlink => {
                    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                    if let Some(target) = join(folder, &entry.link) {
                        files.by_name.insert(name, File::Link(target));
                    }
                }
                EntryKind::Hardlink => {
                    if let Some(target) = join("", &entry.link) {
                        files.by_name.insert(name, File::Link(target));
                    }
                }
                EntryKind::Directory => {}
                _ => return Err(refused(format!("{name:.200} is neither a file nor a link"))),
            }
        }
        Ok(files)
    }

    /// The blob under a name, links followed.
    pub(super) fn get(&self, name: &str) -> Option<(&Digest, u64)> {
        let mut name = name.strip_prefix("./").unwrap_or(name);
        for _ in 0..MAX_LINKS {
            match self.by_name.get(name)? {
                File::Blob(digest, size) => return Some((digest, *size)),
                File::Link(target) => name = target,
            }
        }
        None
    }

    /// The bytes under a name, which are a document.
    pub(super) fn read(&self, inner: &Inner, name: &str, limit: u64) -> Result<Option<Vec<u8>>, PullError> {
        match self.get(name) {
            Some((digest, size)) if size <= limit => Ok(Some(inner.content.read_all(digest, limit)?)),
            Some(_) => Err(refused(format!("{name:.200} is longer than {limit} bytes"))),
            None => Ok(None),
        }
    }
}

/// Takes in the data of an entry.
fn blob<R: std::io::BufRead>(
    inner: &Inner,
    name: &str,
    entry: &ArchiveEntry,
    archive: &mut ArchiveReader<R>,
    lease: &Lease,
) -> Result<File, PullError> {
    let digest = named(name);
    if let Some(digest) = &digest {
        lease.hold(digest);
        if inner.content.size(digest)? == Some(entry.size) {
            return Ok(File::Blob(digest.clone(), entry.size));
        }
    }
    let mut ingest: Box<dyn Ingest> =
        inner.content.begin(Expected { digest: digest.clone(), size: Some(entry.size) })?;
    archive.copy_data::<Failure>(|piece| ingest.write(piece).map_err(Failure::Content))?;
    let digest = finish(inner, ingest, lease).map_err(|fault| match fault {
        PullError::Content(ContentError::Mismatch { expected, actual }) => {
            PullError::Damaged { what: "content", expected, actual }
        }
        fault => fault,
    })?;
    Ok(File::Blob(digest, entry.size))
}

/// The digest that a name in an image layout is.
fn named(name: &str) -> Option<Digest> {
    let mut parts = name.strip_prefix("blobs/")?.splitn(2, '/');
    let (algorithm, hex) = (parts.next()?, parts.next()?);
    format!("{algorithm}:{hex}").parse().ok()
}

/// Where a link leads within the archive; `None` when out of it.
fn join(folder: &str, target: &[u8]) -> Option<String> {
    let target = std::str::from_utf8(target).ok()?;
    let mut parts: Vec<&str> = match target.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => folder.split('/').filter(|part| !part.is_empty()).collect(),
    };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Why the data of an entry was not taken in.
enum Failure {
    Archive(UnpackError),
    Content(ContentError),
}

impl From<UnpackError> for Failure {
    fn from(fault: UnpackError) -> Self {
        Self::Archive(fault)
    }
}

impl From<Failure> for PullError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Archive(fault) => unreadable(&fault),
            Failure::Content(fault) => fault.into(),
        }
    }
}

fn unreadable(fault: &UnpackError) -> PullError {
    refused(fault.to_string())
}

fn refused(reason: String) -> PullError {
    PullError::Archive { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_within_the_archive() {
        assert_eq!(join("a/b", b"../c/layer.tar").as_deref(), Some("a/c/layer.tar"));
        assert_eq!(join("a", b"/x").as_deref(), Some("x"));
        assert_eq!(join("a", b"../../x"), None);
    }

    #[test]
    fn only_names_of_layouts_are_digests() {
        let hex = "0".repeat(64);
        assert!(named(&format!("blobs/sha256/{hex}")).is_some());
        for name in [&format!("sha256/{hex}"), &format!("blobs/md5/{hex}"), "blobs/sha256/../x"] {
            assert!(named(name).is_none(), "{name}");
        }
    }
}
