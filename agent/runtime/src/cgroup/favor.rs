//! Moving processes between cgroups without waiting for the kernel's readers.
//!
//! A write to `cgroup.procs` excludes every fork of the host for a moment. To keep forks cheap the kernel makes the
//! writer wait for a grace period, unless somebody wrote a moment ago: 5 to 60 ms before a container's first instruction.
//! A hierarchy mounted with `favordynmods` (Linux 6.0) says that cgroups change often here; then nobody waits. The
//! lock is one for all hierarchies, so setting it on that of version 2, which hybrid hosts have beside their own, is
//! enough. Where limits are version 2's, processes are cloned into their cgroups and nothing is written.

use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsPickFlags, fsconfig_reconfigure, fsconfig_set_flag, fspick};

use super::layout::Layout;
use super::{CgroupError, files};

const FAVOR: &str = "favordynmods";

/// What came of asking for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Favor {
    /// No process is moved here, or there is no version 2 hierarchy to set it on.
    NotNeeded,
    /// It was so already.
    WasSet,
    /// Now it is so, until the next boot or until somebody changes it.
    Set,
    /// The kernel is older than Linux 6.0.
    Unknown,
}

impl Layout {
    /// Asks the kernel not to make the mover of a process wait. Changes an option of the host's version 2 hierarchy
    /// and leaves its others as they are.
    ///
    /// # Errors
    /// When the kernel does not let this process change it.
    pub fn favor_dynmods(&self) -> Result<Favor, CgroupError> {
        let (true, Some(hierarchy)) = (self.is_v1(), self.v2()) else { return Ok(Favor::NotNeeded) };
        let failed = |source| CgroupError::Io {
            action: "set favordynmods for",
            object: hierarchy.mount_point().to_owned(),
            source,
        };
        let path = "/proc/self/mountinfo";
        let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| failed(error.into()))?;
        let table = files::read_all(&file).map_err(failed)?;
        let options = options_of_v2(&table).unwrap_or_default();
        if options.contains(&FAVOR) {
            return Ok(Favor::WasSet);
        }
        match set(hierarchy.root().as_fd(), &options) {
            Ok(()) => Ok(Favor::Set),
            Err(Errno::INVAL) => Ok(Favor::Unknown),
            Err(error) => Err(failed(error.into())),
        }
    }
}

/// A change of options states all of them: what is not said is taken away.
fn set(root: std::os::fd::BorrowedFd<'_>, others: &[&str]) -> Result<(), Errno> {
    let context = fspick(root, "", FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH)?;
    for option in others.iter().copied().chain([FAVOR]) {
        fsconfig_set_flag(&context, option)?;
    }
    fsconfig_reconfigure(&context)
}

/// The options of the version 2 hierarchy, as far as they are its own.
fn options_of_v2(mountinfo: &str) -> Option<Vec<&str>> {
    let of_line = |line: &'_ str| -> Option<usize> {
        let (_, right) = line.split_once(" - ")?;
        right.starts_with("cgroup2 ").then_some(line.len() - right.len())
    };
    let line = mountinfo.lines().find_map(|line| of_line(line).map(|at| &line[at..]))?;
    let options = line.split(' ').nth(2)?.split(',');
    Some(options.filter(|option| !matches!(*option, "rw" | "ro" | "")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_that_are_kept_are_those_of_the_hierarchy() {
        let table = "40 31 0:37 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
                     41 31 0:38 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n";
        assert_eq!(options_of_v2(table), Some(vec!["nsdelegate", "memory_recursiveprot"]));
        assert_eq!(options_of_v2("1 2 0:3 / / rw - ext4 /dev/vda rw\n"), None);
    }

    #[test]
    fn asked_twice_it_was_set_and_other_options_stay() {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test changes a mount option and must run as root"
        );
        let layout = Layout::detect().expect("cgroups");
        let options = || {
            let table = std::fs::read_to_string("/proc/self/mountinfo").expect("a table");
            let found: Option<Vec<String>> =
                options_of_v2(&table).map(|list| list.into_iter().map(str::to_owned).collect());
            found
        };
        let before = options();
        let first = layout.favor_dynmods().expect("this host takes it");
        if matches!(first, Favor::NotNeeded | Favor::Unknown) {
            return assert_eq!(options(), before);
        }
        assert_eq!(layout.favor_dynmods().expect("this host takes it"), Favor::WasSet);
        let kept = before.unwrap_or_default().into_iter().filter(|option| option != FAVOR);
        let now = options().expect("a version 2 hierarchy");
        assert!(kept.into_iter().all(|option| now.contains(&option)), "{now:?}");
    }
}
