//! The notation of `--volume`: `[SOURCE:]TARGET[:OPTIONS]`. A source with a slash or a dot at its beginning is a path
//! of the host, which is made when it is missing; anything else is the name of a volume.

use std::path::Path;

use proto::v1::{Mount, MountKind};

use super::absolute;

/// What was understood.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Parsed {
    pub(super) mount: Mount,
    /// An SELinux label was asked for.
    pub(super) labelled: bool,
}

pub(super) fn parse(text: &str, directory: &Path) -> Result<Parsed, String> {
    let parts: Vec<&str> = text.split(':').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(format!("invalid spec: {text}: empty section between colons"));
    }
    let (source, target, options) = match parts[..] {
        [target] => ("", target, ""),
        // `/a:ro` is a path and a wrong target in Docker too, so the target decides.
        [source, target] => (source, target, ""),
        [source, target, options] => (source, target, options),
        _ => return Err(format!("invalid volume specification: '{text}'")),
    };
    if !target.starts_with('/') {
        return Err(format!(
            "invalid volume specification: '{text}': invalid mount path: '{target}' mount path must be absolute"
        ));
    }
    let is_path = source.starts_with('/') || source.starts_with('.');
    let kind = if is_path { MountKind::Bind } else { MountKind::Volume };
    let mut mount = Mount {
        kind: kind.into(),
        source: if is_path { absolute(source, directory) } else { source.to_owned() },
        target: target.to_owned(),
        create_source: is_path,
        ..Mount::default()
    };
    let mut labelled = false;
    let mut modes = 0;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "rw" => {
                mount.read_only = option == "ro";
                modes += 1;
            }
            "z" | "Z" => labelled = true,
            "nocopy" if !is_path => mount.no_copy = true,
            "private" | "rprivate" | "slave" | "rslave" | "shared" | "rshared" if is_path => {
                if !mount.propagation.is_empty() {
                    return Err(format!("invalid mode: {options}"));
                }
                option.clone_into(&mut mount.propagation);
            }
            // Consistency, which meant something on a Mac.
            "consistent" | "cached" | "delegated" => {}
            _ => return Err(format!("invalid mode: {options}")),
        }
    }
    if modes > 1 {
        return Err(format!("invalid mode: {options}"));
    }
    Ok(Parsed { mount, labelled })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Mount, String> {
        parse(text, Path::new("/here")).map(|parsed| parsed.mount)
    }

    #[test]
    fn a_path_is_bound_and_a_name_is_a_volume() {
        let bind = parsed("/srv:/data:ro").unwrap();
        assert_eq!((bind.kind(), bind.source.as_str(), bind.read_only), (MountKind::Bind, "/srv", true));
        assert!(bind.create_source);
        assert_eq!(parsed("./x:/data").unwrap().source, "/here/x");
        let named = parsed("data:/data:nocopy").unwrap();
        assert_eq!((named.kind(), named.source.as_str(), named.no_copy), (MountKind::Volume, "data", true));
        let anonymous = parsed("/data").unwrap();
        assert_eq!((anonymous.kind(), anonymous.source.as_str()), (MountKind::Volume, ""));
        assert_eq!(parsed("/a:/b:rslave,rw").unwrap().propagation, "rslave");
        assert!(parse("/a:/b:Z", Path::new("/")).unwrap().labelled);
    }

    #[test]
    fn what_docker_refuses_is_refused_in_its_words() {
        for (text, words) in [
            ("/a::ro", "empty section between colons"),
            ("", "empty section between colons"),
            ("a:b:c:d", "invalid volume specification"),
            ("data", "mount path must be absolute"),
            ("/a:b", "mount path must be absolute"),
            ("/a:/b:odd", "invalid mode: odd"),
            ("/a:/b:ro,rw", "invalid mode"),
            ("/a:/b:nocopy", "invalid mode"),
            ("data:/b:rslave", "invalid mode"),
            ("/a:/b:slave,shared", "invalid mode"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
