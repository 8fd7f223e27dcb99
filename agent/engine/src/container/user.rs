//! Which user a container runs as: `user[:group]` by names or numbers, looked up
//! in the image's own `/etc/passwd` and `/etc/group`.
//!
//! Images are hostile. Their files are opened below the layer's directory only
//! (`RESOLVE_IN_ROOT`), must be regular, are read to 1 MiB and 100,000 lines,
//! and numbers are checked, never wrapped.

use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use serde::{Deserialize, Serialize};

use crate::EngineError;

const MAX_BYTES: u64 = 1 << 20;
const MAX_LINES: usize = 100_000;
/// From one layer to another.
const MAX_LINKS: usize = 8;
/// Ids a container can use are those of its range.
const MAX_ID: u32 = 65_535;

/// The ids a container's first process gets, as the container numbers them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Further groups.
    pub(crate) groups: Vec<u32>,
    /// Its home directory.
    pub(crate) home: String,
}

/// Looks `wanted` up in the layers, topmost first.
pub(crate) fn look_up(layers: &[PathBuf], wanted: &str) -> Result<Identity, EngineError> {
    let passwd = read_from_layers(layers, "passwd")?;
    let group = read_from_layers(layers, "group")?;
    resolve(wanted, &passwd, &group)
}

/// Adds groups by name or number, as the image's `/etc/group` has them.
pub(crate) fn add_groups(
    layers: &[PathBuf],
    identity: &mut Identity,
    wanted: &[String],
) -> Result<(), EngineError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let group = read_from_layers(layers, "group")?;
    for name in wanted {
        identity.groups.push(find_group(name, &group)?);
    }
    identity.groups.sort_unstable();
    identity.groups.dedup();
    Ok(())
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().take(MAX_LINES).filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = number(fields.nth(1)?)?;
        let gid = number(fields.next()?)?;
        Some(Account { name, uid, gid, home: fields.nth(1).unwrap_or("/") })
    })
}

/// Name, id and members.
fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().take(MAX_LINES).filter_map(|line| {
        let mut fields = line.split(':');
        Some((fields.next()?, number(fields.nth(1)?)?, fields.next().unwrap_or("")))
    })
}

/// A decimal number in the range of a container's ids; nothing else is one.
fn number(text: &str) -> Option<u32> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| is_plain && *id <= MAX_ID)
}

