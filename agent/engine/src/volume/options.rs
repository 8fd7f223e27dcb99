//! Options of the local driver, as Docker has them: `type`, `device`, `o` (as `mount -o`), `size`. Pure, but for
//! looking up the name of a server.

use std::collections::BTreeMap;
use std::net::ToSocketAddrs;

use super::VolumeError;

/// What the options mean.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Instead of a directory of the engine.
    pub(crate) elsewhere: Option<Elsewhere>,
    /// Most bytes in a directory of the engine.
    pub(crate) size: Option<u64>,
}

/// Where a volume is that is no directory of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Elsewhere {
    /// A directory of the host.
    Bind {
        /// Absolute.
        device: String,
        /// Without write access.
        read_only: bool,
    },
    /// A file system that is mounted for it.
    System(System),
}

/// A file system to be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct System {
    pub(crate) fstype: String,
    pub(crate) device: String,
    /// `key=value` or bare words, flags of the mount itself left out.
    pub(crate) options: Vec<String>,
    pub(crate) read_only: bool,
}

impl Options {
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.elsewhere.is_some()
    }
}

pub(crate) fn parse(name: &str, given: &BTreeMap<String, String>) -> Result<Options, VolumeError> {
    let of = |rule: String| VolumeError::Option { name: name.to_owned(), rule };
    if let Some(unknown) = given.keys().find(|key| !["type", "device", "o", "size"].contains(&key.as_str())) {
        return Err(of(format!("invalid option: {unknown:?}; there are type, device, o and size")));
    }
    if given.values().any(|value| value.contains('\0') || value.len() > 4000) {
        return Err(of("an option's value is no text of at most 4000 bytes".to_owned()));
    }
    let get = |key: &str| given.get(key).map(String::as_str).filter(|value| !value.is_empty());
    let (fstype, device, flags) = (get("type"), get("device"), get("o"));
    let size = get("size").map(|text| {
        bytes(text).ok_or_else(|| of(format!("size {text:?} is not a number of bytes, like 10g")))
    });
    let size = size.transpose()?;
    let words: Vec<&str> = flags.unwrap_or_default().split(',').filter(|word| !word.is_empty()).collect();
    let is_bind = words.iter().any(|word| ["bind", "rbind"].contains(word)) || fstype == Some("bind");
    let read_only = words.contains(&"ro");
    let elsewhere = match (fstype, device) {
        (None, None) if flags.is_none() => None,
        (_, None) => return Err(of("missing device in volume options".to_owned())),
        (_, Some(device)) if is_bind && device.starts_with('/') => {
            Some(Elsewhere::Bind { device: device.to_owned(), read_only })
        }
        (_, Some(device)) if is_bind => {
            return Err(of(format!("the device {device:?} of a bind must be an absolute path")));
        }
        (None, Some(_)) => return Err(of("missing required option: \"type\"".to_owned())),
        (Some(fstype), Some(device)) => Some(Elsewhere::System(System {
            fstype: fstype.to_owned(),
            device: device.to_owned(),
            options: words.iter().filter(|word| !is_flag(word)).map(|word| (*word).to_owned()).collect(),
            read_only,
        })),
    };
    match (&elsewhere, size) {
        (Some(_), Some(_)) => {
            Err(of("size limits a directory of the engine; with type and device, say size in o".to_owned()))
        }
        (_, Some(0)) => Err(of("a size of 0 holds nothing".to_owned())),
        _ => Ok(Options { elsewhere, size }),
    }
}

/// Flags of the mount rather than of its file system.
fn is_flag(word: &str) -> bool {
    let flags =
        ["ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "noatime", "relatime", "defaults"];
    flags.contains(&word)
}

/// `10g`, `512m`, `1024`: powers of 1024, as Docker has them.
fn bytes(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let plain = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
    let (digits, power) = match plain.char_indices().last()? {
        (end, unit) if unit.is_ascii_alphabetic() => (&plain[..end], "kmgtp".find(unit)? + 1),
        _ => (plain, 0),
    };
    let number: u64 = digits.parse().ok()?;
    number.checked_mul(1024_u64.checked_pow(u32::try_from(power).ok()?)?)
}

impl System {
    /// The options with the server's name in `addr=` looked up, since the kernel takes an address only. Blocking.
    pub(crate) fn resolved(&self, name: &str) -> Result<Vec<String>, VolumeError> {
        let resolve = |option: &String| {
            let Some(server) = option.strip_prefix("addr=").filter(|_| self.fstype.starts_with("nfs")) else {
                return Ok(option.clone());
            };
            let found = (server, 0).to_socket_addrs().ok().and_then(|mut all| all.next());
            let found = found.ok_or_else(|| VolumeError::Option {
                name: name.to_owned(),
                rule: format!("the server {server:?} in addr= has no address"),
            })?;
            Ok(format!("addr={}", found.ip()))
        };
        self.options.iter().map(resolve).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(given: &[(&str, &str)]) -> Result<Options, String> {
        let given = given.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        parse("v", &given).map_err(|error| error.to_string())
    }

    #[test]
    fn dockers_examples_mean_what_they_mean_there() {
        assert_eq!(parsed(&[]).unwrap(), Options::default());
        let tmpfs =
            parsed(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=100m,uid=1000,nosuid")]).unwrap();
        let Some(Elsewhere::System(system)) = tmpfs.elsewhere else { panic!("a file system") };
        assert_eq!(
            (system.fstype.as_str(), system.options.join(",")),
            ("tmpfs", "size=100m,uid=1000".to_owned())
        );
        let nfs =
            parsed(&[("type", "nfs"), ("o", "addr=127.0.0.1,ro,vers=4"), ("device", ":/export")]).unwrap();
        let Some(Elsewhere::System(system)) = nfs.elsewhere else { panic!("a file system") };
        assert!(system.read_only && system.device == ":/export");
        assert_eq!(system.resolved("v").unwrap(), ["addr=127.0.0.1", "vers=4"]);
        let bind = parsed(&[("type", "none"), ("o", "bind"), ("device", "/srv")]).unwrap();
        assert_eq!(bind.elsewhere, Some(Elsewhere::Bind { device: "/srv".into(), read_only: false }));
        assert_eq!(parsed(&[("size", "10g")]).unwrap().size, Some(10 << 30));
    }

    #[test]
    fn options_that_cannot_be_meant_are_refused() {
        for bad in [
            &[("kind", "x")][..],
            &[("type", "nfs")],
            &[("device", "/dev/sdb1")],
            &[("o", "bind"), ("device", "relative")],
            &[("o", "ro")],
            &[("size", "0")],
            &[("size", "much")],
            &[("size", "99999999t")],
            &[("size", "1g"), ("type", "tmpfs"), ("device", "tmpfs")],
        ] {
            assert!(parsed(bad).is_err(), "{bad:?}");
        }
    }
}
