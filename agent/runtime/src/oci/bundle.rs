//! Reading a bundle.

use std::io;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use super::OciError;
use super::error::cannot;

/// Longest configuration read, in bytes.
const MOST: u64 = 8 << 20;

/// A bundle's configuration and where it is.
#[derive(Debug)]
pub(super) struct Loaded {
    /// Absolute.
    pub directory: PathBuf,
    /// Absolute, links resolved.
    pub root: PathBuf,
    pub spec: Spec,
}

/// Reads and checks the bundle in `directory`.
pub(super) fn load(directory: &Path) -> Result<Loaded, OciError> {
    let what = format!("find the bundle {}", directory.display());
    let directory = std::fs::canonicalize(directory).map_err(cannot(what))?;
    let path = directory.join("config.json");
    let wrong = |reason: String| OciError::Config { path: path.clone(), reason };
    let text = read(&path).map_err(|error| wrong(error.to_string()))?;
    let spec: Spec = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    check_version(spec.version()).map_err(wrong)?;
    let Some(root) = spec.root() else { return Err(wrong("root: is missing".to_owned())) };
    let root = directory.join(root.path());
    let root = std::fs::canonicalize(&root)
        .map_err(|error| wrong(format!("root.path: {}: {error}", root.display())))?;
    if !root.is_dir() {
        return Err(wrong(format!("root.path: {} is not a directory", root.display())));
    }
    Ok(Loaded { directory, root, spec })
}

/// A file of the caller's, up to eight mebibytes.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MOST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// A version that this runtime is compatible with: semantic versioning, of the first major version.
fn check_version(version: &str) -> Result<(), String> {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let numbers: Option<Vec<u32>> = core.split('.').map(|part| part.parse().ok()).collect();
    match numbers.as_deref() {
        Some([1, _, _]) => Ok(()),
        Some([_, _, _]) => Err(format!("ociVersion: {version} is not supported, only 1.x.y is")),
        _ => Err(format!("ociVersion: {version:?} is not a version like 1.2.0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_the_first_major_are_taken() {
        for good in ["1.0.0", "1.2.0", "1.0.2-dev", "1.1.0-rc.1+x"] {
            check_version(good).expect(good);
        }
        for bad in ["", "1.0", "0.2.0", "2.0.0", "one"] {
            assert!(check_version(bad).is_err(), "{bad:?}");
        }
    }
}
