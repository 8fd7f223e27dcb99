//! What a caller wants mounted into a container, as plain data, and the rules it must keep.
//!
//! Opening the sources is `container/mounting.rs`; nothing here touches the host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::volume;
pub use agent_runtime::detached::Propagation;

/// The most mounts a container can be given.
pub const MOST: usize = 100;

/// One thing mounted into a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mount {
    /// What is mounted.
    pub kind: Kind,
    /// A path of the host, a volume's name (empty: an anonymous volume), an image's name; nothing for a tmpfs.
    pub source: String,
    /// Absolute path in the container.
    pub target: String,
    /// Without write access, mounts below it included.
    pub read_only: bool,
    /// A path inside the volume or image that is mounted instead of all of it.
    pub subpath: String,
    /// For binds.
    pub bind: Bind,
    /// For volumes.
    pub volume: VolumeOptions,
    /// For a tmpfs.
    pub tmpfs: Tmpfs,
    /// The volume was made for this container and goes with it. Set by the engine.
    pub anonymous: bool,
}

/// What is mounted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A file or directory of the host.
    Bind,
    /// A volume of the engine.
    #[default]
    Volume,
    /// A file system in memory, empty at each start.
    Tmpfs,
    /// The content of an image, without write access.
    Image,
}

impl Kind {
    /// As `--mount type=` has it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Bind => "bind",
            Kind::Volume => "volume",
            Kind::Tmpfs => "tmpfs",
            Kind::Image => "image",
        }
    }
}

/// What only binds have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bind {
    /// How mounts made later show; `None` is not at all.
    pub propagation: Option<Spread>,
    /// Leaves out the mounts below the source.
    pub non_recursive: bool,
    /// Read-only does not reach the mounts below the source.
    pub read_only_non_recursive: bool,
    /// Makes a directory of a source that does not exist.
    pub create_source: bool,
    /// Programs on it give no other user's rights.
    pub no_suid: bool,
    /// Nothing on it can be executed.
    pub no_exec: bool,
}

/// [`Propagation`] as records have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Spread {
    /// The container sees what the host mounts there later.
    Slave,
    /// And the host what the container mounts.
    Shared,
}

/// What only volumes have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeOptions {
    /// Does not fill a new volume with what the image has at the target.
    pub no_copy: bool,
    /// Labels of a volume that this makes.
    pub labels: BTreeMap<String, String>,
    /// Driver of a volume that this makes; empty is `local`, the only one.
    pub driver: String,
    /// Options of that driver.
    pub options: BTreeMap<String, String>,
}

/// What only a tmpfs has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tmpfs {
    /// How much it holds, in bytes; half of the memory when `None`.
    pub size_bytes: Option<u64>,
    /// The mode of its root; 1777 when `None`.
    pub mode: Option<u32>,
    /// Further options: `noexec`, `size=64m`, `uid=101`, ...
    pub options: Vec<String>,
}

impl Mount {
    /// Whether the mount shows this volume.
    pub fn is_of_volume(&self, name: &str) -> bool {
        self.kind == Kind::Volume && self.source == name
    }

    /// The names of the target, from the root on.
    pub(crate) fn depth(&self) -> usize {
        self.target.split('/').filter(|name| !name.is_empty()).count()
    }

    /// Checks what can be told without the host, and cleans the target.
    pub(crate) fn check(&mut self) -> Result<(), EngineError> {
        self.target = clean_target(&self.target)?;
        let of = |rule: String| Err(EngineError::invalid("mount", rule));
        let target = &self.target;
        let has_nul = |text: &str| text.contains('\0');
        if has_nul(&self.source) || has_nul(&self.subpath) {
            return of(format!("{target}: a NUL byte cannot be part of a path"));
        }
        match self.kind {
            Kind::Bind if !self.source.starts_with('/') => {
                return of(format!(
                    "{target}: the source {:?} of a bind must be an absolute path",
                    self.source
                ));
            }
            Kind::Bind if !self.subpath.is_empty() => {
                return of(format!("{target}: a bind has no subpath, name the whole path as its source"));
            }
            Kind::Volume if !self.source.is_empty() => volume::check_name(&self.source)?,
            Kind::Volume if !self.subpath.is_empty() => {
                return of(format!("{target}: must not set Subpath when using anonymous volumes"));
            }
            Kind::Image if self.source.is_empty() => {
                return of(format!("{target}: say which image to mount"));
            }
            Kind::Tmpfs if !self.source.is_empty() || !self.subpath.is_empty() => {
                return of(format!("{target}: a tmpfs has no source"));
            }
            _ => {}
        }
        if !matches!(self.volume.driver.as_str(), "" | "local") {
            return of(format!("{target}: no volume driver {:?}, the only one is local", self.volume.driver));
        }
        check_subpath(&self.subpath)?;
        self.tmpfs.options.iter().try_for_each(|option| check_tmpfs_option(option))
    }
}

