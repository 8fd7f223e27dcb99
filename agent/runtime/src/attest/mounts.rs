//! A mount table as `/proc/PID/mountinfo` shows it, and which of its mounts a path is on. Pure.

/// One mount.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mount {
    pub id: u64,
    pub parent: u64,
    /// `major:minor` of the filesystem.
    pub device: String,
    /// Which directory of the filesystem is mounted.
    pub root: String,
    /// Where, as the container sees it.
    pub point: String,
    pub options: Vec<String>,
    /// `shared:N`, `master:N`, ...
    pub propagation: Vec<String>,
    pub fstype: String,
    /// Options of the filesystem itself.
    pub filesystem_options: Vec<String>,
}

impl Mount {
    /// Whether the flag is set, for the mount or for the whole filesystem.
    pub(super) fn has(&self, flag: &str) -> bool {
        let listed = |options: &[String]| options.iter().any(|option| option == flag);
        listed(&self.options) || (flag == "ro" && listed(&self.filesystem_options))
    }
}

/// All mounts of a namespace that its process can reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mounts(pub Vec<Mount>);

impl Mounts {
    /// Lines that are none are passed over: what they would have shown is missed by whoever looks for it.
    pub(super) fn parse(mountinfo: &str) -> Mounts {
        Mounts(mountinfo.lines().filter_map(parse_line).collect())
    }

    pub(super) fn by_id(&self, id: u64) -> Option<&Mount> {
        self.0.iter().find(|mount| mount.id == id)
    }

    /// The mount that shows at `path`: the last of those stacked on each other on the way there.
    pub(super) fn visible(&self, path: &str) -> Option<&Mount> {
        let is_listed = |id: u64| self.0.iter().any(|mount| mount.id == id);
        let mut at = self
            .0
            .iter()
            .find(|mount| mount.point == "/" && (mount.parent == mount.id || !is_listed(mount.parent)))?;
        let ends = path.match_indices('/').map(|(end, _)| end).skip(1).chain([path.len()]);
        let prefixes = std::iter::once("/").chain(ends.map(|end| &path[..end]));
        for prefix in prefixes {
            // A mount over a mount has that one as its parent.
            let mut depth = 0;
            while let Some(above) = self
                .0
                .iter()
                .find(|mount| mount.parent == at.id && mount.point == prefix && mount.id != at.id)
            {
                at = above;
                depth += 1;
                if depth > self.0.len() {
                    return None;
                }
            }
        }
        Some(at)
    }
}

fn parse_line(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ');
    let words = |text: &str| text.split(',').map(str::to_owned).collect();
    let mut mount = Mount {
        id: left.next()?.parse().ok()?,
        parent: left.next()?.parse().ok()?,
        device: left.next()?.to_owned(),
        root: unescape(left.next()?),
        point: unescape(left.next()?),
        options: words(left.next()?),
        propagation: left.map(str::to_owned).collect(),
        ..Mount::default()
    };
    let mut right = right.split(' ');
    mount.fstype = right.next()?.to_owned();
    mount.filesystem_options = words(right.nth(1)?);
    Some(mount)
}

/// Blanks and backslashes are written as three octal digits.
fn unescape(text: &str) -> String {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.filter(|_| first == b'\\').and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(byte);
                rest = &after[3..];
            }
            None => {
                plain.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
        80 79 0:50 / / rw,nodev - overlay overlay rw\n\
        81 80 0:51 / /proc rw,nosuid - proc proc rw\n\
        82 81 0:52 / /proc/keys ro - tmpfs tmpfs ro\n\
        90 80 0:60 / /a\\040b rw - tmpfs tmpfs rw\n\
        garbage\n";

    #[test]
    fn the_mount_of_a_path_is_the_last_one_on_the_way() {
        let mounts = Mounts::parse(TABLE);
        let at = |path: &str| mounts.visible(path).map(|mount| mount.id);
        assert_eq!(
            [at("/"), at("/etc/x"), at("/proc/self"), at("/proc/keys"), at("/a b/c")],
            [Some(80), Some(80), Some(81), Some(82), Some(90)]
        );
    }

    #[test]
    fn a_mount_over_proc_hides_the_masks_below_it() {
        let mounts = Mounts::parse(&format!("{TABLE}95 81 0:99 / /proc rw - proc proc rw\n"));
        assert_eq!(mounts.visible("/proc/keys").map(|mount| mount.id), Some(95));
    }

    #[test]
    fn read_only_is_so_by_the_mount_or_by_its_filesystem() {
        let mounts = Mounts::parse("1 0 0:1 / / rw - ext4 /dev/x ro,data=ordered\n");
        assert!(mounts.0[0].has("ro") && !mounts.0[0].has("nodev"));
    }
}
