//! Files of containers as users move them: `cp` by Docker's rules into running and stopped containers, what a copy
//! keeps, and `diff`, `export` and `commit`.

mod layouts;
mod race;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use itest::host::Host;
use itest::registry::{ADDRESS, Registry};
use itest::solo::Solo;
use itest::{image, programs};

use crate::scratch;

/// An agent, and an image of busybox.
fn with_agent(label: &str, test: impl FnOnce(&Solo<'_>, &str, &Path)) {
    let (host, dir) = (Host::new(label), scratch());
    let registry = Registry::start(&host, dir.path());
    registry.push("busybox", "1", &image::busybox(&["sleep", "1000"]));
    let solo = Solo::start(&host, dir.path());
    let image = format!("{ADDRESS}/busybox:1");
    solo.ctl(&["image", "pull", &image]);
    let files = dir.path().join("files");
    std::fs::create_dir(&files).unwrap();
    test(&solo, &image, &files);
}

/// A container called `name`, running or stopped after it ran `script`.
fn container(solo: &Solo<'_>, image: &str, name: &str, script: &str, running: bool) {
    let script = if running { format!("{script}\necho ready\nexec sleep 1000") } else { script.to_owned() };
    if running {
        solo.ctl(&["container", "run", "-d", "--name", name, image, "sh", "-ec", &script]);
        itest::wait::until("the container is ready", crate::SOON, || {
            let log = solo.ctl(&["container", "logs", name]);
            if log.contains("ready") { Ok(()) } else { Err(log) }
        });
    } else {
        solo.ctl(&["container", "run", "--name", name, image, "sh", "-ec", &script]);
    }
}

fn text(path: impl AsRef<Path>) -> &'static str {
    path.as_ref().to_str().unwrap().to_owned().leak()
}

#[test]
fn files_go_in_and_come_out_by_dockers_rules_running_or_not() {
    with_agent("copy", |solo, image, files| {
        std::fs::write(files.join("one"), "one\n").unwrap();
        std::fs::create_dir_all(files.join("tree/sub")).unwrap();
        std::fs::write(files.join("tree/sub/leaf"), "leaf\n").unwrap();
        let script =
            "mkdir -p /run2 /data && ln -s /run2 /var2 && ln -s ../run2/target /link && echo x > /file";
        for (name, running) in [("up", true), ("down", false)] {
            container(solo, image, name, script, running);
            let to = |path: &str| format!("{name}:{path}");
            let cp = |from: &str, to: &str| solo.ctl(&["container", "cp", from, to]);
            let one = text(files.join("one"));
            let tree = text(files.join("tree"));
            cp(one, &to("/data"));
            cp(one, &to("/data/renamed"));
            cp(one, &to("/var2/through"));
            cp(one, &to("/link"));
            cp(tree, &to("/data"));
            cp(tree, &to("/data/new"));
            cp(&format!("{tree}/."), &to("/run2"));
            let back = files.join(name);
            std::fs::create_dir(&back).unwrap();
            let out = |path: &str, file: &str| {
                let target = back.join(file);
                cp(&to(path), text(&target));
                std::fs::read_to_string(target).unwrap()
            };
            for (path, expected) in [
                ("/data/one", "one\n"),
                ("data/renamed", "one\n"),
                ("/run2/through", "one\n"),
                ("/run2/target", "one\n"),
                ("/data/tree/sub/leaf", "leaf\n"),
                ("/data/new/sub/leaf", "leaf\n"),
                ("/run2/sub/leaf", "leaf\n"),
                ("/file", "x\n"),
            ] {
                assert_eq!(out(path, "got"), expected, "{name} {path}");
            }
            // Links: as they are, or what they lead to.
            cp(&to("/link"), text(back.join("as-link")));
            assert_eq!(std::fs::read_link(back.join("as-link")).unwrap(), Path::new("../run2/target"));
            solo.ctl(&["container", "cp", "-L", &to("/link"), text(back.join("followed"))]);
            assert_eq!(std::fs::read_to_string(back.join("followed")).unwrap(), "one\n");
            cp(&to("/run2/."), text(back.join("contents")));
            assert!(back.join("contents/sub/leaf").is_file());
            let refused = |from: &str, to: &str, code: i32, word: &str| {
                let (exit, said) = solo.refused(&["container", "cp", from, to]);
                assert!(exit == code && said.contains(word), "{from} {to}: {exit} {said}");
            };
            refused(one, &to("/none/"), 6, "no such directory");
            refused(one, &to("/none/one"), 3, "/none is not in the container");
            refused(tree, &to("/file"), 6, "onto a file");
            refused(&to("/none"), text(&back), 3, "/none is not in the container");
            refused(&to("/file/"), text(&back), 1, "/file/");
            refused(&to("/data"), one, 6, "onto a file");
            refused("gone:/x", text(&back), 3, "no container");
            refused(one, one, 2, "CONTAINER:PATH");
            refused(&to("/proc/version"), text(&back), 6, "proc");
        }
        // A container that was never started, and what happens after the copies.
        solo.ctl(&["container", "create", "--name", "fresh", image, "cat", "/etc/note"]);
        std::fs::write(files.join("note"), "kept\n").unwrap();
        solo.ctl(&["container", "cp", text(files.join("note")), "fresh:/etc/note"]);
        solo.ctl(&["container", "cp", "fresh:/etc/note", text(files.join("note2"))]);
        assert_eq!(std::fs::read_to_string(files.join("note2")).unwrap(), "kept\n");
    });
}