/// The target without needless parts; `..` is resolved by the text, as Docker does.
fn clean_target(target: &str) -> Result<String, EngineError> {
    let of = |rule: String| EngineError::invalid("mount target", rule);
    if !target.starts_with('/') || target.contains('\0') || target.len() > 4000 {
        return Err(of(format!("{target:?} is not an absolute path")));
    }
    let mut names: Vec<&str> = Vec::new();
    for name in target.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    match names.as_slice() {
        [] => Err(of("the destination can't be '/'".to_owned())),
        ["proc", ..] | ["dev"] => {
            Err(of(format!("/{}: the kernel's own view of a container is mounted there", names.join("/"))))
        }
        _ => Ok(format!("/{}", names.join("/"))),
    }
}

fn check_subpath(subpath: &str) -> Result<(), EngineError> {
    if subpath.starts_with('/') || subpath.split('/').any(|name| name == "..") {
        let rule = format!("{subpath:?} must be a relative path inside the volume or image, without '..'");
        return Err(EngineError::invalid("mount subpath", rule));
    }
    Ok(())
}

/// Options of a tmpfs that a container may choose.
fn check_tmpfs_option(option: &str) -> Result<(), EngineError> {
    let flags = [
        "rw",
        "ro",
        "suid",
        "nosuid",
        "nodev",
        "exec",
        "noexec",
        "noatime",
        "nodiratime",
        "relatime",
        "defaults",
    ];
    let keys = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"];
    let known = match option.split_once('=') {
        Some((key, value)) => keys.contains(&key) && !value.is_empty() && !value.contains('\0'),
        None => flags.contains(&option),
    };
    if known { Ok(()) } else { Err(EngineError::invalid("tmpfs option", format!("{option:?} is not one"))) }
}

/// Checks the mounts a caller asks for: each by itself, and that no two have one target.
pub(crate) fn check(mounts: &mut [Mount]) -> Result<(), EngineError> {
    if mounts.len() > MOST {
        return Err(EngineError::invalid(
            "mounts",
            format!("{} are asked for, at most {MOST}", mounts.len()),
        ));
    }
    mounts.iter_mut().try_for_each(Mount::check)?;
    for (index, mount) in mounts.iter().enumerate() {
        if mounts[..index].iter().any(|other| other.target == mount.target) {
            return Err(EngineError::invalid("mounts", format!("Duplicate mount point: {}", mount.target)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: Kind, source: &str, target: &str) -> Mount {
        Mount { kind, source: source.into(), target: target.into(), ..Mount::default() }
    }

    fn checked(mut mount: Mount) -> Result<String, String> {
        mount.check().map(|()| mount.target).map_err(|error| error.to_string())
    }

    #[test]
    fn targets_are_cleaned_and_kept_off_the_kernels_views() {
        assert_eq!(checked(mount(Kind::Bind, "/a", "/x//y/./../z/")).unwrap(), "/x/z");
        for target in ["", "x", "/", "/..", "/x/..", "/proc", "/proc/self", "/dev", "/a\0b"] {
            assert!(checked(mount(Kind::Bind, "/a", target)).is_err(), "{target:?}");
        }
        assert!(checked(mount(Kind::Tmpfs, "", "/dev/shm")).is_ok());
    }

    #[test]
    fn what_a_kind_does_not_have_is_refused() {
        assert!(checked(mount(Kind::Bind, "relative", "/x")).is_err());
        assert!(checked(mount(Kind::Volume, "../etc", "/x")).is_err());
        assert!(checked(mount(Kind::Image, "", "/x")).is_err());
        assert!(checked(mount(Kind::Tmpfs, "/a", "/x")).is_err());
        for subpath in ["/etc", "..", "a/../../b"] {
            let bad = Mount { subpath: subpath.into(), ..mount(Kind::Volume, "vol", "/x") };
            assert!(checked(bad).is_err(), "{subpath}");
        }
        let driver = VolumeOptions { driver: "nfs".into(), ..VolumeOptions::default() };
        let foreign = Mount { volume: driver, ..mount(Kind::Volume, "vol", "/x") };
        assert!(checked(foreign).unwrap_err().contains("no volume driver"));
    }

    #[test]
    fn two_mounts_on_one_target_and_too_many_are_refused() {
        let twice = &mut [mount(Kind::Bind, "/a", "/x"), mount(Kind::Tmpfs, "", "/x/")];
        assert!(check(twice).unwrap_err().to_string().contains("Duplicate mount point: /x"));
        let mut many: Vec<Mount> = (0..=MOST).map(|n| mount(Kind::Tmpfs, "", &format!("/x{n}"))).collect();
        assert!(check(&mut many).is_err());
    }

    #[test]
    fn a_tmpfs_takes_only_its_own_options() {
        for good in ["noexec", "size=64m", "mode=1770", "uid=101"] {
            assert!(check_tmpfs_option(good).is_ok(), "{good}");
        }
        for bad in ["size=", "lowerdir=/", "x", "idmap"] {
            assert!(check_tmpfs_option(bad).is_err(), "{bad}");
        }
    }
}
