//! Devices by the Container Device Interface (CDI): files in which a vendor says what a container needs to use a
//! device, by names such as `nvidia.com/gpu=0`.
//!
//! # Vocabulary
//! - A **specification** is a file in one of the directories of the configuration. It has a **kind**
//!   (`vendor/class`), devices by name, and edits.
//! - **Edits** are what is changed of a container: device nodes, mounts, variables, groups.
//! - A **name** is a kind and a device, `vendor/class=device`. `all` means every device of the kind, unless the
//!   vendor calls something so.
//!
//! Files are read anew at each use: drivers rewrite them. A directory later in the list goes over earlier ones, device
//! by device; two files of one directory that have the same device are an error.
//!
//! What asks for a device is always the request. Files belong to the host's administrator: one that others than root
//! may write is refused. Deliberately absent: hooks, which would run programs of the host beside a container's files.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

mod name;
mod specification;

pub use self::name::{Kind, Name};
use self::specification::Specification;
pub use self::specification::{DeviceNode, Edits, Mount};

/// Where vendors put specifications; the later goes over the earlier.
pub const DIRECTORIES: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// Most files of a directory that are read.
const MOST_FILES: usize = 256;
/// Longest file, in bytes.
const LONGEST: u64 = 4 << 20;

/// Why a device cannot be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CdiError {
    /// A name that is none.
    #[error("{0:?} is no CDI name; expected VENDOR/CLASS=DEVICE, for example nvidia.com/gpu=0")]
    Name(String),
    /// No specification has it.
    #[error("no device {name}: {known}{hint}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
        /// What to do, and which files could not be read.
        hint: String,
    },
    /// Two files of one directory have it.
    #[error("{name} is in two specifications, {} and {}; remove one of them", files[0].display(), files[1].display())]
    Twice {
        /// What was asked for.
        name: String,
        /// The two.
        files: Box<[PathBuf; 2]>,
    },
    /// The specification asks for what is not done.
    #[error("{name}: {} asks for {what}", file.display())]
    Unsupported {
        /// What was asked for.
        name: String,
        /// In which file it is.
        file: PathBuf,
        /// What is not done, and what to do instead.
        what: String,
    },
}

/// The specifications of a host as they are at this moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registry {
    directories: Vec<PathBuf>,
    devices: BTreeMap<Kind, BTreeMap<String, Vec<Found>>>,
    unreadable: Vec<(PathBuf, String)>,
}

/// A device, where it is, and what comes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    file: PathBuf,
    /// Position of its directory: the last counts.
    rank: usize,
    /// Those of its file, which all its devices share.
    common: Edits,
    own: Edits,
}

impl Registry {
    /// Reads every specification in these directories. Blocking. A file that cannot be used is kept as
    /// [`Registry::unreadable`].
    pub fn read(directories: &[PathBuf]) -> Registry {
        let mut registry = Registry { directories: directories.to_vec(), ..Registry::default() };
        for (rank, directory) in directories.iter().enumerate() {
            let Ok(entries) = fs::read_dir(directory) else { continue };
            let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
            files.sort();
            for file in files.into_iter().take(MOST_FILES) {
                match file.extension().and_then(|extension| extension.to_str()) {
                    Some("json" | "yaml" | "yml") => {}
                    _ => continue,
                }
                match text_of(&file).and_then(|text| read_specification(&file, &text)) {
                    Ok(specification) => registry.add(&file, rank, specification),
                    Err(reason) => registry.unreadable.push((file, reason)),
                }
            }
        }
        registry
    }

    fn add(&mut self, file: &Path, rank: usize, specification: Specification) {
        let Specification { kind, devices, common } = specification;
        let of_kind = self.devices.entry(kind).or_default();
        for (name, own) in devices {
            let found = Found { file: file.to_owned(), rank, common: common.clone(), own };
            of_kind.entry(name).or_default().push(found);
        }
    }

    /// The directories that were looked into.
    pub fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// The names of all devices.
    pub fn names(&self) -> Vec<String> {
        let of_kind = |(kind, devices): (&Kind, &BTreeMap<String, Vec<Found>>)| {
            devices.keys().map(|device| format!("{kind}={device}")).collect::<Vec<_>>()
        };
        self.devices.iter().flat_map(of_kind).collect()
    }

