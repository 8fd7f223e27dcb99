//! Hostile archives: each is unpacked beside a canary tree that must not change by a bit. Needs root, as unpacking does.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::header::{BLOCK, Block};
use super::{Limits, UnpackError, Unpacked, unpack};

/// One raw tar entry with whatever fields a test wants, and a right checksum.
pub(super) struct Raw {
    block: Block,
    data: Vec<u8>,
}

impl Raw {
    pub(super) fn new(kind: u8, name: &[u8]) -> Self {
        let mut raw = Self { block: [0; BLOCK], data: Vec::new() };
        raw.put(0, name).put(100, b"0000755\0").put(108, b"0000000\0").put(116, b"0000000\0");
        raw.put(124, b"00000000000\0").put(136, b"00000000000\0").put(156, &[kind]).put(257, b"ustar\x0000");
        raw
    }

    pub(super) fn put(&mut self, at: usize, bytes: &[u8]) -> &mut Self {
        self.block[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(super) fn link(mut self, target: &[u8]) -> Self {
        self.put(157, target);
        self
    }

    pub(super) fn data(mut self, data: &[u8]) -> Self {
        self.put(124, format!("{:011o}\0", data.len()).as_bytes());
        self.data = data.to_vec();
        self
    }

    pub(super) fn bytes(mut self) -> Vec<u8> {
        self.put(148, b"        ");
        let sum: u32 = self.block.iter().map(|byte| u32::from(*byte)).sum();
        self.put(148, format!("{sum:06o}\0 ").as_bytes());
        let mut bytes = self.block.to_vec();
        bytes.extend_from_slice(&self.data);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }
}

pub(super) fn file(name: &str, data: &[u8]) -> Vec<u8> {
    Raw::new(b'0', name.as_bytes()).data(data).bytes()
}

pub(super) fn dir(name: &str) -> Vec<u8> {
    Raw::new(b'5', name.as_bytes()).bytes()
}

pub(super) fn link(kind: u8, name: &str, target: &str) -> Vec<u8> {
    Raw::new(kind, name.as_bytes()).link(target.as_bytes()).bytes()
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in records {
        let body = key.len() + value.len() + 3;
        let mut length = body + 1;
        while length != body + length.to_string().len() {
            length = body + length.to_string().len();
        }
        data.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
    }
    Raw::new(b'x', b"PaxHeaders/x").data(&data).bytes()
}

fn sized(name: &str, header_size: &str, data: &[u8]) -> Vec<u8> {
    let mut raw = Raw::new(b'0', name.as_bytes());
    raw.put(124, header_size.as_bytes());
    raw.data = data.to_vec();
    raw.bytes()
}

/// A layer directory with a canary beside it.
pub(super) struct Yard {
    dir: tempfile::TempDir,
    before: Vec<String>,
}

impl Yard {
    pub(super) fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "unpacking sets owners and makes devices: run this test as root"
        );
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("layer")).unwrap();
        let canary = dir.path().join("canary");
        fs::create_dir(&canary).unwrap();
        fs::write(canary.join("secret"), "secret").unwrap();
        symlink("secret", canary.join("link")).unwrap();
        let before = listing(&canary);
        Self { dir, before }
    }

    pub(super) fn layer(&self) -> PathBuf {
        self.dir.path().join("layer")
    }

    pub(super) fn unpack(&self, archive: &[u8], limits: &Limits) -> Result<Unpacked, UnpackError> {
        let root = fs::File::open(self.layer()).unwrap();
        let outcome = unpack(archive, root.as_fd(), limits);
        assert_eq!(listing(&self.dir.path().join("canary")), self.before, "the canary changed");
        let beside: Vec<_> =
            fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(beside.len(), 2, "something appeared beside the layer: {beside:?}");
        outcome
    }
}

