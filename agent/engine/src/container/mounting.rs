//! From the mounts of a container's configuration to descriptors in the hands of the keeper: which there are
//! (`resolve`, when it is made), the volumes among them (`make_volumes`), and their sources, opened at each start
//! (`open_mounts`).
//!
//! A source is looked up once and only handled as a descriptor after that. Ids are mapped by the runtime.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use agent_runtime::container::{ContainerSpec, DESCRIPTOR};
use agent_runtime::detached::{self, Propagation, ReadOnly};
use oci_spec::runtime::{Mount as OciMount, MountBuilder};
use rustix::fs::FileType;

use super::create::blocking;
use super::mount::{self, Kind, Mount, Spread};
use super::record::{MountedImage, Record};
use super::{ContainerConfig, identity, source};
use crate::EngineError;
use crate::engine::Inner;
use crate::image::{Image, Reference};
use crate::records::Durability;
use crate::volume::{self, VolumeConfig};

impl Inner {
    /// Completes the mounts of a container to be made: those of `volumes_from`, the image's volumes, names for
    /// anonymous ones; in the order in which they are mounted.
    pub(crate) fn resolve_mounts(
        &self,
        config: &mut ContainerConfig,
        image: &Image,
    ) -> Result<(), EngineError> {
        mount::check(&mut config.mounts)?;
        let mut mounts = std::mem::take(&mut config.mounts);
        for from in &config.volumes_from {
            for inherited in self.mounts_of(from)? {
                if !mounts.iter().any(|known| known.target == inherited.target) {
                    mounts.push(inherited);
                }
            }
        }
        for target in &image.config.volumes {
            let mut wanted = Mount { target: target.clone(), ..Mount::default() };
            wanted.check()?;
            if !mounts.iter().any(|known| known.target == wanted.target) {
                mounts.push(wanted);
            }
        }
        for mount in &mut mounts {
            if mount.kind == Kind::Volume && mount.source.is_empty() {
                mount.source =
                    identity::new_id().map_err(|error| EngineError::file("read", "/dev/urandom", error))?;
                mount.anonymous = true;
            }
        }
        mounts.sort_by_key(Mount::depth);
        if mounts.len() > mount::MOST {
            let rule = format!("there are {}, at most {} fit", mounts.len(), mount::MOST);
            return Err(EngineError::invalid("mounts", rule));
        }
        config.mounts = mounts;
        Ok(())
    }

    /// `CONTAINER[:ro|rw]`: its volumes and binds.
    fn mounts_of(&self, from: &str) -> Result<Vec<Mount>, EngineError> {
        let (container, mode) = from.split_once(':').unwrap_or((from, ""));
        if !matches!(mode, "" | "ro" | "rw" | "z" | "Z") {
            return Err(EngineError::invalid(
                "volumes-from",
                format!("invalid mode {mode:?}, it is ro or rw"),
            ));
        }
        let entry = identity::resolve(&self.entries(), container)?;
        let mounts = entry.live().record.config.mounts.clone();
        let shared = mounts.into_iter().filter(|mount| matches!(mount.kind, Kind::Volume | Kind::Bind));
        let adapt = |mount: Mount| Mount {
            anonymous: false,
            read_only: mount.read_only && mode != "rw" || mode == "ro",
            ..mount
        };
        Ok(shared.map(adapt).collect())
    }

    /// Makes the volumes that are missing, and fills new ones with what the image has at their target.
    pub(crate) async fn make_volumes(&self, record: &Record) -> Result<(), EngineError> {
        let layers: Vec<PathBuf> =
            record.layers.iter().rev().map(|layer| self.snapshots.layer_path(layer)).collect();
        for mount in record.config.mounts.iter().filter(|mount| mount.kind == Kind::Volume) {
            let config = VolumeConfig {
                name: mount.source.clone(),
                labels: mount.volume.labels.clone(),
                options: mount.volume.options.clone(),
                anonymous: mount.anonymous,
            };
            // The container's own record follows, and is synced with it.
            self.volumes.ensure(config, Durability::Volatile).await?;
            if !mount.volume.no_copy && mount.subpath.is_empty() {
                self.volumes.fill(&mount.source, layers.clone(), &mount.target).await?;
            }
        }
        Ok(())
    }