#[test]
fn owners_are_the_containers_roots_and_numbers_only_when_asked() {
    with_agent("owners", |solo, image, files| {
        let script = "mkdir /w; touch /w/mine; chown 33:44 /w/mine; chmod 4755 /w/mine";
        container(solo, image, "c", script, true);
        let file = files.join("file");
        std::fs::write(&file, "x").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        nix::unistd::chown(&file, Some(1234.into()), Some(2345.into())).unwrap();
        solo.ctl(&["container", "cp", text(&file), "c:/w/plain"]);
        solo.ctl(&["container", "cp", "-a", text(&file), "c:/w/kept"]);
        let tar = programs::output(solo.command(&["container", "cp", "c:/w", "-"]).stdout(Stdio::piped()));
        let mut archive = tar::Archive::new(tar.stdout.as_slice());
        let owners: Vec<(String, u64, u64, u32)> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let name = entry.path().unwrap().display().to_string();
                (name, header.uid().unwrap(), header.gid().unwrap(), header.mode().unwrap())
            })
            .collect();
        for expected in [("w/plain", 0, 0, 0o640), ("w/kept", 1234, 2345, 0o640), ("w/mine", 33, 44, 0o4755)]
        {
            let (name, uid, gid, mode) = expected;
            assert!(owners.contains(&(name.to_owned(), uid, gid, mode)), "{expected:?} in {owners:?}");
        }
        solo.ctl(&["container", "cp", "c:/w/mine", text(files.join("plain"))]);
        let plain = std::fs::metadata(files.join("plain")).unwrap();
        assert_eq!((plain.uid(), plain.mode() & 0o7777), (0, 0o755), "no setuid file of ours");
        solo.ctl(&["container", "cp", "-a", "c:/w/mine", text(files.join("kept"))]);
        let kept = std::fs::metadata(files.join("kept")).unwrap();
        assert_eq!((kept.uid(), kept.gid(), kept.mode() & 0o7777), (33, 44, 0o4755));
    });
}

