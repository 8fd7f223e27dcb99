//! Mounts of an OCI configuration.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType};
use rustix::mount::{FsOpenFlags, OpenTreeFlags, fsconfig_set_flag, fsconfig_set_string, fsopen, open_tree};

use super::super::init::Init;
use super::copy_up;
use crate::plan::oci::step::NewMount;
use crate::plan::step::{Attributes, Slot};
use crate::rootfs::{Links, Target, mount};
use crate::sys::mount::{MountAttr, mount_setattr};

/// Magic number of procfs, from `linux/magic.h`.
const PROC_MAGIC: u64 = 0x9fa0;

/// What of procfs may be covered: files that tools fake. Anything else would let the next step of the making
/// write its confinement to a file of somebody's choice.
const COVERABLE: [&str; 12] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/fs/binfmt_misc",
];

/// A detached copy of a mount of the host, links on the way followed.
pub(super) fn open_bind(
    source: &Path,
    recursive: bool,
    attributes: Attributes,
    below: Attributes,
    propagation: u64,
) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let bind = open_tree(CWD, source, flags)?;
    let attr = MountAttr { propagation, ..MountAttr::default() };
    mount_setattr(bind.as_fd(), recursive, &attr)?;
    for (attributes, recursive) in [(attributes, false), (below, true)] {
        if attributes != Attributes::default() {
            let attr = MountAttr { set: attributes.set, clear: attributes.clear, ..MountAttr::default() };
            mount_setattr(bind.as_fd(), recursive, &attr)?;
        }
    }
    Ok(bind)
}

impl Init {
    pub(super) fn new_mount(&mut self, asked: &NewMount, at: &Path) -> io::Result<()> {
        // What the kernel shows through these must be where its name says.
        let kernels = matches!(asked.fstype.as_str(), "proc" | "sysfs");
        let links = if kernels { Links::Refused } else { Links::InRoot };
        let target = self.root.target(at, Target::Directory, links)?;
        covers_nothing_of_proc(&target, at, kernels)?;
        let made = new_filesystem(asked)?;
        if asked.copy_up && asked.fstype == "tmpfs" {
            copy_up::copy(target.as_fd(), made.as_fd())?;
        }
        if asked.attributes != Attributes::default() || asked.propagation != 0 {
            let Attributes { set, clear } = asked.attributes;
            let attr = MountAttr { set, clear, propagation: asked.propagation, userns: 0 };
            mount_setattr(made.as_fd(), false, &attr)?;
        }
        mount::attach(made.as_fd(), target.as_fd())?;
        self.opened.extend([made, target]);
        Ok(())
    }

    pub(super) fn attach_bind(&mut self, slot: Slot, at: &Path) -> io::Result<()> {
        let kind = FileType::from_raw_mode(rustix::fs::fstat(self.slot(slot)?)?.st_mode);
        let target = if kind == FileType::Directory { Target::Directory } else { Target::File };
        let target = self.root.target(at, target, Links::InRoot)?;
        covers_nothing_of_proc(&target, at, false)?;
        mount::attach(self.slot(slot)?.as_fd(), target.as_fd())?;
        self.opened.push(target);
        Ok(())
    }
}

/// Refuses a target inside a procfs but for what is known to be covered.
fn covers_nothing_of_proc(target: &OwnedFd, at: &Path, kernels: bool) -> io::Result<()> {
    let magic = u64::try_from(rustix::fs::fstatfs(target)?.f_type).unwrap_or(0);
    let fine = kernels || at == Path::new("/proc") || COVERABLE.iter().any(|path| at == Path::new(path));
    if magic != PROC_MAGIC || fine {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "it would cover a part of /proc"))
}

fn new_filesystem(asked: &NewMount) -> io::Result<OwnedFd> {
    let context = fsopen(asked.fstype.as_str(), FsOpenFlags::FSOPEN_CLOEXEC)?;
    if let Some(source) = asked.source.as_deref().filter(|source| !source.is_empty()) {
        fsconfig_set_string(&context, "source", source)?;
    }
    for option in &asked.options {
        match option.split_once('=') {
            // A string the kernel takes has at most 255 bytes: layers are given one by one.
            Some(("lowerdir", layers)) if asked.fstype == "overlay" => {
                for layer in layers.split(':') {
                    fsconfig_set_string(&context, "lowerdir+", layer)?;
                }
            }
            Some((key, value)) => fsconfig_set_string(&context, key, value)?,
            None => fsconfig_set_flag(&context, option.as_str())?,
        }
    }
    mount::finish(context.as_fd(), Attributes::default())
}
