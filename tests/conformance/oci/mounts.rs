//! config.md, mounts, and config-linux.md, default filesystems, root propagation, masked and read-only paths.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use super::lab::Lab;
use super::{Case, case};

/// The configuration with one more mount.
fn mounted(lab: &Lab, script: &str, mount: Value) -> Value {
    lab.changed(script, |c| c["mounts"].as_array_mut().expect("mounts").push(mount))
}

fn source(lab: &Lab, name: &str) -> String {
    let path = lab.path(name);
    fs::create_dir_all(&path).expect("a directory");
    fs::write(path.join("file"), "of the host\n").expect("a file");
    path.display().to_string()
}

/// A directory of the host with a mount of its own below it.
struct Nested(std::path::PathBuf);

impl Nested {
    fn new(lab: &Lab) -> Nested {
        let below = lab.path("nested/below");
        fs::create_dir_all(&below).expect("a directory");
        let below = below.display().to_string();
        itest::programs::succeed(std::process::Command::new("mount").args(["-t", "tmpfs", "tmpfs", &below]));
        fs::write(lab.path("nested/below/inner"), "x").expect("a file");
        Nested(lab.path("nested"))
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.join("below")).output();
    }
}

/// The options of the mount at `point` in a container's `/proc/self/mountinfo`.
fn options(mountinfo: &str, point: &str) -> String {
    let line = mountinfo.lines().rfind(|line| line.split(' ').nth(4) == Some(point));
    line.unwrap_or_else(|| panic!("no {point} in {mountinfo}"))
        .split(' ')
        .nth(5)
        .unwrap_or_default()
        .to_owned()
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = binds();
    cases.extend(filesystems());
    cases.extend(paths());
    cases
}

fn binds() -> Vec<Case> {
    [binds_first(), binds_second()].into_iter().flatten().collect()
}

fn binds_first() -> Vec<Case> {
    vec![
        case("a directory of the host is bound and may be written to", |lab| {
            let source = source(lab, "source");
            let mount =
                json!({"destination": "/data", "type": "bind", "source": source, "options": ["bind"]});
            let out = lab.run(&mounted(lab, "cat /data/file; echo new > /data/new", mount)).good();
            assert_eq!((out.as_str(), lab.read("source/new").as_str()), ("of the host\n", "new\n"));
        }),
        case("a single file is bound, and its target is made", |lab| {
            let source = format!("{}/file", source(lab, "source"));
            let mount = json!({"destination": "/deep/er/file", "source": source, "options": ["rbind"]});
            assert_eq!(lab.run(&mounted(lab, "cat /deep/er/file", mount)).good(), "of the host\n");
        }),
        case("a relative source is relative to the bundle", |lab| {
            source(lab, "source");
            let mount =
                json!({"destination": "/data", "type": "bind", "source": "source", "options": ["bind"]});
            assert_eq!(lab.run(&mounted(lab, "cat /data/file", mount)).good(), "of the host\n");
        }),
        case("a source that is not there is an error", |lab| {
            let mount =
                json!({"destination": "/x", "type": "bind", "source": "/no/such", "options": ["bind"]});
            lab.create_refused(&mounted(lab, "true", mount));
        }),
        case("the options ro, nosuid, nodev and noexec take effect on a bind", |lab| {
            let source = source(lab, "source");
            let options_asked = ["bind", "ro", "nosuid", "nodev", "noexec"];
            let mount =
                json!({"destination": "/data", "type": "bind", "source": source, "options": options_asked});
            let script =
                "cat /proc/self/mountinfo; if echo x > /data/new; then echo written; fi 2> /dev/null";
            let out = lab.run(&mounted(lab, script, mount)).good();
            let found = options(&out, "/data");
            for option in &options_asked[1..] {
                assert!(found.split(',').any(|word| word == *option), "{option} in {found}");
            }
            assert!(!out.contains("written"));
        }),
        case("bind shows the directory alone, rbind the mounts below it too", |lab| {
            let nested = Nested::new(lab);
            for (option, seen) in [("bind", "no\n"), ("rbind", "yes\n")] {
                let mount =
                    json!({"destination": "/data", "type": "bind", "source": nested.0, "options": [option]});
                let script = "if test -e /data/below/inner; then echo yes; else echo no; fi";
                assert_eq!(lab.run(&mounted(lab, script, mount)).good(), seen, "{option}");
            }
        }),
    ]
}

