//! Device nodes by number, without looking for them on the host: made in a filesystem of the keeper's own, which
//! only lives on in the mounts of its nodes.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, UnmountFlags, open_tree, unmount};

use crate::plan::step::{Attributes, NewDevice, Node, Owner};
use crate::rootfs::mount;

/// A filesystem for a container's `/dev`, with the nodes that every container has.
pub(super) fn filesystem(
    options: &[String],
    attributes: Attributes,
    owner: Owner,
    nodes: &[Node],
) -> io::Result<OwnedFd> {
    let ids = [format!("uid={}", owner.uid), format!("gid={}", owner.gid)];
    let options: Vec<String> = options.iter().cloned().chain(ids).collect();
    let dev = mount::new_filesystem("tmpfs", &options, attributes)?;
    // For everybody, whatever the keeper's mask is.
    let mask = rustix::process::umask(Mode::empty());
    let made = nodes.iter().try_for_each(|node| {
        let id = rustix::fs::makedev(node.major, node.minor);
        rustix::fs::mknodat(&dev, node.name, FileType::CharacterDevice, Mode::from_raw_mode(0o666), id)
    });
    rustix::process::umask(mask);
    made?;
    Ok(dev)
}

/// Makes `devices` and answers a detached mount of each, in their order.
pub(super) fn make(devices: &[NewDevice], staging: &Path) -> io::Result<Vec<OwnedFd>> {
    let attributes = Attributes { set: libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC, clear: 0 };
    let tmpfs = mount::new_filesystem("tmpfs", &["mode=700".to_owned()], attributes)?;
    // Kernels before 6.15 clone nothing of a mount that is attached nowhere.
    let place = Place::new(staging)?;
    mount::attach_at(tmpfs.as_fd(), CWD, &place.0)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mut made = Vec::with_capacity(devices.len());
    for (number, device) in devices.iter().enumerate() {
        let name = number.to_string();
        let kind = if device.number.character { FileType::CharacterDevice } else { FileType::BlockDevice };
        let mode = Mode::from_raw_mode(device.mode);
        let id = rustix::fs::makedev(device.number.major, device.number.minor);
        rustix::fs::mknodat(&tmpfs, name.as_str(), kind, mode, id)?;
        // The keeper's umask must not decide.
        rustix::fs::chmodat(&tmpfs, name.as_str(), mode, rustix::fs::AtFlags::empty())?;
        let (user, group) = (Uid::from_raw(device.owner.uid), Gid::from_raw(device.owner.gid));
        rustix::fs::chownat(&tmpfs, name.as_str(), Some(user), Some(group), rustix::fs::AtFlags::empty())?;
        made.push(open_tree(&tmpfs, name.as_str(), flags)?);
    }
    Ok(made)
}

/// A directory in the staging directory, unmounted and removed in the end.
struct Place(std::path::PathBuf);

impl Place {
    fn new(staging: &Path) -> io::Result<Place> {
        let path = staging.join("devices");
        match rustix::fs::mkdir(&path, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => Ok(Place(path)),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Nothing better can be done about a failure; the nodes in it belong to root only.
        let _ = unmount(&self.0, UnmountFlags::DETACH);
        let _ = rustix::fs::rmdir(&self.0);
    }
}
