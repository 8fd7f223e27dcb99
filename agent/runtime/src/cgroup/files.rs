//! Files and directories of one hierarchy, by path below its root.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, RawDir};

use super::layout::Hierarchy;
use super::{DEPTH, DIRECTORY_MODE};
use crate::plan::step::DeviceRule;

/// Longest file read.
const MOST: usize = 4 << 20;
/// Controllers a container is limited by; enabled above it where version 2 has them.
const CONTROLLERS: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

pub(super) fn open(hierarchy: &Hierarchy, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::openat(hierarchy.root(), path, flags, Mode::empty())?)
}

pub(super) fn write(hierarchy: &Hierarchy, path: &str, value: &str) -> io::Result<()> {
    let file = open(hierarchy, path, OFlags::WRONLY)?;
    write_whole(&file, value)
}

fn write_whole(file: &OwnedFd, value: &str) -> io::Result<()> {
    // One write is one command to the kernel; half of one would be another command.
    match rustix::io::write(file, value.as_bytes())? {
        written if written == value.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

pub(super) fn read(hierarchy: &Hierarchy, path: &str) -> io::Result<String> {
    read_all(&open(hierarchy, path, OFlags::RDONLY)?)
}

/// The text of `file`, up to four mebibytes.
pub(crate) fn read_all(file: &OwnedFd) -> io::Result<String> {
    let mut text = Vec::new();
    let mut buffer = [0_u8; 16 << 10];
    loop {
        match rustix::io::read(file, &mut buffer)? {
            0 => break,
            count => text.extend_from_slice(&buffer[..count]),
        }
        if text.len() > MOST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

pub(super) fn make(hierarchy: &Hierarchy, path: &str) -> io::Result<()> {
    Ok(rustix::fs::mkdirat(hierarchy.root(), path, DIRECTORY_MODE)?)
}

/// Makes the directories above `path`, ready to have children with controllers.
pub(super) fn make_parents(hierarchy: &Hierarchy, path: &str) -> io::Result<()> {
    let mut above = ".".to_owned();
    for (at, _) in path.match_indices('/') {
        let parent = &path[..at];
        if hierarchy.is_v2() {
            enable_controllers(hierarchy, &above)?;
        }
        match make(hierarchy, parent) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if hierarchy.has("cpuset") {
            inherit_cpuset(hierarchy, &above, parent)?;
        }
        above = parent.to_owned();
    }
    if hierarchy.is_v2() {
        enable_controllers(hierarchy, &above)?;
    }
    Ok(())
}

fn enable_controllers(hierarchy: &Hierarchy, directory: &str) -> io::Result<()> {
    let there = read(hierarchy, &format!("{directory}/cgroup.controllers"))?;
    for controller in there.split_whitespace().filter(|name| CONTROLLERS.contains(name)) {
        write(hierarchy, &format!("{directory}/cgroup.subtree_control"), &format!("+{controller}"))?;
    }
    Ok(())
}

/// A version 1 cpuset takes no process before it has processors and memory nodes; with `clone_children` what
/// is made below has them from the start.
pub(super) fn inherit_cpuset(hierarchy: &Hierarchy, above: &str, directory: &str) -> io::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if read(hierarchy, &format!("{directory}/{file}"))?.trim().is_empty() {
            let value = read(hierarchy, &format!("{above}/{file}"))?;
            write(hierarchy, &format!("{directory}/{file}"), value.trim())?;
        }
    }
    write(hierarchy, &format!("{directory}/cgroup.clone_children"), "1")
}

/// Removes the directory and what a container made below it. Absence is success.
pub(super) fn remove(hierarchy: &Hierarchy, path: &str) -> io::Result<()> {
    match remove_one(hierarchy, path) {
        // Busy with processes or with children: children can be helped.
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            remove_below(hierarchy, path, DEPTH)?;
            remove_one(hierarchy, path)
        }
        other => other,
    }
}

/// Removes the directory alone. Absence is success.
pub(super) fn remove_one(hierarchy: &Hierarchy, path: &str) -> io::Result<()> {
    match rustix::fs::unlinkat(hierarchy.root(), path, AtFlags::REMOVEDIR) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn remove_below(hierarchy: &Hierarchy, path: &str, depth: u32) -> io::Result<()> {
    for name in children(hierarchy, path)? {
        let below = format!("{path}/{name}");
        if depth > 0 {
            remove_below(hierarchy, &below, depth - 1)?;
        }
        remove_one(hierarchy, &below)?;
    }
    Ok(())
}

/// Names of the directories in `path`.
pub(super) fn children(hierarchy: &Hierarchy, path: &str) -> io::Result<Vec<String>> {
    let directory = open(hierarchy, path, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut buffer = Vec::with_capacity(16 << 10);
    let mut entries = RawDir::new(directory.as_fd(), buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type() == rustix::fs::FileType::Directory && name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// Writes device rules to a version 1 cgroup, one write each.
pub(super) fn write_rules(hierarchy: &Hierarchy, path: &str, rules: &[DeviceRule]) -> io::Result<()> {
    let mut opened: [Option<OwnedFd>; 2] = [None, None];
    for rule in rules {
        let name = if rule.allow { "devices.allow" } else { "devices.deny" };
        let slot = &mut opened[usize::from(rule.allow)];
        let file = match slot {
            Some(file) => file,
            None => slot.insert(open(hierarchy, &format!("{path}/{name}"), OFlags::WRONLY)?),
        };
        let line = rule.to_string();
        let (_, line) = line.split_once(' ').unwrap_or_default();
        write_whole(file, if rule.kind == 'a' { "a" } else { line })?;
    }
    Ok(())
}