/// A tree with everything that tends to get lost, by a shell of this machine.
const ODD: &str = r#"
mkdir -p tree/empty tree/sub && cd tree
echo data > sub/file && ln sub/file hard && ln -s sub/file soft && ln -s /nowhere dangling
mkfifo pipe && chmod 1777 empty
truncate -s 64M sparse && printf end | dd of=sparse bs=1 seek=33554432 conv=notrunc status=none
long=$(printf 'n%.0s' $(seq 200)); mkdir "$long"; echo long > "$long/$long"
touch "$(printf 'bad\377\376name')" 'with space' "$(printf 'new\nline')"
ln -s "$(printf 'l%.0s' $(seq 150))" longlink
touch -d '2001-02-03 04:05:06.789' sub/file
"#;

#[test]
fn a_round_trip_keeps_what_gnu_tar_keeps() {
    with_agent("trip", |solo, image, files| {
        programs::succeed(Command::new("bash").args(["-ec", ODD]).current_dir(files));
        let noted = files.join("tree/sub/file");
        rustix::fs::setxattr(&noted, "user.note", b"remember", rustix::fs::XattrFlags::empty()).unwrap();
        for (name, running) in [("up", true), ("down", false)] {
            container(solo, image, name, "mkdir /in", running);
            solo.ctl(&["container", "cp", text(files.join("tree")), &format!("{name}:/in")]);
            let back = files.join(name);
            std::fs::create_dir(&back).unwrap();
            solo.ctl(&["container", "cp", &format!("{name}:/in/tree"), text(&back)]);
            let differences = Command::new("bash")
                .args(["-ec", "diff <(cd \"$1\" && list) <(cd \"$2\" && list)", "-"])
                .args([files.join("tree"), back.join("tree")])
                .env(
                    "BASH_FUNC_list%%",
                    "() {  find . -printf '%P|%y|%m|%n|%l|%T@|%s\\n' | grep -av '^|d' | LC_ALL=C sort -z; }",
                )
                .output()
                .unwrap();
            assert!(differences.status.success(), "{name}: {}", String::from_utf8_lossy(&differences.stdout));
            let mut value = [0; 64];
            let length = rustix::fs::getxattr(back.join("tree/sub/file"), "user.note", &mut value);
            assert_eq!(length.map(|length| &value[..length]), Ok(&b"remember"[..]));
            let sparse = std::fs::metadata(back.join("tree/sparse")).unwrap();
            assert!(sparse.blocks() * 512 < 1 << 20, "it is {} blocks", sparse.blocks());
            // As archives: what tar made goes in, what comes out tar reads.
            let script = format!(
                "tar -cf - --xattrs -C {files} tree | {ctl} container cp - {name}:/in/ && rm -rf {out} && mkdir {out} && \
                 {ctl} container cp {name}:/in/tree - | tar -xf - --xattrs -C {out} && \
                 tar -df <(tar -cf - -C {files} tree) -C {out} 2>&1 | grep -v 'Mod time\\|Uid\\|Gid' || true",
                files = text(files),
                out = text(files.join("tarred")),
                ctl = shell(&solo.command(&[])),
            );
            let said = programs::succeed(Command::new("bash").args(["-c", &script]));
            assert_eq!(said, "", "{name}");
        }
    });
}

/// A command as words for a shell.
fn shell(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
}

