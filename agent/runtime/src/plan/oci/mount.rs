//! Mounts, devices, links, masked and read-only paths of an OCI configuration. Pure.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxDeviceType, LinuxIdMapping, Mount, Spec};

use super::super::step::{DeviceNumber, HostStep, InitStep, Owner};
use super::super::{PlanError, Slots};
use super::options::Options;
use super::step::{NewMount, Node, OciHostStep, OciStep};
use super::{Bundle, Isolation};

/// Steps in the places the order demands.
#[derive(Default)]
pub(super) struct Mounts {
    pub before: Vec<HostStep>,
    pub after: Vec<HostStep>,
    pub init: Vec<InitStep>,
    pub seal: Vec<InitStep>,
}

/// Devices every container has, by path and number.
const DEVICES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Most mounts, devices and paths of each kind.
const MOST: usize = 4096;

pub(super) fn plan(
    oci: &Spec,
    linux: &Linux,
    bundle: &Bundle<'_>,
    isolation: &Isolation,
    slots: &mut Slots,
) -> Result<Mounts, PlanError> {
    let mut plan = Mounts::default();
    let mounts = oci.mounts().as_deref().unwrap_or_default();
    bounded("mounts", mounts.len())?;
    for mount in mounts {
        plan.add(mount, bundle, isolation, slots)?;
    }
    let hosts_dev =
        mounts.iter().any(|mount| mount.destination() == Path::new("/dev") && Options::is_bind(mount));
    if hosts_dev || !isolation.mount {
        if linux.devices().as_ref().is_some_and(|devices| !devices.is_empty()) && !isolation.mount {
            return Err(PlanError::new("linux.devices", "need a mount namespace"));
        }
    } else {
        plan.add_devices(linux, isolation, slots)?;
        plan.init.push(InitStep::Oci(OciStep::DefaultLinks));
    }
    let paths = |field: &str, listed: &Option<Vec<String>>| -> Result<Vec<PathBuf>, PlanError> {
        let listed = listed.as_deref().unwrap_or_default();
        bounded(field, listed.len())?;
        listed.iter().map(|path| inside(field, Path::new(path), false)).collect()
    };
    let masked = paths("linux.maskedPaths", linux.masked_paths())?;
    let read_only = paths("linux.readonlyPaths", linux.readonly_paths())?;
    let sealed = oci.root().as_ref().is_some_and(|root| root.readonly().unwrap_or(false));
    if !isolation.mount && (!masked.is_empty() || !read_only.is_empty() || sealed) {
        return Err(PlanError::new("linux.namespaces", "paths can only be hidden in a mount namespace"));
    }
    plan.seal.extend(read_only.into_iter().map(InitStep::ReadOnly));
    plan.seal.extend(masked.into_iter().map(InitStep::Mask));
    if sealed {
        plan.seal.push(InitStep::ReadOnlyRoot);
    }
    Ok(plan)
}

