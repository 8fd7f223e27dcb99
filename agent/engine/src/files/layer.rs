//! A container's changes as a layer: an archive with whiteouts as the OCI image specification writes them, its owners
//! as the container sees them.

use std::io::Write;
use std::path::Path;

use super::Copied;
use super::changes::{Layers, Seen, walk};
use super::pack::{Owners, PackError, Packer};
use crate::snapshot::IdRange;

/// Writes the layer into `sink`, and answers that. What the container changes meanwhile may be in it or not.
pub(crate) fn write<W: Write>(
    upper: &Path,
    layers: &Layers,
    ids: IdRange,
    sink: W,
) -> Result<(W, Copied), PackError> {
    let mut packer = Packer::new(sink, Owners::Of(ids));
    walk(upper, |path, seen| match seen {
        // Of what the image does not have there is nothing to hide.
        Seen::Gone if layers.has(path) => packer.marker(&whiteout(path)),
        Seen::Gone => Ok(()),
        Seen::Here { marked, stat, opaque } => {
            use std::os::fd::AsFd;
            packer.one(marked.as_fd(), &stat, path)?;
            if opaque && layers.has(path) {
                packer.marker(&[path, b"/.wh..wh..opq"].concat())
            } else {
                Ok(())
            }
        }
    })?;
    Ok(packer.finish()?)
}

fn whiteout(path: &[u8]) -> Vec<u8> {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => {
            let (parent, name) = path.split_at(slash + 1);
            [parent, b".wh.", name].concat()
        }
        None => [b".wh.", path].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::whiteout;

    #[test]
    fn a_whiteout_stands_beside_what_it_hides() {
        assert_eq!(whiteout(b"etc/passwd"), b"etc/.wh.passwd");
        assert_eq!(whiteout(b"etc"), b".wh.etc");
    }
}