/// Everything that can be seen of a tree, a line per file.
pub(super) fn listing(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut waiting = vec![root.to_path_buf()];
    while let Some(path) = waiting.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let content = if metadata.is_file() {
            String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned()
        } else if metadata.is_symlink() {
            fs::read_link(&path).unwrap().display().to_string()
        } else {
            String::new()
        };
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let time = format!("{}.{:09}", metadata.mtime(), metadata.mtime_nsec());
        let (mode, uid, gid, device) = (metadata.mode(), metadata.uid(), metadata.gid(), metadata.rdev());
        lines.push(format!("{name} {mode:o} {uid}:{gid} {device:x} {} {time} {content}", metadata.nlink()));
        if metadata.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    lines.sort();
    lines
}

fn unpack_parts(parts: &[Vec<u8>]) -> Result<Unpacked, UnpackError> {
    Yard::new().unpack(&parts.concat(), &Limits::default())
}

#[test]
fn archives_that_reach_outside_are_refused() {
    let outside = "../canary/secret";
    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("traversal", vec![file(outside, b"x")]),
        ("traversal in the middle", vec![file("a/../../canary/secret", b"x")]),
        ("traversal by a directory", vec![dir("../canary")]),
        ("traversal by PAX", vec![pax(&[("path", outside)]), file("safe", b"x")]),
        (
            "traversal by a GNU long name",
            vec![Raw::new(b'L', b"l").data(outside.as_bytes()).bytes(), file("safe", b"x")],
        ),
        (
            "traversal by a prefix",
            vec![{
                let mut raw = Raw::new(b'0', b"secret");
                raw.put(345, b"../canary");
                raw.bytes()
            }],
        ),
        ("write through a symlink", vec![link(b'2', "up", "../canary"), file("up/secret", b"x")]),
        ("write through an absolute symlink", vec![link(b'2', "up", "/"), file("up/tmp/x", b"x")]),
        (
            "write through a chain",
            vec![link(b'2', "a", ".."), link(b'2', "b", "a/canary"), file("b/secret", b"x")],
        ),
        ("directory below a symlink", vec![link(b'2', "up", "../canary"), dir("up/new")]),
        ("symlink below a symlink", vec![link(b'2', "up", "../canary"), link(b'2', "up/new", "x")]),
        ("whiteout below a symlink", vec![link(b'2', "up", "../canary"), file("up/.wh.secret", b"")]),
        ("opaque below a symlink", vec![link(b'2', "up", "../canary"), file("up/.wh..wh..opq", b"")]),
        ("device below a symlink", vec![link(b'2', "up", "../canary"), Raw::new(b'6', b"up/fifo").bytes()]),
        ("magic link", vec![link(b'2', "up", "/proc/self/cwd"), file("up/x", b"x")]),
        ("hard link outside", vec![link(b'1', "stolen", outside)]),
        ("hard link to the host", vec![link(b'1', "stolen", "/etc/passwd")]),
        (
            "hard link through a symlink",
            vec![link(b'2', "up", "../canary"), link(b'1', "stolen", "up/secret")],
        ),
        ("hard link to a directory", vec![dir("d"), link(b'1', "e", "d")]),
        ("hard link to itself", vec![link(b'1', "a", "./a")]),
        ("hard link to nothing", vec![link(b'1', "a", "b")]),
        ("whiteout of the parent", vec![file("d/.wh...", b"")]),
        ("whiteout of the directory", vec![file("d/.wh..", b"")]),
        ("whiteout of nothing", vec![file(".wh.", b"")]),
        ("file below a whiteout", vec![file(".wh.d/x", b"")]),
        ("device that overlay takes for a whiteout", vec![Raw::new(b'3', b"d").bytes()]),
        ("file as the root", vec![file("./", b"x")]),
        ("file with a slash", vec![file("d/", b"")]),
        ("NUL in a PAX path", vec![pax(&[("path", "a\0b")]), file("safe", b"x")]),
        ("empty link target", vec![link(b'2', "a", "")]),
        ("user id that wraps to root", vec![pax(&[("uid", "4294967296")]), file("a", b"x")]),
        ("user id that means none", vec![pax(&[("uid", "4294967295")]), file("a", b"x")]),
    ];
    for (label, parts) in cases {
        assert!(unpack_parts(&parts).is_err(), "{label} was accepted");
    }
}