fn binds_second() -> Vec<Case> {
    vec![
        case("ro is for the mount itself, rro for those below it too", |lab| {
            let nested = Nested::new(lab);
            for (option, written) in [("ro", "yes\n"), ("rro", "no\n")] {
                let mount = json!(
                    {"destination": "/data", "type": "bind", "source": nested.0, "options": ["rbind", option]}
                );
                let script = "if echo x > /data/below/new; then echo yes; else echo no; fi 2> /dev/null";
                assert_eq!(lab.run(&mounted(lab, script, mount)).good(), written, "{option}");
            }
        }),
        case("propagation is what the options say, private without them", |lab| {
            let source = source(lab, "source");
            for (option, tag) in [("rprivate", ""), ("rshared", "shared:"), ("rslave", "")] {
                let mount = json!({"destination": "/data", "type": "bind", "source": source, "options": ["rbind", option]});
                let out = lab.run(&mounted(lab, "grep ' /data ' /proc/self/mountinfo", mount)).good();
                assert_eq!(out.contains("shared:"), !tag.is_empty(), "{option}: {out}");
            }
        }),
        case("symbolic links of the image do not lead out of it", |lab| {
            let source = source(lab, "source");
            let outside = lab.path("outside");
            fs::create_dir(&outside).expect("a directory");
            symlink("../outside", lab.rootfs().join("link")).expect("a link");
            let mount =
                json!({"destination": "/link/data", "type": "bind", "source": source, "options": ["bind"]});
            assert_eq!(lab.run(&mounted(lab, "cat /link/data/file", mount)).good(), "of the host\n");
            assert_eq!(fs::read_dir(&outside).expect("a directory").count(), 0);
        }),
        case("an id map of its own shows the owners of a bind shifted", |lab| {
            let source = source(lab, "source");
            let map = json!([{"containerID": 0, "hostID": 5000, "size": 1000}]);
            let mount = json!({"destination": "/data", "type": "bind", "source": source,
                "options": ["bind", "idmap"], "uidMappings": map, "gidMappings": map});
            assert_eq!(lab.run(&mounted(lab, "stat -c %u:%g /data/file", mount)).good(), "5000:5000\n");
        })
        .but(&[("runc", "newer than 1.1")]),
    ]
}

fn filesystems() -> Vec<Case> {
    [filesystems_first(), filesystems_second()].into_iter().flatten().collect()
}

