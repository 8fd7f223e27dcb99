//! Which files a log has now, while the keeper may be renaming them. A file is known by its inode as long as it is
//! held open.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use agent_runtime::log::Layout;

use super::cursor::Cursor;
use super::identity::Identity;
use super::packed::Packed;

/// Where a log is.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    id: String,
    /// What is written now, and what may be left from before there was a choice. The newest first.
    layouts: [Layout; 2],
}

impl Files {
    /// The log of the container `id`, whose state is in `dir`.
    pub(super) fn new(dir: PathBuf, id: String, layout: Layout) -> Files {
        Files { dir, id, layouts: [layout, Layout::Old] }
    }

    /// All of them, opened, oldest first.
    pub(super) fn open(&self) -> io::Result<Vec<Cursor>> {
        let mut files: Vec<Cursor> = Vec::new();
        for layout in self.layouts {
            let mut missing = 0;
            // From the newest: a rotation in between shows a file twice, never skips one. One number is missing
            // while it goes on; with two, there are no more.
            for number in 0_u32.. {
                match self.cursor(layout, number)? {
                    Some(cursor) => {
                        if files.last().is_none_or(|newer| !newer.identity().is(cursor.identity())) {
                            files.push(cursor);
                        }
                        missing = 0;
                    }
                    None => missing += 1,
                }
                if missing == 2 {
                    break;
                }
            }
        }
        files.reverse();
        Ok(files)
    }

    /// The file of this number, which may have been compressed.
    fn cursor(&self, layout: Layout, number: u32) -> io::Result<Option<Cursor>> {
        let found = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Ok(None),
            _ => Err(error),
        };
        match File::open(self.path(layout, number)) {
            Ok(file) => return Cursor::new(file, layout).map(Some),
            Err(error) => found(error)?,
        };
        // Compressed since just now, it is here before the other is gone.
        match Packed::open(&self.dir, &self.dir.join(layout.compressed(&self.id, number))) {
            Ok(packed) => Cursor::packed(packed, layout).map(Some),
            Err(error) => found(error),
        }
    }

    /// Whether this file is the one that is written; taken to be so while none is there.
    pub(super) fn is_newest(&self, file: &Cursor) -> io::Result<bool> {
        for layout in self.layouts {
            match File::open(self.path(layout, 0)) {
                Ok(found) => return Ok(Identity::of(&found, None)?.is(file.identity())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn path(&self, layout: Layout, number: u32) -> PathBuf {
        self.dir.join(layout.file(&self.id, number))
    }
}