#[test]
fn archives_that_programs_read_differently_are_refused() {
    let inner = file("hidden", b"x");
    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("two sizes", vec![pax(&[("size", "1024")]), sized("a", "00000001000\0", &inner), file("b", b"")]),
        ("size twice", vec![pax(&[("size", "0"), ("size", "1024")]), file("a", b"")]),
        ("two PAX headers", vec![pax(&[("path", "a")]), pax(&[("path", "b")]), file("c", b"")]),
        (
            "two long names",
            vec![
                Raw::new(b'L', b"l").data(b"a").bytes(),
                Raw::new(b'L', b"l").data(b"b").bytes(),
                file("c", b""),
            ],
        ),
        (
            "long name and path differ",
            vec![Raw::new(b'L', b"l").data(b"a").bytes(), pax(&[("path", "b")]), file("c", b"")],
        ),
        (
            "global path",
            vec![
                {
                    let mut global = pax(&[("path", "evil")]);
                    global[156] = b'g';
                    let mut raw = Raw::new(b'g', b"g").data(&global[512..512 + 13]);
                    raw.put(0, b"g");
                    raw.bytes()
                },
                file("a", b""),
            ],
        ),
        ("symlink with data", vec![Raw::new(b'2', b"a").link(b"b").data(&inner).bytes()]),
        ("hard link with data", vec![file("a", b""), Raw::new(b'1', b"b").link(b"a").data(&inner).bytes()]),
        ("directory with data", vec![Raw::new(b'5', b"a").data(&inner).bytes()]),
        ("zero block in the middle", vec![file("a", b""), vec![0; 512], file("b", b"")]),
        ("extension at the end", vec![pax(&[("path", "a")])]),
        ("sparse", vec![Raw::new(b'S', b"a").bytes()]),
        ("PAX sparse", vec![pax(&[("GNU.sparse.major", "1")]), file("a", b"")]),
        ("unknown type", vec![Raw::new(b'Z', b"a").bytes()]),
        (
            "checksum",
            vec![{
                let mut bytes = file("a", b"");
                bytes[0] = b'b';
                bytes
            }],
        ),
        ("ends within a block", vec![file("a", b"data")[..700].to_vec()]),
        ("ends within a file", vec![file("a", &[1; 2000])[..1024].to_vec()]),
        ("negative size", vec![sized("a", "\u{7f}", b"")]),
        ("huge size", vec![pax(&[("size", "18446744073709551615")]), sized("a", "00000000000\0", b"")]),
    ];
    for (label, parts) in cases {
        assert!(unpack_parts(&parts).is_err(), "{label} was accepted");
    }
}

#[test]
fn bombs_end_at_their_limit() {
    let limits = Limits { entries: 10, total_bytes: 10_000, remembered_bytes: 2_000, ..Limits::default() };
    let many: Vec<u8> = (0..11).flat_map(|n| file(&format!("f{n}"), b"")).collect();
    let large = [file("a", &[0; 6_000]), file("b", &[0; 6_000])].concat();
    let dirs: Vec<u8> = (0..10).flat_map(|n| dir(&format!("{}{n}", "d".repeat(90)).repeat(1))).collect();
    let name = "n".repeat(200);
    let dirs =
        [dirs, (0..10).flat_map(|n| [pax(&[("path", &format!("{name}{n}"))]), dir("x")].concat()).collect()]
            .concat();
    // Both would be accepted but for their length: a comment means nothing, and a name may be stated and outdone.
    let header = [pax(&[("comment", &"a".repeat(2 << 20))]), file("a", b"")].concat();
    let long_name =
        [Raw::new(b'L', b"p").data(&[b"a\0".to_vec(), vec![b'a'; 2 << 20]].concat()).bytes(), file("a", b"")]
            .concat();
    let deep = [pax(&[("path", &"d/".repeat(300))]), dir("x")].concat();
    let long = [pax(&[("path", &"abc/".repeat(1100))]), dir("x")].concat();
    for (label, archive) in [
        ("entries", many),
        ("bytes", large),
        ("directories", dirs),
        ("PAX header", header),
        ("long name", long_name),
        ("deep", deep),
        ("long", long),
    ] {
        assert!(Yard::new().unpack(&archive, &limits).is_err(), "{label} was accepted");
    }
}