    /// Files that could not be used, and why.
    pub fn unreadable(&self) -> &[(PathBuf, String)] {
        &self.unreadable
    }

    /// What a container gets that is given these devices, in their order.
    ///
    /// # Errors
    /// When a name is none, nobody has the device, or what comes with it is not done here.
    pub fn edits(&self, names: &[String]) -> Result<Edits, CdiError> {
        let mut files: Vec<&Path> = Vec::new();
        let mut edits = Edits::default();
        for text in names {
            let name: Name = text.parse()?;
            for (device, found) in self.find(&name)? {
                let whole = format!("{}={device}", name.kind);
                let refused =
                    |what| CdiError::Unsupported { name: whole.clone(), file: found.file.clone(), what };
                if !files.contains(&found.file.as_path()) {
                    files.push(&found.file);
                    edits.extend(&found.common).map_err(refused)?;
                }
                edits.extend(&found.own).map_err(refused)?;
            }
        }
        Ok(edits)
    }

    /// The device of this name, or all of its kind.
    fn find(&self, name: &Name) -> Result<Vec<(String, &Found)>, CdiError> {
        let Some(of_kind) = self.devices.get(&name.kind) else { return Err(self.unknown(name)) };
        let wanted: Vec<&String> = match of_kind.get_key_value(&name.device) {
            Some((device, _)) => vec![device],
            None if name.device == "all" => of_kind.keys().collect(),
            None => return Err(self.unknown(name)),
        };
        let last = |device: &String| {
            let found = of_kind.get(device).map(Vec::as_slice).unwrap_or_default();
            let highest = found.iter().map(|one| one.rank).max();
            let mut those = found.iter().filter(|one| Some(one.rank) == highest);
            match (those.next(), those.next()) {
                (Some(one), None) => Ok((device.clone(), one)),
                (Some(one), Some(other)) => Err(CdiError::Twice {
                    name: format!("{}={device}", name.kind),
                    files: Box::new([one.file.clone(), other.file.clone()]),
                }),
                (None, _) => Err(self.unknown(name)),
            }
        };
        wanted.into_iter().map(last).collect()
    }

    fn unknown(&self, name: &Name) -> CdiError {
        let directories: Vec<String> = self.directories.iter().map(|dir| dir.display().to_string()).collect();
        let of_kind: Vec<&str> = self
            .devices
            .get(&name.kind)
            .into_iter()
            .flat_map(|devices| devices.keys().map(String::as_str))
            .collect();
        let known = match of_kind.is_empty() {
            true => {
                format!("no CDI specification in {} is of the kind {}", directories.join(" or "), name.kind)
            }
            false => format!("{} has {}", name.kind, of_kind.join(", ")),
        };
        let mut hint = String::new();
        if of_kind.is_empty() && name.kind.vendor() == "nvidia.com" {
            hint.push_str(
                "; with NVIDIA's container toolkit:  nvidia-ctk cdi generate --disable-hook=all --output=/etc/cdi/nvidia.yaml",
            );
        }
        for (file, reason) in self.unreadable.iter().take(3) {
            hint.push_str(&format!("; {} was not read: {reason}", file.display()));
        }
        CdiError::Unknown { name: name.to_string(), known, hint }
    }
}