fn resolve(wanted: &str, passwd: &str, group: &str) -> Result<Identity, EngineError> {
    let (user, wanted_group) = match wanted.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (wanted, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let looks_numeric = user.bytes().all(|byte| byte.is_ascii_digit());
    let account = accounts(passwd)
        .find(|account| account.name == user)
        .or_else(|| number(user).and_then(|uid| accounts(passwd).find(|account| account.uid == uid)));
    let uid = match (&account, looks_numeric) {
        (Some(account), _) => account.uid,
        (None, true) => number(user).ok_or_else(|| out_of_range(user))?,
        (None, false) => {
            return Err(EngineError::invalid("user", format!("no user {user:?} in the image's /etc/passwd")));
        }
    };
    let gid = match wanted_group {
        Some(wanted) => find_group(wanted, group)?,
        None => account.as_ref().map_or(0, |account| account.gid),
    };
    let is_member = |members: &str| {
        account.as_ref().is_some_and(|account| members.split(',').any(|member| member == account.name))
    };
    // A group that was asked for replaces all others, as in Docker.
    let mut further: Vec<u32> = match wanted_group {
        Some(_) => Vec::new(),
        None => groups(group).filter(|(_, _, members)| is_member(members)).map(|(_, id, _)| id).collect(),
    };
    further.push(gid);
    further.sort_unstable();
    further.dedup();
    let home = account.as_ref().map_or("/", |account| account.home);
    let home = if home.starts_with('/') { home } else { "/" };
    Ok(Identity { uid, gid, groups: further, home: home.to_owned() })
}

fn find_group(wanted: &str, group: &str) -> Result<u32, EngineError> {
    if let Some((_, id, _)) = groups(group).find(|(name, _, _)| *name == wanted) {
        return Ok(id);
    }
    if wanted.bytes().all(|byte| byte.is_ascii_digit()) {
        return number(wanted).ok_or_else(|| out_of_range(wanted));
    }
    Err(EngineError::invalid("user", format!("no group {wanted:?} in the image's /etc/group")))
}

fn out_of_range(id: &str) -> EngineError {
    EngineError::invalid("user", format!("{id} is beyond {MAX_ID}, the largest id in a container"))
}

/// The text of `/etc/<name>` as a container of these layers would see it; empty when it has none.
fn read_from_layers(layers: &[PathBuf], name: &str) -> Result<String, EngineError> {
    let mut path = PathBuf::from("etc").join(name);
    for _ in 0..MAX_LINKS {
        match find_in_layers(layers, &path)? {
            Found::File(file) => return read_limited(file, name),
            Found::Elsewhere(target) => path = target,
            Found::Hidden | Found::Absent => break,
        }
    }
    Ok(String::new())
}

fn find_in_layers(layers: &[PathBuf], path: &Path) -> Result<Found, EngineError> {
    for layer in layers {
        let failed = |error: rustix::io::Errno| EngineError::file("open", layer, error.into());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(layer, flags, Mode::empty()).map_err(failed)?;
        match open_regular(&root, path) {
            Found::Absent if hides_lower(&root) => return Ok(Found::Hidden),
            Found::Absent => {}
            found => return Ok(found),
        }
    }
    Ok(Found::Absent)
}

enum Found {
    File(OwnedFd),
    /// A link to this path, which no file of the same layer has.
    Elsewhere(PathBuf),
    /// There is something, but no file: a whiteout, a pipe.
    Hidden,
    Absent,
}

fn open_regular(root: &OwnedFd, path: &Path) -> Found {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    // O_PATH first: nothing is opened for reading before it is known to be a plain file.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let found = match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
        Ok(found) => found,
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return link_at(root, path, resolve),
        Err(_) => return Found::Hidden,
    };
    let is_regular = |fd: &OwnedFd| {
        rustix::fs::fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
    };
    if !is_regular(&found) {
        return Found::Hidden;
    }
    // That very file, not what its name leads to by now: a container that runs can put a device there meanwhile.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let again = format!("/proc/self/fd/{}", found.as_raw_fd());
    rustix::fs::open(again, flags, Mode::empty()).map_or(Found::Hidden, Found::File)
}

/// A link that is dangling in its layer says where to look in all of them.
fn link_at(root: &OwnedFd, path: &Path, resolve: ResolveFlags) -> Found {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(link) = rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) else {
        return Found::Absent;
    };
    let Ok(text) = rustix::fs::readlinkat(&link, "", Vec::new()) else {
        return Found::Hidden;
    };
    let target = Path::new(std::ffi::OsStr::from_bytes(text.as_bytes()));
    // Joining an absolute path replaces the other; it is resolved below a layer's root again.
    Found::Elsewhere(path.parent().unwrap_or(Path::new("")).join(target))
}