    /// Opens what is mounted into a container about to start, `more` beside what its record has, and says in its
    /// specification where each goes.
    pub(crate) async fn open_mounts(
        &self,
        record: &Record,
        more: Vec<Mount>,
        spec: &mut ContainerSpec,
    ) -> Result<Vec<OwnedFd>, EngineError> {
        if record.config.read_only_root
            && let Some(root) = spec.oci.root_mut()
        {
            root.set_readonly(Some(true));
        }
        let mounts: Vec<Mount> = record.config.mounts.iter().cloned().chain(more).collect();
        if mounts.is_empty() {
            return Ok(Vec::new());
        }
        let has_own_users =
            spec.oci.linux().as_ref().is_some_and(|linux| {
                linux.uid_mappings().as_ref().is_some_and(|mappings| !mappings.is_empty())
            });
        let mut images = Vec::new();
        for mount in &mounts {
            images.push(self.image_layers(record, mount).await?);
        }
        let (volumes, forbidden) =
            (self.volumes.clone(), [self.config.data_dir.clone(), self.config.run_dir.clone()]);
        let wanted = mounts.clone();
        let opened = blocking(move || {
            let open = |(mount, layers): (&Mount, Vec<PathBuf>)| match mount.kind {
                Kind::Tmpfs => Ok(None),
                Kind::Bind => open_bind(mount, &forbidden, has_own_users).map(Some),
                Kind::Volume => open_volume(&volumes, mount).map(Some),
                Kind::Image => open_image(mount, &layers).map(Some),
            };
            wanted.iter().zip(images).map(open).collect::<Result<Vec<_>, EngineError>>()
        });
        let mut descriptors = Vec::new();
        let mut asked = Vec::new();
        for (mount, descriptor) in mounts.iter().zip(opened.await?) {
            asked.push(describe(mount, descriptor.is_some().then_some(descriptors.len()))?);
            descriptors.extend(descriptor);
        }
        let known = spec.oci.mounts_mut().take().unwrap_or_default();
        spec.oci.set_mounts(Some(merge(known, &asked)));
        Ok(descriptors)
    }

    /// The layers of an image to mount, topmost first: those it had when the container was made.
    async fn image_layers(&self, record: &Record, mount: &Mount) -> Result<Vec<PathBuf>, EngineError> {
        if mount.kind != Kind::Image {
            return Ok(Vec::new());
        }
        let known = record.mounted.iter().find(|image| image.source == mount.source);
        let layers = match known {
            Some(image) => image.layers.clone(),
            // A container of an earlier version.
            None => self.image_to_mount(mount).await?.layers,
        };
        Ok(layers.iter().rev().map(|layer| self.snapshots.layer_path(layer)).collect())
    }

    async fn image_to_mount(&self, mount: &Mount) -> Result<Image, EngineError> {
        let _: Reference = mount
            .source
            .parse()
            .map_err(|error| EngineError::invalid("image to mount", format!("{error}")))?;
        let image = self.images.get_found(&mount.source).await?;
        image.ok_or_else(|| EngineError::NoSuchImage(mount.source.clone()))
    }

    /// What the images to mount into a container are now.
    pub(crate) async fn mounted_images(
        &self,
        config: &super::ContainerConfig,
    ) -> Result<Vec<MountedImage>, EngineError> {
        let mut mounted = Vec::new();
        for mount in config.mounts.iter().filter(|mount| mount.kind == Kind::Image) {
            let image = self.image_to_mount(mount).await?;
            mounted.push(MountedImage {
                source: mount.source.clone(),
                manifest: image.manifest_digest,
                layers: image.layers,
            });
        }
        Ok(mounted)
    }

    /// The names of the containers that have a volume, but for `except`.
    pub(crate) fn users_of(&self, volume: &str, except: Option<&str>) -> Vec<String> {
        let entries = self.entries();
        let uses = |entry: &&std::sync::Arc<super::record::Entry>| {
            let live = entry.live();
            Some(entry.id.as_str()) != except
                && !live.removed
                && live.record.config.mounts.iter().any(|mount| mount.is_of_volume(volume))
        };
        entries.values().filter(uses).map(|entry| entry.live().record.name.clone()).collect()
    }

