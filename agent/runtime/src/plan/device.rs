//! Device nodes that a container asks for. Pure.

use std::path::PathBuf;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};

use super::mount::destination;
use super::step::{DeviceNumber, IdMap, NewDevice, Owner};
use super::{Namespaces, PlanError, Slots};

/// Most nodes: a privileged container has all of the host's.
const MOST: usize = 2048;

/// Permissions where none are given, as in runc.
const MODE: u32 = 0o666;

const FIELD: &str = "linux.devices";

/// The nodes with their paths in the container.
pub(super) fn plan(
    asked: &[LinuxDevice],
    namespaces: &Namespaces,
    slots: &mut Slots,
) -> Result<Vec<(PathBuf, NewDevice)>, PlanError> {
    if asked.len() > MOST {
        return Err(PlanError::new(FIELD, format!("more than {MOST} entries")));
    }
    let mut devices: Vec<(PathBuf, NewDevice)> = Vec::with_capacity(asked.len());
    for device in asked {
        let path = destination(FIELD, device.path())?;
        if !path.starts_with("/dev") {
            return Err(PlanError::new(FIELD, format!("{} is not below /dev", path.display())));
        }
        let character = match device.typ() {
            LinuxDeviceType::C | LinuxDeviceType::U => true,
            LinuxDeviceType::B => false,
            _ => return Err(PlanError::new(FIELD, format!("{} is no device", path.display()))),
        };
        let number = |number: i64| {
            u32::try_from(number).map_err(|_| PlanError::new(FIELD, format!("{number} is no device number")))
        };
        let number =
            DeviceNumber { character, major: number(device.major())?, minor: number(device.minor())? };
        let owner = Owner {
            uid: outside(
                device.uid().unwrap_or(0),
                namespaces.user.as_ref().map(|maps| maps.uids.as_slice()),
            )?,
            gid: outside(
                device.gid().unwrap_or(0),
                namespaces.user.as_ref().map(|maps| maps.gids.as_slice()),
            )?,
        };
        let mode = device.file_mode().unwrap_or(MODE) & 0o777;
        devices.retain(|(known, _)| *known != path);
        devices.push((path, NewDevice { slot: slots.next(), number, mode, owner }));
    }
    Ok(devices)
}

/// The host's id of a container's.
fn outside(id: u32, maps: Option<&[IdMap]>) -> Result<u32, PlanError> {
    let Some(maps) = maps else { return Ok(id) };
    let within = |map: &&IdMap| id.checked_sub(map.container).is_some_and(|offset| offset < map.size);
    let map = maps.iter().find(within);
    map.map(|map| map.host + (id - map.container))
        .ok_or_else(|| PlanError::new(FIELD, format!("the owner {id} is not an id of the container")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_ids_of_the_container() {
        let maps = [IdMap { container: 0, host: 100_000, size: 10 }];
        assert_eq!(outside(3, Some(&maps)), Ok(100_003));
        assert!(outside(10, Some(&maps)).is_err());
        assert_eq!(outside(10, None), Ok(10));
    }
}
