//! The engine's own program, which a process is until it executes a container's: a container that makes it execute itself,
//! or opens it by `/proc/PID/exe`, must neither run it nor be able to write to it; and what it has open stays its own.

use itest::host::Host;
use itest::{image, wait};

use super::Field;
use crate::{SOON, scratch};

/// Ways to say "execute what executes me".
const PROGRAMS: [(&str, &str); 3] =
    [("self", "#!/proc/self/exe\n"), ("first", "#!/proc/1/exe\n"), ("input", "#!/dev/stdin\n")];

/// An image with them, and the libraries that a program of the host would ask for, which are none.
fn image_of(field: &Field<'_>) -> String {
    let mut tree = image::busybox_tree(&[]);
    for (name, program) in PROGRAMS {
        tree.file(&format!("bin/{name}"), 0o755, program.as_bytes());
    }
    tree.folder("lib64", 0o755).folder("lib", 0o755);
    for loader in ["lib64/ld-linux-x86-64.so.2", "lib/ld-musl-x86_64.so.1"] {
        tree.link(loader, "/bin/busybox");
    }
    field.image("exe", &tree.image(&["sh"]))
}

#[test]
fn the_agents_own_program_is_not_run_and_not_written() {
    let (host, dir) = (Host::new("exe"), scratch());
    let field = Field::new(&host, dir.path());
    let agent = itest::programs::ours("agent");
    let before = std::fs::metadata(&agent).expect("it is built");
    let image = image_of(&field);
    let write = "for p in /proc/[0-9]*; do (exec 3>>$p/exe) 2>/dev/null && [ $(readlink $p/exe) != /bin/busybox ] && \
                 echo won; done; true";
    for users in [&[][..], &["--userns", "host"]] {
        for (name, _) in PROGRAMS {
            let program = format!("/bin/{name}");
            let (good, said) = field.run(&[users, &[&image, &program, "--version"]].concat());
            assert!(!good && !said.contains("agent 0"), "{users:?} {name}: {said}");
        }
        let check = ["--health-cmd", "/bin/self --version", "--health-interval", "50ms", "--name", "c"];
        let run = [&["container", "run", "-d"], users, &check, &[&image, "sh", "-c"]].concat();
        let watch = format!("while :; do {write}; done");
        field.solo.ctl(&[&run[..], &[&watch]].concat());
        for (name, _) in PROGRAMS.iter().cycle().take(30) {
            let program = format!("/bin/{name}");
            let output = field.solo.try_ctl(&["container", "exec", "c", &program, "--version"]);
            let said = itest::programs::said(&output);
            assert!(!output.status.success() && !said.contains("agent 0"), "{users:?} {name}: {said}");
        }
        wait::until("a health check has failed", SOON, || {
            let shown = field.solo.json(&["container", "inspect", "c"]);
            let log = shown[0]["state"]["health_checks"]["log"].to_string();
            assert!(!log.contains("agent 0"), "{log}");
            if log.contains("exit_code") { Ok(()) } else { Err(log) }
        });
        let (_, said) = field.run(&[users, &[&image, "sh", "-c", write]].concat());
        let all = said + &field.solo.ctl(&["container", "logs", "c"]);
        assert!(!all.contains("won"), "{users:?}: {all}");
        field.solo.ctl(&["container", "rm", "--force", "c"]);
    }
    let after = std::fs::metadata(&agent).expect("it is built");
    assert_eq!(before.modified().expect("a time"), after.modified().expect("a time"));
    field.finish();
}

/// While a keeper runs the kernel lets nobody write to its program. When it has died and its containers have not ended
/// yet, only the way there can keep the host's own root in a container from it.
#[test]
fn what_executes_containers_lies_where_nobody_can_write() {
    let (host, dir) = (Host::new("sealed"), scratch());
    let field = Field::new(&host, dir.path());
    let exe = format!("/proc/{}/exe", field.solo.keeper_pid());
    let flags = nix::sys::statvfs::statvfs(exe.as_str()).expect("it runs").flags();
    assert!(flags.contains(nix::sys::statvfs::FsFlags::ST_RDONLY), "{exe} is on a mount that is written to");
    field.finish();
}

/// A keeper of many containers has hundreds of descriptors open: pipes, terminals, processes, directories.
#[test]
fn however_much_the_keeper_has_open_a_program_finds_three_descriptors() {
    let (host, dir) = (Host::new("open"), scratch());
    let field = Field::new(&host, dir.path());
    let image = field.image("busybox", &image::busybox(&["sh"]));
    let names: Vec<String> = (0..40).map(|number| format!("c{number}")).collect();
    for name in &names {
        field.solo.ctl(&[
            "container",
            "run",
            "-d",
            "-i",
            "--network",
            "none",
            "--name",
            name,
            &image,
            "sleep",
            "1000",
        ]);
    }
    let keeper = field.solo.keeper_pid();
    let held = std::fs::read_dir(format!("/proc/{keeper}/fd")).expect("it runs").count();
    assert!(held > 200, "the keeper holds {held} descriptors only");
    // The fourth is the listing's own.
    let list = "ls /proc/self/fd | wc -l; for f in /proc/1/fd/* /proc/self/fd/*; do readlink $f; done";
    let exec = |more: &[&str]| {
        field.in_terminal(&[&["container", "exec"], more, &["c7", "sh", "-c", list]].concat()).1
    };
    let run = |more: &[&str]| {
        field.in_terminal(&[&["container", "run", "--rm"], more, &[&image, "sh", "-c", list]].concat()).1
    };
    let check = |said: &str| {
        let is_known = |line: &str| {
            ["pipe:", "/dev/", "/proc/", "socket:"].iter().any(|kind| line.starts_with(kind)) || line == "4"
        };
        assert!(said.starts_with("4\n") && said.lines().all(is_known), "{said}");
        assert!(!said.contains("anon_inode") && !said.contains("ptmx"), "{said}");
    };
    for more in [&[][..], &["-t"], &["-i"], &["-u", "nobody"]] {
        check(&exec(more));
    }
    for more in [&[][..], &["-t"], &["-i"], &["--init"], &["--userns", "host"]] {
        check(&run(more));
    }
    for number in (0..held + 20).step_by(7) {
        let cwd = format!("/proc/self/fd/{number}");
        let output = field.solo.try_ctl(&["container", "exec", "-w", &cwd, "c7", "pwd"]);
        assert!(!output.status.success(), "{cwd}: {}", itest::programs::said(&output));
    }
    field.solo.ctl(
        &[&["container", "rm", "--force"][..], &names.iter().map(String::as_str).collect::<Vec<_>>()]
            .concat(),
    );
    field.finish();
}