#[test]
fn large_files_pass_with_little_memory() {
    with_agent("large", |solo, image, files| {
        container(solo, image, "c", "mkdir /big", true);
        let large = files.join("large");
        programs::succeed(
            Command::new("bash").args(["-ec", "head -c 400M /dev/zero | tr '\\0' 'x' > \"$0\""]).arg(&large),
        );
        let mut command = Command::new("/usr/bin/time");
        let ctl = solo.command(&["container", "cp", text(&large), "c:/big/large"]);
        command.args(["-f", "%M"]).arg(ctl.get_program()).args(ctl.get_args());
        if Path::new("/usr/bin/time").exists() {
            programs::succeed(&mut command);
        } else {
            solo.ctl(&["container", "cp", text(&large), "c:/big/large"]);
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", solo.agent_pid())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(peak < 200 * 1024, "the agent took {peak} KiB for a file of 400 MiB");
        solo.ctl(&["container", "cp", "c:/big/large", text(files.join("back"))]);
        assert_eq!(std::fs::metadata(files.join("back")).unwrap().len(), 400 << 20);
    });
}

#[test]
fn a_copy_that_fails_half_way_says_what_was_copied() {
    with_agent("halves", |solo, image, files| {
        container(solo, image, "c", "mkdir -p /to/tree/b/c; touch /to/tree/z", true);
        std::fs::create_dir_all(files.join("tree")).unwrap();
        std::fs::write(files.join("tree/b"), "is a directory there").unwrap();
        let (_, said) = solo.refused(&["container", "cp", text(files.join("tree")), "c:/to"]);
        assert!(said.contains("tree/b") && said.contains("were copied before"), "{said}");
        let broken = programs::output(Command::new("bash").args([
            "-c",
            &format!("head -c 700 /dev/urandom | {} container cp - c:/to", shell(&solo.command(&[]))),
        ]));
        let said = programs::said(&broken);
        assert!(!broken.status.success() && said.contains("malformed"), "{said}");
    });
}

#[test]
fn changes_are_listed_exported_and_become_an_image_that_runs() {
    with_agent("commit", |solo, image, files| {
        let script =
            "echo new > /new; mkdir -p /etc/x; echo y > /etc/x/y; rm /bin/busybox.txt 2>/dev/null || true;
            chmod 700 /etc; mkdir -p /opt/d; ln /new /opt/hard";
        for (name, running) in [("up", true), ("down", false)] {
            container(solo, image, name, script, running);
            let changes = solo.ctl(&["container", "diff", name]);
            for line in ["A /new", "A /etc/x/y", "A /opt/hard"] {
                assert!(changes.lines().any(|change| change == line), "{line} in {changes}");
            }
            assert!(!changes.contains("/proc"), "{changes}");
            let tar = files.join(format!("{name}.tar"));
            solo.ctl(&["container", "export", "--file", text(&tar), name]);
            let listed = programs::succeed(Command::new("tar").args(["-tvf", text(&tar)]));
            assert!(listed.contains(" new\n") && listed.contains("link to"), "{listed}");
            assert!(listed.contains("bin/busybox") && !listed.contains("proc/1"), "{listed}");
            let made = format!("made/{name}:1");
            solo.ctl(&[
                "container",
                "commit",
                "-m",
                "why",
                "-a",
                "me",
                "-c",
                "ENV WHO=made",
                "-c",
                "CMD [\"sh\", \"-c\", \"cat /new /etc/x/y; echo $WHO; stat -c %a /etc\"]",
                name,
                &made,
            ]);
            assert!(solo.ctl(&["image", "ls"]).contains(&format!("made/{name}")));
            let said = solo.ctl(&["container", "run", "--rm", &made]);
            assert_eq!(said, "new\ny\nmade\n700\n", "{name}");
        }
        // What the image has and the container removed.
        solo.ctl(&[
            "container",
            "run",
            "--name",
            "less",
            "made/up:1",
            "sh",
            "-c",
            "rm -r /etc/x /new; mkdir /etc/x; touch /etc/x/z",
        ]);
        let changes = solo.ctl(&["container", "diff", "less"]);
        for line in ["D /new", "C /etc/x", "D /etc/x/y", "A /etc/x/z"] {
            assert!(changes.lines().any(|change| change == line), "{line} in {changes}");
        }
        solo.ctl(&["container", "commit", "less", "made/less:1"]);
        let said = solo.ctl(&[
            "container",
            "run",
            "--rm",
            "made/less:1",
            "sh",
            "-c",
            "ls /etc/x /opt; test ! -e /new",
        ]);
        assert_eq!(said, "/etc/x:\nz\n\n/opt:\nd\nhard\n");
        let (_, said) = solo.refused(&["container", "commit", "-c", "RUN x", "less", "made/none:1"]);
        assert!(said.contains("RUN x"), "{said}");
    });
}
