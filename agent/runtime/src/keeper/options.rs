//! The keeper's command line. Written by the engine, not by people, so it is
//! strict and small.

use std::ffi::OsString;
use std::path::PathBuf;

/// What the keeper was started with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) socket: PathBuf,
    pub(crate) data: PathBuf,
    /// Paths whose mounts the keeper's namespace keeps, beside the usual.
    pub(crate) keep_mounts: Vec<PathBuf>,
}

/// Why the arguments are refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum OptionsError {
    #[error("unknown argument {0:?}; usage: keeper --socket PATH --data DIR [--keep-mount PATH]...")]
    Unknown(OsString),
    #[error(
        "{0} is missing or not an absolute path; usage: keeper --socket PATH --data DIR [--keep-mount PATH]..."
    )]
    Path(&'static str),
}

pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Options, OptionsError> {
    let (mut socket, mut data, mut keep_mounts) = (None, None, Vec::new());
    let mut arguments = arguments.into_iter();
    while let Some(flag) = arguments.next() {
        let mut value = |name| absolute(arguments.next().map(PathBuf::from), name);
        match flag.to_str() {
            Some("--socket") => socket = Some(value("--socket")?),
            Some("--data") => data = Some(value("--data")?),
            Some("--keep-mount") => keep_mounts.push(value("--keep-mount")?),
            _ => return Err(OptionsError::Unknown(flag)),
        }
    }
    Ok(Options { socket: absolute(socket, "--socket")?, data: absolute(data, "--data")?, keep_mounts })
}

fn absolute(path: Option<PathBuf>, name: &'static str) -> Result<PathBuf, OptionsError> {
    path.filter(|path| path.is_absolute()).ok_or(OptionsError::Path(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Options, OptionsError> {
        parse(words.iter().map(OsString::from).collect())
    }

    #[test]
    fn both_paths_are_required_and_absolute() {
        let options = parsed(&["--data", "/d", "--socket", "/s", "--keep-mount", "/x"]).unwrap();
        assert_eq!(options.keep_mounts, [PathBuf::from("/x")]);
        assert_eq!(parsed(&["--socket", "/s"]), Err(OptionsError::Path("--data")));
        assert_eq!(parsed(&["--socket"]), Err(OptionsError::Path("--socket")));
        assert_eq!(parsed(&["--socket", "s", "--data", "/d"]), Err(OptionsError::Path("--socket")));
        assert!(matches!(parsed(&["--verbose"]), Err(OptionsError::Unknown(_))));
    }
}
