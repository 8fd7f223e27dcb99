//! Trees that come back as they were: packed by GNU tar in both of its formats, unpacked by us, compared file by file.
//! And what overlayfs itself makes of our whiteouts. Needs root.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use rustix::fs::{
    CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, makedev, mknodat, setxattr, utimensat,
};

use super::Limits;
use super::hostile::{Yard, dir, file, listing};

fn run(program: &str, arguments: &[&OsStr]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A tree with what a Debian root has: links of both kinds, devices, odd modes, owners, names and times.
fn tree(root: &Path) {
    let long = format!("usr/share/{}/{}", "l".repeat(120), "m".repeat(150));
    for name in ["etc", "usr/bin", "dev", "tmp", "var/lib", "home/user", &long] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
    fs::write(root.join("etc/shadow"), "").unwrap();
    fs::write(root.join("usr/bin/sudo"), vec![1; 300_000]).unwrap();
    fs::write(root.join(&long).join("ä name with\nnewline"), "x").unwrap();
    fs::write(root.join("home/user/ping"), "y").unwrap();
    symlink("usr/bin", root.join("bin")).unwrap();
    symlink("/run", root.join("var/run")).unwrap();
    symlink(format!("{long}/target"), root.join("long-link")).unwrap();
    fs::hard_link(root.join("usr/bin/sudo"), root.join("usr/bin/sudoedit")).unwrap();
    mknodat(CWD, root.join("dev/null"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(1, 3))
        .unwrap();
    mknodat(CWD, root.join("dev/loop"), FileType::BlockDevice, Mode::from_raw_mode(0o660), makedev(7, 300))
        .unwrap();
    mknodat(CWD, root.join("dev/pipe"), FileType::Fifo, Mode::from_raw_mode(0o622), 0).unwrap();
    for (name, uid, gid) in
        [("home/user", 1000, 1000), ("home/user/ping", 1000, 100_000), ("etc/shadow", 0, 42)]
    {
        chown(root.join(name), Some(uid), Some(gid)).unwrap();
    }
    for (name, mode) in [
        ("usr/bin/sudo", 0o4755),
        ("tmp", 0o1777),
        ("var/lib", 0o2775),
        ("etc/shadow", 0o640),
        ("etc", 0o555),
    ] {
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    setxattr(root.join("home/user/ping"), "user.note", b"two\nlines", XattrFlags::empty()).unwrap();
    // Version 2, effective, CAP_NET_RAW.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    setxattr(root.join("home/user/ping"), "security.capability", &capability, XattrFlags::empty()).unwrap();
    let time = Timespec { tv_sec: 1_700_000_000, tv_nsec: 123_456_789 };
    let times = Timestamps { last_access: time, last_modification: time };
    for name in ["etc/passwd", "var/lib", "", "etc"] {
        utimensat(CWD, root.join(name), &times, rustix::fs::AtFlags::empty()).unwrap();
    }
}

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 1000];
    rustix::fs::getxattr(path, name, &mut value[..]).ok().map(|length| value[..length].to_vec())
}

#[test]
fn a_debian_like_tree_comes_back_as_it_was() {
    for format in ["--format=pax", "--format=gnu"] {
        let source = tempfile::tempdir().unwrap();
        fs::set_permissions(source.path(), fs::Permissions::from_mode(0o751)).unwrap();
        tree(source.path());
        let options = [format, "--xattrs", "--xattrs-include=*", "--numeric-owner", "-C"].map(OsStr::new);
        let rest = [source.path().as_os_str(), OsStr::new("-cf"), OsStr::new("-"), OsStr::new(".")];
        // With --xattrs GNU tar insists on its PAX format.
        let options =
            if format.ends_with("gnu") { [&options[..1], &options[3..]].concat() } else { options.to_vec() };
        let archive = run("tar", &[&options[..], &rest].concat());
        let yard = Yard::new();
        let unpacked = yard.unpack(&archive, &Limits::default()).unwrap();
        assert_eq!(unpacked.bytes, 300_000 + 26 + 2);
        let strip = |lines: Vec<String>| {
            let whole_seconds = |line: String| line.replace(".123456789 ", ".000000000 ");
            // The older format has no room for fractions, and the tree was made just now.
            if format.ends_with("gnu") {
                lines.into_iter().map(whole_seconds).map(|l| without_time(&l)).collect()
            } else {
                lines
            }
        };
        assert_eq!(strip(listing(&yard.layer())), strip(listing(source.path())), "{format}");
        if format.ends_with("pax") {
            for name in ["user.note", "security.capability"] {
                let path = "home/user/ping";
                let (there, here) =
                    (attribute(&source.path().join(path), name), attribute(&yard.layer().join(path), name));
                assert!(there.is_some() && there == here, "{name}: {there:?} {here:?}");
            }
        }
    }
}

/// Drops the sixth column of a listing, the time.
fn without_time(line: &str) -> String {
    let is_time =
        |word: &&str| word.split_once('.').is_some_and(|(left, right)| left.len() == 10 && right.len() == 9);
    line.split(' ').filter(|word| !is_time(word)).collect::<Vec<_>>().join(" ")
}

#[test]
fn overlayfs_hides_what_our_whiteouts_say() {
    let base = Yard::new();
    let lower = [
        dir("./"),
        dir("kept"),
        file("kept/a", b"base"),
        file("kept/b", b"base"),
        dir("opaque"),
        file("opaque/old", b""),
        file("gone", b""),
    ]
    .concat();
    base.unpack(&lower, &Limits::default()).unwrap();
    let top = Yard::new();
    let upper = [
        dir("./"),
        dir("kept"),
        file("kept/.wh.a", b""),
        file("kept/c", b"top"),
        dir("opaque"),
        file("opaque/.wh..wh..opq", b""),
        file("opaque/new", b""),
        file(".wh.gone", b""),
    ]
    .concat();
    top.unpack(&upper, &Limits::default()).unwrap();
    let target = tempfile::tempdir().unwrap();
    // A mount namespace of its own: nothing stays mounted, whatever happens.
    let script = "mount -t overlay overlay -o lowerdir=\"$1\":\"$2\" \"$3\" && cd \"$3\" && find . | sort";
    let arguments = [
        OsStr::new("--mount"),
        OsStr::new("sh"),
        OsStr::new("-ec"),
        OsStr::new(script),
        OsStr::new("sh"),
        top.layer().as_os_str().to_owned().leak(),
        base.layer().as_os_str().to_owned().leak(),
        target.path().as_os_str(),
    ];
    let seen = String::from_utf8(run("unshare", &arguments)).unwrap();
    assert_eq!(seen, ".\n./kept\n./kept/b\n./kept/c\n./opaque\n./opaque/new\n");
}
