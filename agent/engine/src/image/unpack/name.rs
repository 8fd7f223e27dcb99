//! Names of entries: made relative and canonical, or refused. Pure text; the file system is not asked.

use super::{Limits, UnpackError};

/// The longest file name Linux takes.
const MAX_COMPONENT: usize = 255;

/// A path within the layer: components joined by `/`, none of them empty, `.` or `..`. Empty for the root itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    bytes: Vec<u8>,
}

impl Name {
    /// Reads a path of the archive. A leading `/` means the layer's root, as everywhere; `..` is refused wherever it
    /// stands, since it only ever serves to mislead.
    pub(crate) fn parse(path: &[u8], limits: &Limits) -> Result<Self, UnpackError> {
        if path.len() > limits.path_bytes {
            return Err(UnpackError::refused(
                path,
                format!("its path is longer than {} bytes", limits.path_bytes),
            ));
        }
        if path.contains(&0) {
            return Err(UnpackError::refused(path, "its path holds a NUL"));
        }
        let mut bytes = Vec::with_capacity(path.len());
        let mut depth = 0;
        for component in path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")) {
            if component == b".." {
                return Err(UnpackError::refused(path, "its path holds .."));
            }
            if component.len() > MAX_COMPONENT {
                return Err(UnpackError::refused(path, "a part of its path is longer than 255 bytes"));
            }
            depth += 1;
            if depth > limits.depth {
                return Err(UnpackError::refused(
                    path,
                    format!("its path is deeper than {} directories", limits.depth),
                ));
            }
            if !bytes.is_empty() {
                bytes.push(b'/');
            }
            bytes.extend_from_slice(component);
        }
        Ok(Self { bytes })
    }

    pub(crate) fn is_root(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Everything before the last component.
    pub(crate) fn parent(&self) -> &[u8] {
        self.cut().0
    }

    /// The last component.
    pub(crate) fn last(&self) -> &[u8] {
        self.cut().1
    }

    fn cut(&self) -> (&[u8], &[u8]) {
        match self.bytes.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => {
                let (parent, last) = self.bytes.split_at(slash);
                (parent, last.get(1..).unwrap_or_default())
            }
            None => (&[], &self.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(path: &str) -> Result<Name, UnpackError> {
        Name::parse(path.as_bytes(), &Limits::default())
    }

    #[test]
    fn paths_become_canonical() {
        for (path, parent, last) in
            [("./a/b/", "a", "b"), ("/etc//./passwd", "etc", "passwd"), ("x", "", "x")]
        {
            let name = name(path).unwrap();
            assert_eq!((name.parent(), name.last()), (parent.as_bytes(), last.as_bytes()), "{path}");
        }
        assert!(name("./").unwrap().is_root());
        assert!(name("/").unwrap().is_root());
    }

    #[test]
    fn what_would_leave_the_layer_or_burst_a_limit_is_refused() {
        let deep = "d/".repeat(257);
        let long = "a/".repeat(2049);
        let wide = "a".repeat(256);
        for path in ["..", "../x", "a/../b", "a/..", "/../x", "a\0b", &deep, &long, &wide] {
            assert!(name(path).is_err(), "{path}");
        }
        assert!(name(&"d/".repeat(256)).is_ok());
    }

    proptest! {
        #[test]
        fn a_name_never_holds_dots_or_an_absolute_start(path in "[./a-c]{0,40}") {
            if let Ok(name) = name(&path) {
                prop_assert!(!name.as_bytes().starts_with(b"/"));
                prop_assert!(name.as_bytes().split(|b| *b == b'/').all(|part| !matches!(part, b"." | b"..")));
            }
        }
    }
}