/// The text of a file that only root can have written.
fn text_of(file: &Path) -> Result<String, String> {
    let opened = fs::File::open(file).map_err(|error| error.to_string())?;
    let found = opened.metadata().map_err(|error| error.to_string())?;
    if !found.is_file() {
        return Err("it is no file".to_owned());
    }
    if found.uid() != 0 || found.mode() & 0o022 != 0 {
        return Err("others than root may write it; chown root and chmod go-w it".to_owned());
    }
    let mut text = String::new();
    let read = opened.take(LONGEST + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    match u64::try_from(read) {
        Ok(read) if read <= LONGEST => Ok(text),
        _ => Err(format!("it has more than {LONGEST} bytes")),
    }
}

/// JSON in a file that is called so, else YAML, of which JSON is a part.
fn read_specification(file: &Path, text: &str) -> Result<Specification, String> {
    match file.extension().is_some_and(|extension| extension == "json") {
        true => Specification::parse(text),
        false => Specification::parse_yaml(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specification(kind: &str, devices: &[(&str, &str)]) -> String {
        let devices: Vec<String> = devices
            .iter()
            .map(|(name, edits)| format!("{{\"name\": \"{name}\", \"containerEdits\": {edits}}}"))
            .collect();
        let common = "{\"env\": [\"COMMON=1\"]}";
        format!(
            "{{\"cdiVersion\": \"0.8.0\", \"kind\": \"{kind}\", \"devices\": [{}], \"containerEdits\": {common}}}",
            devices.join(", ")
        )
    }

    /// Directories `0`, `1`, ... with these files.
    fn registry(files: &[(&str, String)]) -> (tempfile::TempDir, Registry) {
        let scratch = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let path = scratch.path().join(path);
            fs::create_dir_all(path.parent().expect("a directory")).expect("made");
            fs::write(&path, text).expect("written");
        }
        let directories = ["0", "1", "none"].map(|name| scratch.path().join(name));
        let registry = Registry::read(&directories);
        (scratch, registry)
    }

    fn env(registry: &Registry, names: &[&str]) -> Result<String, String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        registry.edits(&names).map(|edits| edits.env.join(" ")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_device_brings_its_edits_and_those_of_its_file_once() {
        let (_scratch, registry) = registry(&[(
            "0/a.json",
            specification(
                "v.com/net",
                &[("one", "{\"env\": [\"ONE=1\"]}"), ("two", "{\"env\": [\"TWO=1\"]}")],
            ),
        )]);
        assert_eq!(env(&registry, &["v.com/net=two"]), Ok("COMMON=1 TWO=1".into()));
        assert_eq!(env(&registry, &["v.com/net=all"]), Ok("COMMON=1 ONE=1 TWO=1".into()));
        assert_eq!(registry.names(), ["v.com/net=one", "v.com/net=two"]);
    }

    #[test]
    fn a_vendor_may_call_something_all() {
        let (_scratch, registry) = registry(&[(
            "0/a.json",
            specification(
                "v.com/net",
                &[("one", "{\"env\": [\"ONE=1\"]}"), ("all", "{\"env\": [\"ALL=1\"]}")],
            ),
        )]);
        assert_eq!(env(&registry, &["v.com/net=all"]), Ok("COMMON=1 ALL=1".into()));
    }

    #[test]
    fn a_later_directory_goes_over_an_earlier_one_and_two_files_of_one_are_an_error() {
        let of =
            |value: &str| specification("v.com/net", &[("one", &format!("{{\"env\": [\"X={value}\"]}}"))]);
        let (_scratch, layered) = registry(&[("0/a.json", of("0")), ("1/a.json", of("1"))]);
        assert_eq!(env(&layered, &["v.com/net=one"]), Ok("COMMON=1 X=1".into()));
        let (_scratch, doubled) = registry(&[("1/a.json", of("0")), ("1/b.json", of("1"))]);
        assert!(env(&doubled, &["v.com/net=one"]).unwrap_err().contains("two specifications"));
    }

    #[test]
    fn what_nobody_has_says_what_there_is_and_what_was_not_read() {
        let (_scratch, registry) = registry(&[
            ("0/a.json", specification("v.com/net", &[("one", "{\"env\": [\"A=1\"]}")])),
            ("0/nvidia.yaml", "cdiVersion: 0.8.0\nkind: nvidia.com/gpu\ndevices: 7\n".to_owned()),
            ("0/bad.json", "{\"cdiVersion\"".to_owned()),
        ]);
        let said = env(&registry, &["v.com/net=three"]).unwrap_err();
        assert!(said.contains("has one"), "{said}");
        let said = env(&registry, &["nvidia.com/gpu=all"]).unwrap_err();
        assert!(
            said.contains("nvidia-ctk") && said.contains("nvidia.yaml") && said.contains("devices"),
            "{said}"
        );
        assert!(said.contains("bad.json"), "{said}");
        assert!(env(&registry, &["/dev/null"]).unwrap_err().contains("no CDI name"));
    }

    #[test]
    fn a_file_that_others_may_write_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let text = specification("v.com/net", &[("one", "{\"env\": [\"A=1\"]}")]);
        let (scratch, before) = registry(&[("0/a.json", text)]);
        assert!(env(&before, &["v.com/net=one"]).is_ok());
        let file = scratch.path().join("0/a.json");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("changed");
        let after = Registry::read(&[scratch.path().join("0")]);
        assert!(env(&after, &["v.com/net=one"]).unwrap_err().contains("others than root"));
    }
}
