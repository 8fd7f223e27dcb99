//! Mounts as descriptors: made detached, changed, then attached to a target.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::Place;
use crate::plan::step::Attributes;
use crate::sys::mount::{MountAttr, mount_setattr};

/// A new, detached filesystem.
pub(crate) fn new_filesystem(
    fstype: &str,
    options: &[String],
    attributes: Attributes,
) -> io::Result<OwnedFd> {
    let context = fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for option in options {
        match option.split_once('=') {
            Some((key, value)) => fsconfig_set_string(&context, key, value)?,
            None => fsconfig_set_flag(&context, option.as_str())?,
        }
    }
    finish(context.as_fd(), attributes)
}

/// Turns a configured context into a detached mount.
pub(crate) fn finish(context: BorrowedFd<'_>, attributes: Attributes) -> io::Result<OwnedFd> {
    fsconfig_create(context)?;
    let flags = MountAttrFlags::from_bits_retain(u32::try_from(attributes.set).unwrap_or(u32::MAX));
    Ok(fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, flags)?)
}

/// A detached copy of the mount at `path` on the host. A link as the last part is not followed.
pub(crate) fn clone_path(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let flags = clone_flags(recursive) | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    Ok(open_tree(CWD, path, flags)?)
}

/// A detached copy of the mount that `of` lies on, starting there. `of` belongs to this mount namespace.
pub(crate) fn clone(of: BorrowedFd<'_>, recursive: bool) -> io::Result<OwnedFd> {
    Ok(open_tree(of, "", clone_flags(recursive) | OpenTreeFlags::AT_EMPTY_PATH)?)
}

/// A detached copy of the mount at `name` in the directory `parent`, with those below; a link is not followed.
pub(crate) fn clone_at(parent: BorrowedFd<'_>, name: &Path) -> io::Result<OwnedFd> {
    Ok(open_tree(parent, name, clone_flags(true) | OpenTreeFlags::AT_SYMLINK_NOFOLLOW)?)
}

fn clone_flags(recursive: bool) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive { flags | OpenTreeFlags::AT_RECURSIVE } else { flags }
}

/// Attaches the detached `mount` on `target`.
pub(crate) fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, "", target, "", flags)?)
}

/// Attaches the detached `mount` at `place`, and returns what had to be opened for that.
pub(crate) fn attach_to(mount: BorrowedFd<'_>, place: Place<'_>) -> io::Result<Option<OwnedFd>> {
    match place {
        Place::Found(target) => attach(mount, target.as_fd()).map(|()| Some(target)),
        Place::Made(parent, name) => attach_at(mount, parent, Path::new(name)).map(|()| None),
    }
}

/// Attaches the detached `mount` on `name` in the directory `parent`; a link there is not followed.
pub(crate) fn attach_at(mount: BorrowedFd<'_>, parent: BorrowedFd<'_>, name: &Path) -> io::Result<()> {
    Ok(move_mount(mount, "", parent, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Takes write access from a mount.
pub(crate) fn make_read_only(mount: BorrowedFd<'_>, recursive: bool) -> io::Result<()> {
    mount_setattr(mount, recursive, &MountAttr { set: libc::MOUNT_ATTR_RDONLY, ..MountAttr::default() })
}
