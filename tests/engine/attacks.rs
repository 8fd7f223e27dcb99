//! Attacks on a real agent, by images and containers that the tests make themselves. Around all of them stand a
//! canary, which is a tree of the host that everybody may write and nobody may reach, and an inventory of the host.
//! Attacks on the runtime alone, with the mutants that show that they can succeed, are in its own tests.

mod devices;
mod identity;
mod images;
mod inside;
mod load;
mod program;
mod recycled;
mod shared;
mod terminals;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use itest::host::Host;
use itest::image::Image;
use itest::registry::{ADDRESS, Registry};
use itest::solo::Solo;
use itest::{inventory, wait};

use crate::SOON;

/// An agent that is attacked.
struct Field<'h> {
    solo: Solo<'h>,
    registry: Registry<'h>,
    canary: Canary,
    before: std::collections::BTreeSet<String>,
    host: &'h Host,
}

impl<'h> Field<'h> {
    fn new(host: &'h Host, dir: &Path) -> Self {
        let registry = Registry::start(host, dir);
        let canary = Canary::new(&dir.join("canary"));
        let solo = Solo::start(host, dir);
        let before = inventory::of(host, dir);
        Self { solo, registry, canary, before, host }
    }

    /// Pushes an image and answers its reference.
    fn image(&self, name: &str, image: &Image) -> String {
        self.registry.push(name, "1", image);
        format!("{ADDRESS}/{name}:1")
    }

    /// Runs a container to its end; answers whether it succeeded and what it said.
    fn run(&self, arguments: &[&str]) -> (bool, String) {
        let output = self.solo.try_ctl(&[&["container", "run", "--rm"], arguments].concat());
        self.canary.check(&format!("{arguments:?}"));
        (output.status.success(), itest::programs::said(&output))
    }

    /// Runs `ctl` with a terminal; answers whether it succeeded and what was seen there. It is given up after a while.
    fn in_terminal(&self, arguments: &[&str]) -> (bool, String) {
        let command = self.solo.command(arguments);
        let quoted = |word: &OsStr| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''"));
        let words = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted);
        let line = words.collect::<Vec<_>>().join(" ");
        let mut script = Command::new("timeout");
        script.args(["-k", "1", "20", "script", "-qefc", &line, "/dev/null"]).stdin(Stdio::null());
        script.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = itest::programs::output(&mut script);
        self.canary.check(&line);
        (output.status.success(), itest::programs::said(&output).replace('\r', ""))
    }

    /// Nothing is left on the host, and the canary is alive.
    fn finish(self) {
        wait::until("nothing is left", SOON, || {
            let left = inventory::added(&self.before, &inventory::of(self.host, self.solo.root()));
            if left.is_empty() { Ok(()) } else { Err(left) }
        });
        self.canary.check("all of it");
    }
}

/// A tree of the host, and everything about it when it was made.
struct Canary {
    path: PathBuf,
    was: BTreeMap<PathBuf, Leaf>,
}

/// Mode, owners, time of the last change, names and content.
type Leaf = (u32, u32, u32, (i64, i64), u64, Vec<u8>);

impl Canary {
    fn new(path: &Path) -> Self {
        fs::create_dir_all(path.join("folder/deep")).expect("the test's directory is writable");
        for name in ["file", "passwd", "null", "folder/file", "folder/deep/file"] {
            fs::write(path.join(name), "untouched").expect("the test's directory is writable");
            fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o666)).expect("our own file");
        }
        for name in ["", "folder", "folder/deep"] {
            fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o777)).expect("our own folder");
        }
        Self { path: path.to_owned(), was: leaves(path) }
    }

    #[track_caller]
    fn check(&self, what: &str) {
        let is = leaves(&self.path);
        assert!(is == self.was, "{what}: the canary was {:?} and is {is:?}", self.was);
    }

    fn text(&self) -> String {
        self.path.display().to_string()
    }
}

fn leaves(path: &Path) -> BTreeMap<PathBuf, Leaf> {
    let stat = fs::symlink_metadata(path).expect("the canary is there");
    let content = if stat.is_file() { fs::read(path).expect("our own file") } else { Vec::new() };
    let time = (stat.mtime(), stat.mtime_nsec());
    let leaf = (stat.mode(), stat.uid(), stat.gid(), time, stat.nlink(), content);
    let mut found = BTreeMap::from([(path.to_owned(), leaf)]);
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        found.extend(leaves(&entry.path()));
    }
    found
}