    /// Removes the anonymous volumes of a container that goes, but for those that another one has too.
    pub(crate) async fn remove_anonymous(&self, record: &Record) -> Result<(), EngineError> {
        for mount in record.config.mounts.iter().filter(|mount| mount.anonymous) {
            match self.volumes.remove(&mount.source, || self.users_of(&mount.source, Some(&record.id))).await
            {
                Ok(()) | Err(volume::VolumeError::NotFound(_) | volume::VolumeError::InUse { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Unmounts the file systems of volumes that no running container has.
    pub(crate) async fn unmount_volumes(&self) -> Result<(), EngineError> {
        let used: BTreeSet<String> = {
            let entries = self.entries();
            // One that is being started has an address already, if it gets any.
            let is_running = |entry: &&std::sync::Arc<super::record::Entry>| {
                let live = entry.live();
                live.address.is_some() || live.pid.is_some()
            };
            let running = entries.values().filter(is_running);
            let sources = |entry: &std::sync::Arc<super::record::Entry>| {
                let mounts = entry.live().record.config.mounts.clone();
                mounts.into_iter().map(|mount| mount.source).collect::<Vec<_>>()
            };
            running.flat_map(sources).collect()
        };
        let volumes = self.volumes.clone();
        blocking(move || Ok(volumes.unmount_unused(|name| used.contains(name))?)).await
    }
}

fn open_bind(mount: &Mount, forbidden: &[PathBuf], has_own_users: bool) -> Result<OwnedFd, EngineError> {
    let propagation = match mount.bind.propagation {
        Some(Spread::Shared) if has_own_users => {
            let rule = format!(
                "{}: shared propagation would reach out of the container's user namespace; use rslave, or share the \
                 host's users with --userns=host",
                mount.target
            );
            return Err(EngineError::invalid("mount", rule));
        }
        Some(Spread::Shared) => Propagation::Shared,
        Some(Spread::Slave) => Propagation::Slave,
        None => Propagation::Private,
    };
    let found = source::open(Path::new(&mount.source), mount.bind.create_source, forbidden)?;
    let recursive = !mount.bind.non_recursive;
    let read_only = match mount.read_only {
        true if mount.bind.read_only_non_recursive => ReadOnly::Top,
        true => ReadOnly::All,
        false => ReadOnly::No,
    };
    finish(&found, mount, recursive, read_only, propagation)
}

fn open_volume(volumes: &volume::Volumes, mount: &Mount) -> Result<OwnedFd, EngineError> {
    let opened = volumes.open_for_mount(&mount.source)?;
    let found = volume::subpath(opened.source.as_fd(), &mount.subpath)?;
    let read_only = if mount.read_only || opened.read_only { ReadOnly::All } else { ReadOnly::No };
    finish(&found, mount, true, read_only, Propagation::Private)
}

fn open_image(mount: &Mount, layers: &[PathBuf]) -> Result<OwnedFd, EngineError> {
    let failed = |error| EngineError::file("mount image", &mount.source, error);
    let whole = detached::layers(layers).map_err(failed)?;
    if mount.subpath.is_empty() {
        return Ok(whole);
    }
    let part = volume::subpath(whole.as_fd(), &mount.subpath)?;
    refuse_link(&part, mount)?;
    let made = bind_part(whole.as_fd(), part.as_fd()).map_err(failed)?;
    detached::restrict(made.as_fd(), ReadOnly::All, Propagation::Private, false).map_err(failed)?;
    Ok(made)
}

/// A mount of `found`, which lies on the detached mount `whole`.
///
/// Kernels before 6.15 copy only what is attached. There `whole` is attached for a moment, in a mount namespace that
/// ends with the thread that made it, so that nothing stays behind whenever this is cut short.
fn bind_part(whole: BorrowedFd<'_>, found: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    match detached::bind(found, false) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => std::thread::scope(|scope| {
            let attached = || {
                detached::leave_namespace()?;
                detached::attach(whole, std::fs::File::open("/")?.as_fd())?;
                detached::bind(found, false)
            };
            let done = scope.spawn(attached).join();
            done.unwrap_or_else(|_| Err(io::Error::other("the thread that attaches it ended")))
        }),
        other => other,
    }
}

/// What was found is mounted as it is: a link would be followed by whoever uses it.
fn refuse_link(found: &OwnedFd, mount: &Mount) -> Result<(), EngineError> {
    let failed = |error| EngineError::file("mount", &mount.source, error);
    let stat = rustix::fs::fstat(found).map_err(|error| failed(error.into()))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => Err(failed(rustix::io::Errno::LOOP.into())),
        _ => Ok(()),
    }
}

/// A mount of its own of what was found.
fn finish(
    found: &OwnedFd,
    mount: &Mount,
    recursive: bool,
    read_only: ReadOnly,
    propagation: Propagation,
) -> Result<OwnedFd, EngineError> {
    let failed = |error| EngineError::file("mount", &mount.source, error);
    refuse_link(found, mount)?;
    let made = detached::bind(found.as_fd(), recursive).map_err(failed)?;
    detached::restrict(made.as_fd(), read_only, propagation, recursive).map_err(failed)?;
    detached::forbid(made.as_fd(), mount.bind.no_suid, mount.bind.no_exec, recursive).map_err(failed)?;
    Ok(made)
}

/// The mount in the words of the specification: of a descriptor its number, of a tmpfs its options.
fn describe(mount: &Mount, descriptor: Option<usize>) -> Result<OciMount, EngineError> {
    let mut options: Vec<String> = Vec::new();
    let (kind, source) = match descriptor {
        Some(number) => {
            options.extend(["rbind", "nodev", "idmap"].map(str::to_owned));
            let also = [("nosuid", mount.bind.no_suid), ("noexec", mount.bind.no_exec)];
            options.extend(also.iter().filter(|(_, asked)| *asked).map(|(word, _)| (*word).to_owned()));
            options.push(match mount.bind.propagation {
                Some(Spread::Shared) => "rshared".to_owned(),
                Some(Spread::Slave) => "rslave".to_owned(),
                None => "rprivate".to_owned(),
            });
            (DESCRIPTOR, number.to_string())
        }
        None => {
            // Docker's flags, unless the opposite is asked for.
            let is_kept =
                |flag: &&str| !mount.tmpfs.options.iter().any(|option| format!("no{option}") == **flag);
            options.extend(["nosuid", "nodev", "noexec"].into_iter().filter(is_kept).map(str::to_owned));
            options.extend(tmpfs_options(mount));
            ("tmpfs", "tmpfs".to_owned())
        }
    };
    if mount.read_only || mount.kind == Kind::Image {
        options.push("ro".to_owned());
    }
    MountBuilder::default()
        .destination(&mount.target)
        .typ(kind)
        .source(source)
        .options(options)
        .build()
        .map_err(|error| EngineError::invalid("mount", error.to_string()))
}

fn tmpfs_options(mount: &Mount) -> Vec<String> {
    let tmpfs = &mount.tmpfs;
    let mut options = tmpfs.options.clone();
    options.extend(tmpfs.size_bytes.map(|bytes| format!("size={bytes}")));
    if !options.iter().any(|option| option.starts_with("mode=")) {
        options.push(format!("mode={:o}", tmpfs.mode.unwrap_or(0o1777)));
    }
    options
}

/// The mounts asked for take the place of defaults at or below their targets, and come after those that are above
/// them.
fn merge(known: Vec<OciMount>, asked: &[OciMount]) -> Vec<OciMount> {
    let is_replaced =
        |mount: &OciMount| asked.iter().any(|other| mount.destination().starts_with(other.destination()));
    let is_file = |mount: &OciMount| mount.typ().as_deref() == Some("bind");
    let (files, mut mounts): (Vec<_>, Vec<_>) = known.into_iter().partition(is_file);
    mounts.retain(|mount| !is_replaced(mount));
    // The engine's files stay, unless the very same path is asked for.
    let is_taken = |mount: &OciMount| asked.iter().any(|other| mount.destination() == other.destination());
    let mut later: Vec<OciMount> = files.into_iter().filter(|mount| !is_taken(mount)).collect();
    later.extend(asked.iter().cloned());
    later.sort_by_key(|mount| mount.destination().components().count());
    mounts.extend(later);
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oci(kind: &str, at: &str) -> OciMount {
        let mount = MountBuilder::default().destination(at).typ(kind).source("s").options(Vec::new()).build();
        mount.unwrap()
    }

    fn order(known: &[(&str, &str)], asked: &[&str]) -> String {
        let known = known.iter().map(|(kind, at)| oci(kind, at)).collect();
        let asked: Vec<OciMount> = asked.iter().map(|at| oci(DESCRIPTOR, at)).collect();
        let merged = merge(known, &asked);
        let words: Vec<String> =
            merged.iter().map(|mount| mount.destination().display().to_string()).collect();
        words.join(" ")
    }

    #[test]
    fn mounts_come_by_depth_and_replace_defaults_at_their_place() {
        let known = [
            ("proc", "/proc"),
            ("tmpfs", "/dev"),
            ("tmpfs", "/dev/shm"),
            ("sysfs", "/sys"),
            ("cgroup", "/sys/fs/cgroup"),
            ("bind", "/etc/hosts"),
            ("bind", "/etc/hostname"),
        ];
        assert_eq!(
            order(&known, &["/etc", "/a/b/c", "/dev/shm"]),
            "/proc /dev /sys /sys/fs/cgroup /etc /etc/hosts /etc/hostname /dev/shm /a/b/c"
        );
        assert_eq!(
            order(&known, &["/etc/hosts", "/sys"]),
            "/proc /dev /dev/shm /sys /etc/hostname /etc/hosts"
        );
    }
}
