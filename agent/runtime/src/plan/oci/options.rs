//! Mount options by the names of the specification, sorted into what they mean. Pure.

use oci_spec::runtime::Mount;

use super::super::PlanError;
use super::super::step::Attributes;

/// What the options of one mount say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// Of the mount itself.
    pub attributes: Attributes,
    /// Of it and the mounts below it.
    pub below: Attributes,
    /// For the filesystem.
    pub data: Vec<String>,
    pub bind: bool,
    pub recursive: bool,
    pub remount: bool,
    pub propagation: Option<u64>,
    /// Whether with the mounts below.
    pub id_map: Option<bool>,
    pub copy_up: bool,
}

/// Names that set bits (`true`) or clear them. With an `r` in front they mean the mounts below too.
const ATTRIBUTES: [(&str, u64, bool); 18] = [
    ("ro", libc::MOUNT_ATTR_RDONLY, true),
    ("rw", libc::MOUNT_ATTR_RDONLY, false),
    ("nosuid", libc::MOUNT_ATTR_NOSUID, true),
    ("suid", libc::MOUNT_ATTR_NOSUID, false),
    ("nodev", libc::MOUNT_ATTR_NODEV, true),
    ("dev", libc::MOUNT_ATTR_NODEV, false),
    ("noexec", libc::MOUNT_ATTR_NOEXEC, true),
    ("exec", libc::MOUNT_ATTR_NOEXEC, false),
    ("nodiratime", libc::MOUNT_ATTR_NODIRATIME, true),
    ("diratime", libc::MOUNT_ATTR_NODIRATIME, false),
    ("nosymfollow", libc::MOUNT_ATTR_NOSYMFOLLOW, true),
    ("symfollow", libc::MOUNT_ATTR_NOSYMFOLLOW, false),
    ("noatime", libc::MOUNT_ATTR_NOATIME, true),
    ("atime", libc::MOUNT_ATTR_NOATIME, false),
    ("strictatime", libc::MOUNT_ATTR_STRICTATIME, true),
    ("nostrictatime", libc::MOUNT_ATTR_STRICTATIME, false),
    ("relatime", libc::MOUNT_ATTR_RELATIME, true),
    ("norelatime", libc::MOUNT_ATTR_RELATIME, false),
];

/// Every option with a meaning of its own, for those who ask what is supported.
pub(crate) fn names() -> Vec<String> {
    let plain = ATTRIBUTES.iter().map(|(name, ..)| (*name).to_owned());
    let recursive = ATTRIBUTES.iter().map(|(name, ..)| format!("r{name}"));
    let others = [
        "async",
        "bind",
        "defaults",
        "dirsync",
        "idmap",
        "lazytime",
        "mand",
        "nolazytime",
        "nomand",
        "private",
        "rbind",
        "remount",
        "ridmap",
        "rprivate",
        "rshared",
        "rslave",
        "runbindable",
        "shared",
        "silent",
        "loud",
        "slave",
        "sync",
        "tmpcopyup",
        "unbindable",
    ];
    let mut names: Vec<String> = plain.chain(recursive).chain(others.map(str::to_owned)).collect();
    names.sort();
    names
}

impl Options {
    /// Whether a mount shows a part of the host.
    pub(super) fn is_bind(mount: &Mount) -> bool {
        let bind = |option: &String| option == "bind" || option == "rbind";
        mount.typ().as_deref() == Some("bind") || mount.options().iter().flatten().any(bind)
    }

    pub(super) fn parse(field: &str, given: &[String]) -> Result<Options, PlanError> {
        let mut options = Options::default();
        for option in given {
            if let Some((bits, set)) = attribute(option) {
                options.attributes.change(bits, set);
            } else if let Some((bits, set)) = option.strip_prefix('r').and_then(attribute) {
                options.below.change(bits, set);
            } else {
                options.other(field, option)?;
            }
        }
        Ok(options)
    }

    fn other(&mut self, field: &str, option: &str) -> Result<(), PlanError> {
        match option {
            "bind" => self.bind = true,
            "rbind" => (self.bind, self.recursive) = (true, true),
            "remount" => self.remount = true,
            "private" | "rprivate" => self.propagation = Some(libc::MS_PRIVATE),
            "slave" | "rslave" => self.propagation = Some(libc::MS_SLAVE),
            "shared" | "rshared" => self.propagation = Some(libc::MS_SHARED),
            "unbindable" | "runbindable" => self.propagation = Some(libc::MS_UNBINDABLE),
            "idmap" => self.id_map = Some(false),
            "ridmap" => self.id_map = Some(true),
            "tmpcopyup" => self.copy_up = true,
            // Defaults; what a new instance of devpts has been since Linux 4.7; what no kernel acts upon any more.
            "defaults" | "async" | "newinstance" | "nolazytime" | "nomand" | "loud" | "silent" | "mand"
            | "iversion" | "noiversion" | "" => {}
            _ if option.contains('\0') => {
                return Err(PlanError::new(field, "an option that is not text"));
            }
            _ => self.data.push(option.to_owned()),
        }
        Ok(())
    }
}

fn attribute(name: &str) -> Option<(u64, bool)> {
    ATTRIBUTES.iter().find(|(known, ..)| *known == name).map(|(_, bits, set)| (*bits, *set))
}

impl Attributes {
    /// Sets or clears `bits`; the last word of several counts. The access times are one field, not bits.
    fn change(&mut self, bits: u64, set: bool) {
        const TIMES: u64 = libc::MOUNT_ATTR__ATIME;
        let is_time = bits & TIMES != 0 || bits == libc::MOUNT_ATTR_RELATIME;
        if is_time {
            self.clear |= TIMES;
            self.set &= !TIMES;
            // What is not asked for any more gives way to the kernel's default.
            self.set |= if set { bits } else { libc::MOUNT_ATTR_RELATIME };
        } else if set {
            self.set |= bits;
            self.clear &= !bits;
        } else {
            self.clear |= bits;
            self.set &= !bits;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(given: &[&str]) -> Options {
        let given: Vec<String> = given.iter().map(|option| (*option).to_owned()).collect();
        Options::parse("mounts[/x]", &given).expect("options")
    }

    #[test]
    fn the_last_of_two_opposites_counts() {
        let options = parse(&["ro", "nodev", "rw"]);
        assert_eq!(options.attributes.set, libc::MOUNT_ATTR_NODEV);
        assert_eq!(options.attributes.clear, libc::MOUNT_ATTR_RDONLY);
        assert_eq!(parse(&["rro", "rrw", "rro"]).below.set, libc::MOUNT_ATTR_RDONLY);
    }

    #[test]
    fn recursive_words_are_not_confused_with_their_like() {
        let options = parse(&["rbind", "rslave", "relatime", "rnosuid", "rrelatime", "ro"]);
        assert!(options.bind && options.recursive && options.data.is_empty());
        assert_eq!(options.propagation, Some(libc::MS_SLAVE));
        assert_eq!(options.attributes.set, libc::MOUNT_ATTR_RDONLY);
        assert_eq!(options.attributes.clear, libc::MOUNT_ATTR__ATIME);
        assert_eq!(options.below.set, libc::MOUNT_ATTR_NOSUID);
    }

    #[test]
    fn what_is_for_the_filesystem_is_kept_in_order() {
        assert_eq!(parse(&["mode=755", "nosuid", "size=1m"]).data, ["mode=755", "size=1m"]);
    }
}
