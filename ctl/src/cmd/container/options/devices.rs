//! The devices of the host that a container may use.

use proto::v1::{self, CreateContainerRequest};

use super::gpus;
use crate::error::{CommandError, Kind};

/// Devices.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Devices")]
pub(super) struct Devices {
    /// A device of the host, or a directory of them: PATH[:PATH IN THE CONTAINER][:rwm]; or, by its CDI name,
    /// VENDOR/CLASS=NAME
    #[arg(long, value_name = "DEVICE")]
    device: Vec<String>,
    /// Allow devices by number, such as "c 10:200 rwm"
    #[arg(long, value_name = "RULE")]
    device_cgroup_rule: Vec<String>,
    /// Graphics processors: all, a number, or device=ID
    #[arg(long, value_name = "GPUS", allow_hyphen_values = true)]
    gpus: Option<String>,
}

impl Devices {
    pub(super) fn fill(self, request: &mut CreateContainerRequest) -> Result<(), CommandError> {
        let mut devices = v1::Devices { rules: self.device_cgroup_rule, ..v1::Devices::default() };
        if let Some(text) = self.gpus {
            let wrong = |message| CommandError::new(Kind::Usage, format!("--gpus {message}"));
            devices.names = gpus::names(&text).map_err(wrong)?;
        }
        for text in self.device {
            match text.starts_with('/') {
                true => devices.devices.push(device(&text)),
                false => devices.names.push(text),
            }
        }
        super::isolation(request).devices = Some(devices);
        Ok(())
    }
}

/// The second part is an access when it is made of its letters, as in Docker.
fn device(text: &str) -> v1::Device {
    let is_access = |part: &str| !part.is_empty() && part.chars().all(|letter| "rwm".contains(letter));
    let mut parts = text.splitn(3, ':');
    let host = parts.next().unwrap_or_default().to_owned();
    let (container, access) = match (parts.next(), parts.next()) {
        (Some(access), None) if is_access(access) => ("", access),
        (second, third) => (second.unwrap_or_default(), third.unwrap_or_default()),
    };
    v1::Device { host, container: container.to_owned(), access: access.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_docker_writes_them() {
        let read = |text| {
            let device = device(text);
            (device.host, device.container, device.access)
        };
        let expected = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(read("/dev/kvm"), expected("/dev/kvm", "", ""));
        assert_eq!(read("/dev/kvm:r"), expected("/dev/kvm", "", "r"));
        assert_eq!(read("/dev/kvm:/dev/x"), expected("/dev/kvm", "/dev/x", ""));
        assert_eq!(read("/dev/kvm:/dev/x:rw"), expected("/dev/kvm", "/dev/x", "rw"));
    }
}