/// Whether this layer's `/etc` replaces the one below it.
fn hides_lower(root: &OwnedFd) -> bool {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let path_only = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(etc) = rustix::fs::openat2(root, "etc", path_only, Mode::empty(), resolve) else {
        return false;
    };
    let is_dir = rustix::fs::fstat(&etc)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
    if !is_dir {
        return true;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut value = [0_u8; 1];
    rustix::fs::openat2(root, "etc", flags, Mode::empty(), resolve)
        .and_then(|etc| rustix::fs::fgetxattr(&etc, "trusted.overlay.opaque", &mut value[..]))
        .is_ok_and(|length| length == 1 && value[0] == b'y')
}

fn read_limited(file: OwnedFd, name: &str) -> Result<String, EngineError> {
    let mut bytes = Vec::new();
    let mut limited = std::fs::File::from(file).take(MAX_BYTES + 1);
    limited
        .read_to_end(&mut bytes)
        .map_err(|error| EngineError::file("read", format!("/etc/{name}"), error))?;
    if bytes.len() as u64 > MAX_BYTES {
        let rule = format!("the image's /etc/{name} is larger than {MAX_BYTES} bytes");
        return Err(EngineError::invalid("user", rule));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102::/srv/web:/bin/sh\nbad:x:4294967296:0::/:\nodd:x:65536:0::/:\n";
    const GROUP: &str = "root:x:0:\nwww:x:102:\nlogs:x:4:web,other\nmail:x:8:other\n";

    fn resolved(wanted: &str) -> Result<Identity, String> {
        resolve(wanted, PASSWD, GROUP).map_err(|error| error.to_string())
    }

    #[test]
    fn users_are_found_by_name_and_number_with_their_groups() {
        let web = Identity { uid: 101, gid: 102, groups: vec![4, 102], home: "/srv/web".into() };
        assert_eq!(resolved("web"), Ok(web.clone()));
        assert_eq!(resolved("101"), Ok(web));
        assert_eq!(resolved("").unwrap().uid, 0);
        assert_eq!(resolved("web:mail").unwrap().groups, [8]);
        assert_eq!(resolved("7:9").unwrap(), Identity { uid: 7, gid: 9, groups: vec![9], home: "/".into() });
        assert_eq!(resolved(":www").unwrap().gid, 102);
    }

    #[test]
    fn what_is_no_user_never_becomes_root() {
        for wanted in [
            "nobody",
            "bad",
            "odd",
            "65536",
            "4294967296",
            "-1",
            "0x0",
            "+0",
            "1.0",
            " ",
            "web:none",
            "0:70000",
        ] {
            assert!(resolved(wanted).is_err(), "{wanted}");
        }
    }

    fn layer(passwd: Option<&str>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        if let Some(text) = passwd {
            std::fs::write(dir.path().join("etc/passwd"), text).unwrap();
        }
        dir
    }

    #[test]
    fn the_topmost_layer_that_has_the_file_decides() {
        let (top, middle, base) = (layer(None), layer(Some("a:x:1:1::/:\n")), layer(Some("a:x:2:2::/:\n")));
        let layers = [&top, &middle, &base].map(|dir| dir.path().to_path_buf());
        assert_eq!(look_up(&layers, "a").unwrap().uid, 1);
    }

    #[test]
    fn a_link_into_another_layer_is_followed_and_hides_what_is_below_it() {
        let (top, base) = (layer(None), layer(Some("a:x:9:9::/:\n")));
        symlink("../usr/passwd", top.path().join("etc/passwd")).unwrap();
        let layers = [&top, &base].map(|dir| dir.path().to_path_buf());
        assert!(look_up(&layers, "a").is_err(), "the file below the link is not the container's");
        std::fs::create_dir(base.path().join("usr")).unwrap();
        std::fs::write(base.path().join("usr/passwd"), "a:x:5:5::/:\n").unwrap();
        assert_eq!(look_up(&layers, "a").unwrap().uid, 5);
        symlink("/etc/passwd", base.path().join("usr/loop")).unwrap();
        std::fs::remove_file(top.path().join("etc/passwd")).unwrap();
        symlink("/usr/loop", top.path().join("etc/passwd")).unwrap();
        assert!(look_up(&layers, "daemon").is_err());
    }

    #[test]
    fn links_and_pipes_in_an_image_lead_nowhere() {
        let dir = layer(None);
        symlink("/../../../../../../etc/passwd", dir.path().join("etc/passwd")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.path().join("etc/group"),
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let layers = [dir.path().to_path_buf()];
        assert!(look_up(&layers, "daemon").is_err(), "the host's passwd must not be read");
        assert!(look_up(&layers, "0:audio").is_err(), "a pipe must neither be read nor waited for");
        assert_eq!(look_up(&layers, "0").unwrap().uid, 0);
    }

    #[test]
    fn a_huge_file_is_refused() {
        let dir = layer(Some(&"x".repeat(2 << 20)));
        assert!(look_up(&[dir.path().to_path_buf()], "0").is_err());
    }
}
