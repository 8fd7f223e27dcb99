//! What a directory of the image holds, copied into the tmpfs that is about to cover it. By descriptors only, and
//! links are copied, never followed.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RawDir, Uid};

/// Deepest tree that is copied.
const DEPTH: u32 = 64;

/// Copies what is below `from` to `to`, with owners and permissions.
pub(super) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let (from, to) = (
        rustix::fs::openat(from, ".", flags, Mode::empty())?,
        rustix::fs::openat(to, ".", flags, Mode::empty())?,
    );
    let stat = rustix::fs::fstat(&from)?;
    directory(from.as_fd(), to.as_fd(), DEPTH)?;
    rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    Ok(rustix::fs::fchown(&to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?)
}

fn directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: u32) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(16 << 10);
    let mut entries = RawDir::new(from, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let name = entry?.file_name().to_owned();
        if name.as_bytes() != b"." && name.as_bytes() != b".." {
            names.push(name);
        }
    }
    let owner =
        |stat: &rustix::fs::Stat| (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    for name in names {
        let stat = rustix::fs::statat(from, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if depth > 0 => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let below = rustix::fs::openat(from, &name, flags, Mode::empty())?;
                rustix::fs::mkdirat(to, &name, mode)?;
                let made = rustix::fs::openat(to, &name, flags, Mode::empty())?;
                directory(below.as_fd(), made.as_fd(), depth - 1)?;
            }
            FileType::RegularFile => {
                let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let source = rustix::fs::openat(from, &name, flags | OFlags::RDONLY, Mode::empty())?;
                let flags = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
                let made = rustix::fs::openat(to, &name, flags, mode)?;
                let mut bytes = [0_u8; 32 << 10];
                loop {
                    let count = rustix::io::read(&source, &mut bytes)?;
                    let mut rest = &bytes[..count];
                    while !rest.is_empty() {
                        rest = &rest[rustix::io::write(&made, rest)?..];
                    }
                    if count == 0 {
                        break;
                    }
                }
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, &name, Vec::new())?;
                rustix::fs::symlinkat(target, to, &name)?;
            }
            // Sockets, pipes and nodes are not content.
            _ => continue,
        }
        let (uid, gid) = owner(&stat);
        rustix::fs::chownat(to, &name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            rustix::fs::chmodat(to, &name, mode, AtFlags::empty())?;
        }
    }
    Ok(())
}