fn filesystems_first() -> Vec<Case> {
    vec![
        case("mounts are made in the order they are listed", |lab| {
            let source = source(lab, "source");
            let config = lab.changed("cat /mnt/data/file; ls /mnt", |c| {
                let mounts = c["mounts"].as_array_mut().expect("mounts");
                mounts.push(json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs"}));
                mounts.push(json!({"destination": "/mnt/data", "type": "bind", "source": source, "options": ["bind"]}));
            });
            assert_eq!(lab.run(&config).good(), "of the host\ndata\n");
        }),
        case("a tmpfs has the size and mode asked for", |lab| {
            let mount = json!({"destination": "/t", "type": "tmpfs", "source": "tmpfs",
                "options": ["size=1m", "mode=1700", "nosuid"]});
            let script =
                "stat -c %a /t; dd if=/dev/zero of=/t/f bs=1k count=2000 2> /dev/null; stat -c %s /t/f";
            assert_eq!(lab.run(&mounted(lab, script, mount)).good(), "1700\n1048576\n");
        }),
        case("proc shows the container's processes", |lab| {
            assert_eq!(lab.sh("readlink /proc/self; echo $$").lines().last(), Some("1"));
        }),
        case("a sysfs is mounted", |lab| {
            let mount = json!({"destination": "/sys", "type": "sysfs", "source": "sysfs",
                "options": ["nosuid", "noexec", "nodev", "ro"]});
            let out = lab.run(&mounted(lab, "ls /sys/class/net; cat /proc/self/mountinfo", mount)).good();
            assert!(out.starts_with("lo\n") && options(&out, "/sys").starts_with("ro"), "{out}");
        }),
        case("an mqueue is mounted", |lab| {
            let mount = json!({"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue"});
            let out = lab.run(&mounted(lab, "grep -c ' - mqueue ' /proc/self/mountinfo", mount)).good();
            assert_eq!(out, "1\n");
        }),
        case("a cgroup mount shows the container's own cgroups", |lab| {
            let mount = json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]});
            let script =
                "cat /sys/fs/cgroup/pids/cgroup.procs /sys/fs/cgroup/cgroup.procs 2> /dev/null; echo $$";
            let out = lab.run(&mounted(lab, script, mount)).good();
            assert!(out.starts_with("1\n"), "{out}");
        }),
        case("a filesystem nobody knows is an error", |lab| {
            let mount = json!({"destination": "/x", "type": "nosuchfs", "source": "x"});
            lab.create_refused(&mounted(lab, "true", mount));
        }),
        case("an option the filesystem does not know is an error", |lab| {
            let mount =
                json!({"destination": "/x", "type": "tmpfs", "source": "x", "options": ["nonsense=1"]});
            lab.create_refused(&mounted(lab, "true", mount));
        }),
        case("a relative destination counts from the root", |lab| {
            let mount = json!({"destination": "relative", "type": "tmpfs", "source": "tmpfs"});
            let out = lab.run(&mounted(lab, "grep -c ' /relative ' /proc/self/mountinfo", mount)).good();
            assert_eq!(out, "1\n");
        }),
    ]
}

fn filesystems_second() -> Vec<Case> {
    vec![
        case("nothing may be mounted over the insides of proc through a link of the image", |lab| {
            symlink("/proc/self", lab.rootfs().join("link")).expect("a link");
            let mount = json!({"destination": "/link/attr", "type": "tmpfs", "source": "tmpfs"});
            lab.create_refused(&mounted(lab, "true", mount));
        })
        .but(&[("runc", "1.1 looks at bind mounts only")]),
        case("rootfsPropagation is that of the root", |lab| {
            for (asked, shared) in [("private", false), ("shared", true)] {
                let config = lab.changed("grep ' / / \\| /[^ ]* / ' /proc/self/mountinfo", |c| {
                    c["linux"]["rootfsPropagation"] = json!(asked);
                });
                let out = lab.run(&config).good();
                assert_eq!(out.contains("shared:"), shared, "{asked}: {out}");
            }
        })
        .but(&[("runc", "it sets that of what the root filesystem is bound from")]),
        case("the host sees nothing of a container's mounts", |lab| {
            lab.create(&lab.config("sleep 100"));
            lab.must("start");
            let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
            assert!(!mounts.contains(&lab.rootfs().display().to_string()), "{mounts}");
        }),
    ]
}

fn paths() -> Vec<Case> {
    vec![
        case("masked files read as empty, masked directories are empty", |lab| {
            fs::create_dir_all(lab.rootfs().join("secret")).expect("a directory");
            fs::write(lab.rootfs().join("secret/inner"), "x").expect("a file");
            fs::write(lab.rootfs().join("hidden"), "x").expect("a file");
            let config = lab.changed("cat /hidden; ls /secret; echo end", |c| {
                c["linux"]["maskedPaths"] = json!(["/secret", "/hidden", "/not/there"]);
            });
            assert_eq!(lab.run(&config).good(), "end\n");
        }),
        case("read-only paths cannot be written to", |lab| {
            fs::create_dir_all(lab.rootfs().join("fixed")).expect("a directory");
            let config =
                lab.changed("if echo x > /fixed/new; then echo rw; else echo ro; fi 2> /dev/null", |c| {
                    c["linux"]["readonlyPaths"] = json!(["/fixed", "/not/there", "/proc/sys"]);
                });
            assert_eq!(lab.run(&config).good(), "ro\n");
        }),
    ]
}
