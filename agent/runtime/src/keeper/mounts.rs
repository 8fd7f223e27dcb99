//! The keeper's own mount namespace, pruned to the few mounts it needs: cloning
//! a container copies its parent's mounts, so each one less makes every start
//! cheaper, and mounts of the host are not pinned by a process that lives long.

use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// Mounts that stay, whatever is kept beside them. Without a whole /proc and
/// /sys here the kernel lets no container mount its own.
const NEEDED: [&str; 6] = ["/", "/proc", "/sys", "/dev", "/dev/pts", "/dev/shm"];

const CGROUPS: &str = "/sys/fs/cgroup";

/// Moves this process into a mount namespace of its own that holds what is
/// needed and the mounts that `keep` lies on. Returns how many went.
pub(crate) fn enter_private(keep: &[&Path]) -> io::Result<usize> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    let table = std::fs::File::open("/proc/self/mountinfo")?;
    let mut text = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(table, 16 << 20), &mut text)?;
    let mut removed = 0;
    for point in prunable(&text, keep).iter().rev() {
        // One that is covered by another, or went with its parent, cannot be removed by name.
        if umount2(point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).is_ok() {
            removed += 1;
        }
    }
    Ok(removed)
}

/// The mount points in a mountinfo table that are not needed, in its order.
fn prunable(mountinfo: &[u8], keep: &[&Path]) -> Vec<PathBuf> {
    let is_needed = |point: &Path| {
        NEEDED.iter().any(|needed| point == Path::new(needed))
            || point.starts_with(CGROUPS)
            || keep.iter().any(|kept| kept.starts_with(point))
    };
    let points =
        mountinfo.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    points.map(unescape).filter(|point| !is_needed(point)).collect()
}

/// mountinfo writes space, tab, line feed and backslash as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.first_chunk::<3>().filter(|_| *first == b'\\').and_then(|digits| {
            let value = digits
                .iter()
                .try_fold(0_u32, |sum, digit| Some(sum * 8 + char::from(*digit).to_digit(8)?))?;
            u8::try_from(value).ok()
        });
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_container_or_the_data_needs_is_kept() {
        let table = b"1 0 0:1 / / rw - ext4 x rw\n\
            2 1 0:2 / /proc rw - proc x rw\n\
            3 1 0:3 / /sys rw - sysfs x rw\n\
            4 3 0:4 / /sys/fs/cgroup/memory rw - cgroup x rw\n\
            5 3 0:5 / /sys/kernel/debug rw - debugfs x rw\n\
            6 1 0:6 / /var/lib rw - ext4 x rw\n\
            7 6 0:7 / /var/lib/data/merged rw - overlay x rw\n\
            8 1 0:8 / /with\\040space rw - tmpfs x rw\n";
        let pruned = prunable(table, &[Path::new("/var/lib/data")]);
        let expected = ["/sys/kernel/debug", "/var/lib/data/merged", "/with space"];
        assert_eq!(pruned, expected.map(PathBuf::from));
    }
}
