//! Old files of a log in compressed form (gzip): made in the background, read by decompressing into a file without a
//! name. What one was made of stands in its head, so that a reader finds its place again. Blocking.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use agent_runtime::log::Layout;
use flate2::bufread::GzDecoder;
use flate2::{Compression, GzBuilder};
use rustix::fs::{FlockOperation, OFlags, flock};

use super::identity::Sealed;

/// A compressed file, not decompressed yet.
#[derive(Debug)]
pub(super) struct Packed {
    file: File,
    dir: PathBuf,
    made_of: Option<Sealed>,
}

impl Packed {
    /// Opens one, in the container's state directory `dir`.
    pub(super) fn open(dir: &Path, path: &Path) -> io::Result<Packed> {
        let file = File::open(path)?;
        let decoder = GzDecoder::new(BufReader::new(file.try_clone()?));
        let comment = decoder.header().and_then(|header| header.comment());
        let made_of = comment.and_then(Sealed::from_comment);
        Ok(Packed { file, dir: dir.to_owned(), made_of })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn made_of(&self) -> Option<Sealed> {
        self.made_of
    }

    /// What was compressed, in a file that is gone when it is closed.
    pub(super) fn unpack(mut self) -> io::Result<File> {
        let flags = i32::try_from(OFlags::TMPFILE.bits()).map_err(io::Error::other)?;
        let mut plain =
            OpenOptions::new().read(true).write(true).mode(0o600).custom_flags(flags).open(&self.dir)?;
        self.file.rewind()?;
        io::copy(&mut GzDecoder::new(BufReader::new(self.file)), &mut plain)?;
        Ok(plain)
    }
}

/// Compresses the files in `dir` that are no longer written; answers how many.
///
/// # Errors
/// What the host refused. What was there can be read all the same.
pub(crate) fn compress(dir: &Path, id: &str, layout: Layout, most: u32) -> io::Result<usize> {
    let mut done = 0;
    for number in 1..most {
        let file = match File::open(dir.join(layout.file(id, number))) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let sealed = Sealed::of(&file)?;
        let part = dir.join(format!("{}.part", layout.file(id, 0)));
        write_packed(&file, sealed, &part)?;
        done += usize::from(replace(
            dir,
            &part,
            sealed,
            |number| (layout.file(id, number), layout.compressed(id, number)),
            most,
        )?);
    }
    Ok(done)
}

fn write_packed(file: &File, sealed: Sealed, part: &Path) -> io::Result<()> {
    let out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(part)?;
    let mut packer = GzBuilder::new().comment(sealed.to_comment()).write(out, Compression::default());
    io::copy(&mut BufReader::new(file), &mut packer)?;
    // The other one goes.
    packer.finish()?.sync_data()
}

/// Puts the compressed file in the other's place, wherever that is by now; `false` if it is gone.
fn replace(
    dir: &Path,
    part: &Path,
    sealed: Sealed,
    names: impl Fn(u32) -> (String, String),
    most: u32,
) -> io::Result<bool> {
    let lock = File::open(dir)?;
    flock(&lock, FlockOperation::LockExclusive)?;
    for number in 1..=most {
        let (plain, packed) = names(number);
        let is_it = File::open(dir.join(&plain))
            .and_then(|file| Sealed::of(&file))
            .is_ok_and(|found| found == sealed);
        if is_it {
            fs::rename(part, dir.join(packed))?;
            fs::remove_file(dir.join(plain))?;
            return Ok(true);
        }
    }
    fs::remove_file(part).map(|()| false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_back_as_it_was_and_says_what_it_was_made_of() {
        for layout in [Layout::Json, Layout::Compact] {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("log")).unwrap();
            let path = |number| dir.path().join(layout.file("abc", number));
            for number in 0..3 {
                fs::write(path(number), format!("text of {number}")).unwrap();
            }
            let sealed = Sealed::of(&File::open(path(1)).unwrap()).unwrap();
            assert_eq!(compress(dir.path(), "abc", layout, 3).unwrap(), 2);
            assert!(path(0).exists() && !path(1).exists() && !path(2).exists());
            let packed = Packed::open(dir.path(), &dir.path().join(layout.compressed("abc", 1))).unwrap();
            assert_eq!(packed.made_of(), Some(sealed));
            let mut plain = packed.unpack().unwrap();
            plain.rewind().unwrap();
            assert_eq!(io::read_to_string(plain).unwrap(), "text of 1");
            assert_eq!(compress(dir.path(), "abc", layout, 3).unwrap(), 0);
            let left = fs::read_dir(dir.path())
                .unwrap()
                .flatten()
                .filter(|one| one.path().extension().is_some_and(|end| end == "part"));
            assert_eq!(left.count(), 0);
        }
    }

    #[test]
    fn a_file_that_was_renamed_meanwhile_is_replaced_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let name = |number: u32| (format!("{number}"), format!("{number}.gz"));
        fs::write(dir.path().join("1"), "old").unwrap();
        let sealed = Sealed::of(&File::open(dir.path().join("1")).unwrap()).unwrap();
        fs::rename(dir.path().join("1"), dir.path().join("2")).unwrap();
        fs::write(dir.path().join("1"), "another").unwrap();
        let part = dir.path().join("part");
        fs::write(&part, "packed").unwrap();
        assert!(replace(dir.path(), &part, sealed, name, 3).unwrap());
        assert_eq!(fs::read_to_string(dir.path().join("2.gz")).unwrap(), "packed");
        assert_eq!(fs::read_to_string(dir.path().join("1")).unwrap(), "another");
        fs::write(&part, "packed").unwrap();
        assert!(!replace(dir.path(), &part, sealed, name, 3).unwrap() && !part.exists());
    }
}
