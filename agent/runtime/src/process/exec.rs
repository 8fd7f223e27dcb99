//! Executing the container's program.

use std::ffi::{CString, NulError};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;

use crate::plan::Program;

/// Where programs are looked for when the container's environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why it was not executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotExecuted {
    /// Whether there was such a file at all.
    pub found: bool,
    pub errno: i32,
}

/// A program with everything that `execve` needs, prepared while there was still time.
#[derive(Debug)]
pub(crate) struct Executable {
    candidates: Vec<CString>,
    args: Vec<CString>,
    env: Vec<CString>,
}

impl Executable {
    /// Looks nothing up yet: the files are in a root this process may not have entered.
    pub(crate) fn new(program: &Program) -> Result<Executable, NulError> {
        let words = |words: &[String]| -> Result<Vec<CString>, NulError> {
            words.iter().map(|word| CString::new(word.as_str())).collect()
        };
        let name = program.args.first().map(String::as_str).unwrap_or_default();
        let candidates = candidates(name, &program.env).into_iter().map(CString::new);
        Ok(Executable {
            candidates: candidates.collect::<Result<_, _>>()?,
            args: words(&program.args)?,
            env: words(&program.env)?,
        })
    }

    /// Returns only when nothing could be executed. As a shell does, what exists but may not be executed is
    /// passed over and remembered.
    pub(crate) fn run(&self) -> NotExecuted {
        let mut result = NotExecuted { found: false, errno: libc::ENOENT };
        for candidate in &self.candidates {
            let Err(errno) = nix::unistd::execve(candidate, &self.args, &self.env);
            match errno {
                Errno::ENOENT | Errno::ENOTDIR => {}
                Errno::EACCES => result = NotExecuted { found: true, errno: errno as i32 },
                other => return NotExecuted { found: true, errno: other as i32 },
            }
        }
        result
    }
}

/// Where a program of this name is looked for.
pub(crate) fn candidates(name: &str, env: &[String]) -> Vec<Vec<u8>> {
    if name.contains('/') {
        return vec![name.as_bytes().to_vec()];
    }
    // The last one wins, as in most programs that read it.
    let path = env.iter().rev().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    // A relative directory would make the working directory of an image decide what runs.
    let directories = path.split(':').filter(|directory| directory.starts_with('/'));
    directories
        .map(|directory| std::path::Path::new(directory).join(name).as_os_str().as_bytes().to_vec())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_directories_are_not_searched() {
        let env = vec!["PATH=:.:bin:/usr/bin:/bin".to_owned()];
        assert_eq!(candidates("sh", &env), [b"/usr/bin/sh".to_vec(), b"/bin/sh".to_vec()]);
        assert_eq!(candidates("./sh", &env), [b"./sh".to_vec()]);
    }
}
