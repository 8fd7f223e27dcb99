//! The floor that `floor.c` is: compiled here, since it is to be bare system calls
//! and nothing of ours.

use std::path::{Path, PathBuf};
use std::process::Command;

use itest::programs;

/// The program, and where it may work.
#[derive(Debug)]
pub(crate) struct Floor {
    dir: PathBuf,
}

impl Floor {
    /// Compiles it.
    pub(crate) fn new(dir: &Path) -> Self {
        let dir = dir.join("floor");
        std::fs::create_dir_all(&dir).expect("/tmp is writable");
        let source = dir.join("floor.c");
        std::fs::write(&source, include_str!("floor.c")).expect("/tmp is writable");
        let mut compile = Command::new("cc");
        programs::succeed(compile.args(["-O2", "-static", "-o"]).arg(dir.join("floor")).arg(&source));
        Self { dir }
    }

    /// A command line for one container on the unpacked layer `lower`.
    pub(crate) fn line(&self, lower: &Path) -> String {
        let dir = self.dir.display();
        format!("{dir}/floor {} {dir} /bin/busybox true", lower.display())
    }
}