#[test]
fn what_is_odd_but_harmless_stays_inside() {
    let yard = Yard::new();
    let archive = [
        file("/absolute", b"1"),
        link(b'2', "up", "../canary/secret"),
        file("up", b"2"),
        link(b'2', "dir", "../canary"),
        dir("dir"),
        file("dir/inside", b"3"),
        file("replaced", b"old"),
        link(b'1', "second", "replaced"),
        file("replaced", b"new"),
        dir("tree/below"),
        file("tree/below/x", b""),
        file("tree", b"4"),
        file(".wh..wh.aufs", b"skipped"),
        file(".wh..wh.plnk/1.2", b"skipped"),
    ]
    .concat();
    yard.unpack(&archive, &Limits::default()).unwrap();
    let read = |name: &str| fs::read_to_string(yard.layer().join(name)).unwrap();
    assert_eq!((read("absolute"), read("up"), read("dir/inside")), ("1".into(), "2".into(), "3".into()));
    assert_eq!((read("replaced"), read("second"), read("tree")), ("new".into(), "old".into(), "4".into()));
    assert_eq!(fs::read_dir(yard.layer()).unwrap().count(), 6, "{:?}", listing(&yard.layer()));
}

#[test]
fn attributes_that_speak_to_the_host_or_to_overlay_are_dropped() {
    let yard = Yard::new();
    let archive = [
        pax(&[
            ("SCHILY.xattr.user.kept", "1"),
            ("SCHILY.xattr.user.overlay.opaque", "y"),
            ("SCHILY.xattr.trusted.overlay.redirect", "/etc"),
            ("SCHILY.xattr.security.selinux", "system_u:object_r:shadow_t:s0"),
        ]),
        dir("d"),
    ]
    .concat();
    yard.unpack(&archive, &Limits::default()).unwrap();
    let mut names = vec![0; 1000];
    let length = rustix::fs::listxattr(yard.layer().join("d"), &mut names[..]).unwrap();
    assert_eq!(&names[..length], b"user.kept\0");
}

#[test]
fn whiteouts_take_overlays_form_whatever_their_order() {
    let yard = Yard::new();
    let archive = [
        file("gone/.wh.file", b""),
        file("opaque/.wh..wh..opq", b""),
        file("opaque/new", b""),
        file(".wh.dir-then", b""),
        dir("dir-then"),
        dir("then-dir"),
        file(".wh.then-dir", b""),
        file(".wh.file-then", b""),
        file("file-then", b"x"),
        file(".wh.implied", b""),
        file("implied/x", b""),
    ]
    .concat();
    yard.unpack(&archive, &Limits::default()).unwrap();
    let metadata = |name: &str| fs::symlink_metadata(yard.layer().join(name)).unwrap();
    let gone = metadata("gone/file");
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    for name in ["opaque", "dir-then", "then-dir", "implied"] {
        let mut value = [0; 10];
        let length = rustix::fs::getxattr(yard.layer().join(name), super::whiteout::OPAQUE.0, &mut value[..]);
        assert_eq!(length.map(|length| value[..length].to_vec()), Ok(b"y".to_vec()), "{name}");
    }
    assert!(metadata("file-then").is_file());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn no_sequence_of_entries_touches_the_canary(
        parts in prop::collection::vec((
            prop::sample::select(vec![b'0', b'1', b'2', b'5', b'6', b'x', b'L']),
            "(\\.\\./|/|a/|b/|\\.wh\\.|c){1,4}", "(\\.\\./|/|a|b|canary/|secret){1,3}",
        ), 1..12),
    ) {
        let archive: Vec<u8> = parts.iter().flat_map(|(kind, name, target)| match kind {
            b'x' => pax(&[("path", name)]),
            b'L' => Raw::new(b'L', b"l").data(name.as_bytes()).bytes(),
            b'0' => file(name, b"data"),
            _ => link(*kind, name, target),
        }).collect();
        // Accepted or refused: the yard looks at the canary.
        let _ = Yard::new().unpack(&archive, &Limits::default());
    }

    #[test]
    fn no_bytes_make_unpacking_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let _ = Yard::new().unpack(&bytes, &Limits::default());
    }
}
