//! The notation of `--mount`: fields `KEY=VALUE` with commas between them, as in a line of a CSV file. Keys and
//! refusals are Docker's.

use std::path::Path;

use proto::v1::{Mount, MountKind};

use super::absolute;

pub(super) fn parse(text: &str, directory: &Path) -> Result<Mount, String> {
    let mut fields = Fields::default();
    for field in split(text)? {
        fields.take(&field, text)?;
    }
    fields.finish(directory)
}

/// The fields of a line: a field in double quotes may have commas, and two quotes for one.
fn split(text: &str) -> Result<Vec<String>, String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let Some(field) = fields.last_mut() else { break };
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            '"' => return Err(format!("bare '\"' in {text:?}: quote the whole field")),
            ',' if !quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    if quoted { Err(format!("a '\"' without its end in {text:?}")) } else { Ok(fields) }
}

/// What was read so far.
#[derive(Debug, Default)]
struct Fields {
    mount: Mount,
    kind: Option<MountKind>,
    recursive: Option<String>,
    /// Keys that only one kind has.
    of_kind: Vec<String>,
}

impl Fields {
    fn take(&mut self, field: &str, text: &str) -> Result<(), String> {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), value),
            None => (field.to_ascii_lowercase(), ""),
        };
        let has_value = field.contains('=');
        let flags = ["readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src"];
        if !has_value && !flags.contains(&key.as_str()) {
            return Err(format!("invalid field '{field}' must be a key=value pair"));
        }
        let flag = || if has_value { truth(&key, value) } else { Ok(true) };
        if key.starts_with("bind-")
            || key.starts_with("volume-")
            || key.starts_with("tmpfs-")
            || key.starts_with("image-")
        {
            self.of_kind.push(key.clone());
        }
        let mount = &mut self.mount;
        match key.as_str() {
            "type" => self.kind = Some(kind(value)?),
            "source" | "src" => value.clone_into(&mut mount.source),
            "target" | "dst" | "destination" => value.clone_into(&mut mount.target),
            "readonly" | "ro" => mount.read_only = flag()?,
            "consistency" => {}
            "bind-propagation" => value.clone_into(&mut mount.propagation),
            "bind-nonrecursive" => mount.non_recursive = flag()?,
            "bind-recursive" => self.recursive = Some(value.to_owned()),
            "bind-create-src" => mount.create_source = flag()?,
            "volume-subpath" | "image-subpath" => value.clone_into(&mut mount.subpath),
            "volume-nocopy" => mount.no_copy = flag()?,
            "volume-driver" => value.clone_into(&mut mount.driver),
            "volume-label" => insert(&mut mount.labels, value),
            "volume-opt" => insert(&mut mount.driver_options, value),
            "tmpfs-size" => {
                mount.tmpfs_size_bytes =
                    bytes(value).ok_or_else(|| format!("invalid value for {key}: {value}"))?;
            }
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(value, 8);
                mount.tmpfs_mode = Some(mode.map_err(|_| format!("invalid value for {key}: {value}"))?);
            }
            _ => return Err(format!("unexpected key '{key}' in '{text}'")),
        }
        Ok(())
    }

    fn finish(mut self, directory: &Path) -> Result<Mount, String> {
        let kind = self.kind.unwrap_or(MountKind::Volume);
        let name = match kind {
            MountKind::Bind => "bind",
            MountKind::Volume => "volume",
            MountKind::Tmpfs => "tmpfs",
            MountKind::Image => "image",
        };
        if self.mount.target.is_empty() {
            return Err("target is required".to_owned());
        }
        for key in &self.of_kind {
            let owner = key.split('-').next().unwrap_or_default();
            if owner != name {
                return Err(format!("cannot mix '{owner}-*' options with mount type '{name}'"));
            }
        }
        if let Some(how) = self.recursive.take() {
            self.recursive(&how)?;
        }
        if kind == MountKind::Bind {
            self.mount.source = absolute(&self.mount.source, directory);
        }
        if kind == MountKind::Image {
            self.mount.read_only = true;
        }
        self.mount.kind = kind.into();
        Ok(self.mount)
    }

    fn recursive(&mut self, how: &str) -> Result<(), String> {
        let needs = |what: &str| {
            format!("option 'bind-recursive={how}' requires '{what}' to be specified in conjunction")
        };
        match how {
            "enabled" => {}
            "disabled" => self.mount.non_recursive = true,
            "writable" if !self.mount.read_only => return Err(needs("readonly")),
            "writable" => self.mount.read_only_non_recursive = true,
            // What read-only is here anyway.
            "readonly" if !self.mount.read_only => return Err(needs("readonly")),
            "readonly" if self.mount.propagation != "rprivate" => {
                return Err(needs("bind-propagation=rprivate"));
            }
            "readonly" => {}
            other => {
                return Err(format!(
                    "invalid value for bind-recursive: {other} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
                ));
            }
        }
        Ok(())
    }
}