impl Mounts {
    fn add(
        &mut self,
        mount: &Mount,
        bundle: &Bundle<'_>,
        isolation: &Isolation,
        slots: &mut Slots,
    ) -> Result<(), PlanError> {
        let at = inside("mounts.destination", mount.destination(), true)?;
        let field = format!("mounts[{}]", at.display());
        if !isolation.mount {
            return Err(PlanError::new(field, "needs a mount namespace"));
        }
        let options = Options::parse(&field, mount.options().as_deref().unwrap_or_default())?;
        if options.remount {
            self.init.push(InitStep::Oci(OciStep::Remount { at, attributes: options.attributes }));
            return Ok(());
        }
        if Options::is_bind(mount) {
            return self.add_bind(&field, mount, at, &options, bundle, isolation, slots);
        }
        if options.id_map.is_some() || mount.uid_mappings().is_some() || mount.gid_mappings().is_some() {
            return Err(PlanError::new(field, "only bind mounts can be shown through an id map"));
        }
        let fstype = mount.typ().clone().unwrap_or_default();
        let source = mount.source().as_ref().map(|source| source.display().to_string());
        let attributes = options.attributes;
        match fstype.as_str() {
            "" | "none" => return Err(PlanError::new(field, "has neither a type nor the option bind")),
            "cgroup" | "cgroup2" => {
                self.before.push(HostStep::OpenCgroupTrees);
                self.init.push(InitStep::MountCgroupTrees { at, attributes });
            }
            _ => {
                let propagation = options.propagation.unwrap_or(0);
                let (options, copy_up) = (options.data, options.copy_up);
                let mount = NewMount { fstype, source, options, attributes, propagation, copy_up };
                self.init.push(InitStep::Oci(OciStep::Mount { mount, at }));
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "each is one thing the caller has at hand")]
    fn add_bind(
        &mut self,
        field: &str,
        mount: &Mount,
        at: PathBuf,
        options: &Options,
        bundle: &Bundle<'_>,
        isolation: &Isolation,
        slots: &mut Slots,
    ) -> Result<(), PlanError> {
        let source = mount.source().as_deref().filter(|source| !source.as_os_str().is_empty());
        let source = source.ok_or_else(|| PlanError::new(field, "a bind mount needs a source"))?;
        // Joined, an absolute source stays what it is.
        let source = bundle.directory.join(source);
        let slot = slots.next();
        self.before.push(HostStep::Oci(OciHostStep::OpenBind {
            slot,
            source,
            recursive: options.recursive,
            attributes: options.attributes,
            below: options.below,
            propagation: options.propagation.unwrap_or(isolation.default_propagation),
        }));
        let own = |maps: &Option<Vec<LinuxIdMapping>>| maps.as_ref().is_some_and(|maps| !maps.is_empty());
        match (own(mount.uid_mappings()), own(mount.gid_mappings()), options.id_map) {
            (true, true, recursive) => {
                let maps = super::namespace::maps(field, mount.uid_mappings(), mount.gid_mappings())?;
                let recursive = recursive.unwrap_or(false);
                self.before.push(HostStep::Oci(OciHostStep::MapBind { slot, recursive, maps }));
            }
            (false, false, Some(_)) if isolation.user => self.after.push(HostStep::MapBind(slot)),
            (false, false, Some(_)) => {
                return Err(PlanError::new(field, "idmap needs mappings or a user namespace"));
            }
            (false, false, None) => {}
            _ => return Err(PlanError::new(field, "needs both uidMappings and gidMappings, or neither")),
        }
        self.init.push(InitStep::Oci(OciStep::AttachBind { slot, at }));
        Ok(())
    }

    fn add_devices(
        &mut self,
        linux: &Linux,
        isolation: &Isolation,
        slots: &mut Slots,
    ) -> Result<(), PlanError> {
        let root = Owner { uid: 0, gid: 0 };
        let mut devices: Vec<(PathBuf, Node)> = DEVICES
            .map(|(path, major, minor)| {
                (PathBuf::from(path), Node { kind: 'c', major, minor, mode: 0o666, owner: root })
            })
            .into();
        let asked = linux.devices().as_deref().unwrap_or_default();
        bounded("linux.devices", asked.len())?;
        for device in asked {
            let path = inside("linux.devices.path", device.path(), false)?;
            let kind = match device.typ() {
                LinuxDeviceType::C | LinuxDeviceType::U => 'c',
                LinuxDeviceType::B => 'b',
                LinuxDeviceType::P => 'p',
                LinuxDeviceType::A => {
                    return Err(PlanError::new(
                        "linux.devices.type",
                        format!("{} is no device", path.display()),
                    ));
                }
            };
            let number = |number: i64| {
                u32::try_from(number)
                    .map_err(|_| PlanError::new("linux.devices", format!("{number} is no device number")))
            };
            let owner = Owner { uid: device.uid().unwrap_or(0), gid: device.gid().unwrap_or(0) };
            let mode = device.file_mode().unwrap_or(0o666) & 0o7777;
            let (major, minor) = (number(device.major())?, number(device.minor())?);
            devices.retain(|(known, _)| *known != path);
            devices.push((path, Node { kind, major, minor, mode, owner }));
        }
        for (path, node) in devices {
            if isolation.user && node.kind != 'p' {
                // A user namespace's owner may not make nodes: the host's own is shown.
                let slot = slots.next();
                let (major, minor) = (node.major, node.minor);
                let number = DeviceNumber { character: node.kind == 'c', major, minor };
                self.before.push(HostStep::OpenDevice { slot, path: path.clone(), number });
                self.init.push(InitStep::BindDevice { slot, at: path });
            } else {
                self.init.push(InitStep::Oci(OciStep::MakeDevice { at: path, node }));
            }
        }
        Ok(())
    }
}

/// A path inside the container. Old configurations may have relative destinations, which count from its root.
fn inside(field: &str, path: &Path, relative: bool) -> Result<PathBuf, PlanError> {
    let text = path.to_str().ok_or_else(|| PlanError::new(field, "is not text"))?;
    let climbs = path.components().any(|part| part == Component::ParentDir);
    if text.is_empty() || text.len() > 4000 || text.contains('\0') || climbs {
        return Err(PlanError::new(field, format!("{text:?} is not a path without '..'")));
    }
    match path.is_absolute() {
        true => Ok(path.to_owned()),
        false if relative => Ok(Path::new("/").join(path)),
        false => Err(PlanError::new(field, format!("{text:?} is not an absolute path"))),
    }
}

fn bounded(field: &str, count: usize) -> Result<(), PlanError> {
    if count > MOST {
        return Err(PlanError::new(field, format!("more than {MOST} entries")));
    }
    Ok(())
}
