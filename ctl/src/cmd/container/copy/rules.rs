//! Where a copy goes: Docker's rules, which are those of `cp -r` with a few differences. Pure.

/// What is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Source<'a> {
    /// The last part of its path.
    pub(super) name: &'a [u8],
    pub(super) is_directory: bool,
    /// Its path ends in `/.`: what is in it is copied, not the directory itself.
    pub(super) contents: bool,
}

/// What is at the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Directory,
    Other,
}

/// The directory to unpack into, and the name there; an empty name stands for the directory itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) directory: Vec<u8>,
    pub(super) name: Vec<u8>,
}

/// Decides, or says why not.
pub(super) fn target(source: Source<'_>, path: &[u8], found: Found) -> Result<Target, &'static str> {
    let beside = || {
        let (directory, name) = split(path);
        Ok(Target { directory: directory.to_vec(), name: name.to_vec() })
    };
    let says_directory = path.ends_with(b"/") || path.ends_with(b"/.");
    match found {
        Found::Directory if source.is_directory && source.contents => {
            Ok(Target { directory: path.to_vec(), name: Vec::new() })
        }
        Found::Directory => Ok(Target { directory: path.to_vec(), name: source.name.to_vec() }),
        Found::Other if source.is_directory => Err("a directory cannot be copied onto a file"),
        Found::Other if says_directory => Err("not a directory"),
        Found::Nothing if !source.is_directory && says_directory => {
            Err("no such directory; create it first, or leave out the slash at the end to name the file")
        }
        Found::Other | Found::Nothing => beside(),
    }
}

/// The directory and the last part of a path; slashes and `/.` at the end do not count.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let mut end = path.len();
    while end > 1 && (path[..end].ends_with(b"/") || path[..end].ends_with(b"/.")) {
        end -= 1;
    }
    let path = &path[..end];
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(0) => (b"/", &path[1..]),
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b".", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(
        source: &str,
        is_directory: bool,
        path: &str,
        found: Found,
    ) -> Result<(String, String), &'static str> {
        let contents = source.ends_with("/.");
        let (_, name) = split(source.as_bytes());
        let text = |bytes| String::from_utf8(bytes).unwrap();
        target(Source { name, is_directory, contents }, path.as_bytes(), found)
            .map(|target| (text(target.directory), text(target.name)))
    }

    fn at(directory: &str, name: &str) -> Result<(String, String), &'static str> {
        Ok((directory.to_owned(), name.to_owned()))
    }

    #[test]
    fn a_file_goes_where_dockers_table_says() {
        use Found::*;
        assert_eq!(to("a/file", false, "/new", Nothing), at("/", "new"));
        assert_eq!(to("a/file", false, "/x/new", Nothing), at("/x", "new"));
        assert!(to("a/file", false, "/x/new/", Nothing).is_err());
        assert_eq!(to("a/file", false, "/x/old", Other), at("/x", "old"));
        assert!(to("a/file", false, "/x/old/", Other).is_err());
        assert_eq!(to("a/file", false, "/dir", Directory), at("/dir", "file"));
        assert_eq!(to("a/file", false, "/dir/", Directory), at("/dir/", "file"));
        assert_eq!(to("a/file", false, "new", Nothing), at(".", "new"));
    }

    #[test]
    fn a_directory_goes_where_dockers_table_says() {
        use Found::*;
        for end in ["", "/"] {
            assert_eq!(to(&format!("a/dir{end}"), true, "/new", Nothing), at("/", "new"));
            assert_eq!(to(&format!("a/dir{end}"), true, "/new/", Nothing), at("/", "new"));
            assert_eq!(to(&format!("a/dir{end}"), true, "/there", Directory), at("/there", "dir"));
        }
        assert_eq!(to("a/dir/.", true, "/there", Directory), at("/there", ""));
        assert_eq!(to("a/dir/.", true, "/new", Nothing), at("/", "new"));
        assert!(to("a/dir", true, "/file", Other).is_err());
    }
}