fn kind(value: &str) -> Result<MountKind, String> {
    Ok(match value.to_ascii_lowercase().as_str() {
        "bind" => MountKind::Bind,
        "volume" => MountKind::Volume,
        "tmpfs" => MountKind::Tmpfs,
        "image" => MountKind::Image,
        other => {
            return Err(format!(
                "mount type {other:?} is not supported; there are bind, volume, tmpfs and image"
            ));
        }
    })
}

/// As Go reads them.
fn truth(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("invalid value for {key}: {value}")),
    }
}

fn insert(map: &mut std::collections::HashMap<String, String>, pair: &str) {
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    map.insert(key.to_owned(), value.to_owned());
}

/// `64m`, `1g`, `4096`: powers of 1024.
fn bytes(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let plain = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
    let unit = plain.chars().last().filter(char::is_ascii_alphabetic);
    let power = unit.map_or(Some(0), |unit| "kmgtp".find(unit).map(|at| at + 1))?;
    let number: u64 = plain.trim_end_matches(|letter: char| letter.is_ascii_alphabetic()).parse().ok()?;
    number.checked_mul(1024_u64.checked_pow(u32::try_from(power).ok()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Mount, String> {
        parse(text, Path::new("/here"))
    }

    #[test]
    fn every_key_has_its_meaning() {
        let bind =
            parsed("type=bind,src=./x,dst=/data,ro,bind-propagation=rslave,bind-recursive=writable").unwrap();
        assert_eq!(
            (bind.kind(), bind.source.as_str(), bind.target.as_str()),
            (MountKind::Bind, "/here/x", "/data")
        );
        assert!(bind.read_only && bind.read_only_non_recursive && bind.propagation == "rslave");
        assert!(!bind.create_source);
        let volume = parsed("src=v,target=/d,volume-nocopy=true,volume-subpath=a/b,volume-label=k=v,\"volume-opt=o=addr=1.2.3.4,rw\"").unwrap();
        assert_eq!(
            (volume.kind(), volume.subpath.as_str(), volume.no_copy),
            (MountKind::Volume, "a/b", true)
        );
        assert_eq!(volume.driver_options["o"], "addr=1.2.3.4,rw");
        assert_eq!(volume.labels["k"], "v");
        let tmpfs = parsed("type=tmpfs,destination=/t,tmpfs-size=64m,tmpfs-mode=1770").unwrap();
        assert_eq!((tmpfs.tmpfs_size_bytes, tmpfs.tmpfs_mode), (64 << 20, Some(0o1770)));
        let image = parsed("type=image,source=busybox,target=/i,image-subpath=bin").unwrap();
        assert!(image.read_only && image.kind() == MountKind::Image && image.subpath == "bin");
        assert!(!parsed("type=bind,src=/a,dst=/b,readonly=false").unwrap().read_only);
    }

    #[test]
    fn wrong_combinations_are_refused_in_dockers_words() {
        for (text, words) in [
            ("type=bind,source=/a", "target is required"),
            ("type=bind,source=/a,target", "must be a key=value pair"),
            ("type=bind,source=/a,target=/b,odd=1", "unexpected key 'odd'"),
            (
                "type=bind,source=/a,target=/b,volume-nocopy",
                "cannot mix 'volume-*' options with mount type 'bind'",
            ),
            (
                "source=v,target=/b,bind-propagation=rslave",
                "cannot mix 'bind-*' options with mount type 'volume'",
            ),
            (
                "type=tmpfs,target=/b,volume-label=x=y",
                "cannot mix 'volume-*' options with mount type 'tmpfs'",
            ),
            ("type=bind,source=/a,target=/b,ro=maybe", "invalid value for ro: maybe"),
            ("type=bind,source=/a,target=/b,bind-recursive=writable", "requires 'readonly'"),
            (
                "type=bind,source=/a,target=/b,ro,bind-recursive=readonly",
                "requires 'bind-propagation=rprivate'",
            ),
            ("type=bind,source=/a,target=/b,bind-recursive=odd", "must be \"enabled\""),
            ("type=odd,target=/b", "is not supported"),
            ("type=tmpfs,target=/b,tmpfs-size=much", "invalid value for tmpfs-size"),
            ("type=tmpfs,target=/b,tmpfs-mode=9", "invalid value for tmpfs-mode"),
            ("\"type=bind", "without its end"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
