//! Whiteouts: how a layer says that something of the layers below is gone (OCI image spec, "Layer", whiteouts).
//!
//! In an archive `.wh.<name>` hides `<name>` and `.wh..wh..opq` hides everything below in its directory. On disk overlay
//! wants a character device 0:0 under the name, and an extended attribute on the directory.

/// The attribute that makes a directory hide what is below it, and its value.
pub(super) const OPAQUE: (&str, &[u8]) = ("trusted.overlay.opaque", b"y");

const PREFIX: &[u8] = b".wh.";
const META: &[u8] = b".wh..wh.";
const OPAQUE_NAME: &[u8] = b".wh..wh..opq";

/// What the last component of a path means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// A file of the image.
    Plain,
    /// Hides this name in the layers below.
    Hide(&'a [u8]),
    /// Hides everything the layers below have in its directory.
    Opaque,
    /// Book-keeping of aufs (`.wh..wh.aufs`, `.wh..wh.plnk`), which Docker skips too.
    Skip,
}

/// Judges a path by its parent and its last component.
pub(super) fn meaning<'a>(parent: &[u8], last: &'a [u8]) -> Result<Meaning<'a>, &'static str> {
    for component in parent.split(|byte| *byte == b'/') {
        if component.starts_with(META) {
            return Ok(Meaning::Skip);
        }
        if component.starts_with(PREFIX) {
            return Err("it lies under a whiteout");
        }
    }
    if last == OPAQUE_NAME {
        return Ok(Meaning::Opaque);
    }
    if last.starts_with(META) {
        return Ok(Meaning::Skip);
    }
    match last.strip_prefix(PREFIX) {
        // `.wh...` would otherwise address the parent directory.
        Some(b"" | b"." | b"..") => Err("it is a whiteout of no file"),
        Some(name) => Ok(Meaning::Hide(name)),
        None => Ok(Meaning::Plain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_as_the_specification_says() {
        assert_eq!(meaning(b"etc", b"passwd"), Ok(Meaning::Plain));
        assert_eq!(meaning(b"etc", b".wh.passwd"), Ok(Meaning::Hide(b"passwd")));
        assert_eq!(meaning(b"etc", b".wh..wh..opq"), Ok(Meaning::Opaque));
        assert_eq!(meaning(b"", b".wh..wh.aufs"), Ok(Meaning::Skip));
        assert_eq!(meaning(b".wh..wh.plnk", b"1.2"), Ok(Meaning::Skip));
        assert_eq!(meaning(b"", b".white"), Ok(Meaning::Plain));
        assert_eq!(meaning(b"", b".wh..hidden"), Ok(Meaning::Hide(b".hidden")));
    }

    #[test]
    fn tricks_with_whiteouts_are_refused() {
        for (parent, last) in
            [("", ".wh."), ("", ".wh.."), ("a", ".wh..."), (".wh.a", "b"), ("x/.wh.a/y", "b")]
        {
            assert!(meaning(parent.as_bytes(), last.as_bytes()).is_err(), "{parent}/{last}");
        }
    }
}
