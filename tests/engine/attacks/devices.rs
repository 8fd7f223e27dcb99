//! Nodes of every kind of device, made by the host's root where a container finds them: what opens is what everybody has.

use itest::host::Host;
use itest::image;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use super::Field;
use crate::scratch;

/// Majors of which each has some minors tried.
const MAJORS: u32 = 512;
const MINORS: [u32; 9] = [0, 1, 2, 8, 9, 200, 229, 237, 255];

/// By number: null, zero, full, random, urandom, the terminal of whoever opens it, the master of terminals.
const EVERYBODYS: [&str; 7] = ["c1:3", "c1:5", "c1:7", "c1:8", "c1:9", "c5:0", "c5:2"];

#[test]
fn no_number_opens_but_those_that_everybody_has() {
    let (host, dir) = (Host::new("nodes2"), scratch());
    let field = Field::new(&host, dir.path());
    let image = field.image("busybox", &image::busybox(&["sh"]));
    for flags in [&[][..], &["--userns", "host"]] {
        let run = [&["container", "run", "-d", "--name", "c"], flags, &[&image, "sleep", "1000"]];
        field.solo.ctl(&run.concat());
        let pid = field.solo.json(&["container", "ls"])[0]["pid"].to_string();
        // A file system that is not mounted without devices, as an image's and a volume's are.
        let at = std::path::PathBuf::from(format!("/proc/{pid}/root/dev/all"));
        std::fs::create_dir(&at).expect("we are root");
        let numbers = (0..MAJORS).flat_map(|major| MINORS.map(|minor| (major, minor)));
        for (major, minor) in numbers.chain((3..13).map(|minor| (1, minor))) {
            for (letter, kind) in [('c', FileType::CharacterDevice), ('b', FileType::BlockDevice)] {
                // What overlays mark a removed name with: no device, and free for everybody.
                if (letter, major, minor) == ('c', 0, 0) {
                    continue;
                }
                let name = at.join(format!("{letter}{major}:{minor}"));
                match mknodat(CWD, name, kind, Mode::from_raw_mode(0o666), makedev(major, minor)) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(error) => panic!("{letter}{major}:{minor}: {error}"),
                }
            }
        }
        // `true` is no special command of the shell, so that a failed opening does not end it.
        let script = "cd /dev/all; for f in *; do true <$f && echo $f; done 2>/tmp/all; \
                      grep -vE 'Operation not permitted|Permission denied' /tmp/all; true";
        let said = field.solo.ctl(&["container", "exec", "c", "sh", "-c", script]);
        let opened: Vec<&str> = said.lines().collect();
        // A terminal is allowed, and not there for who has none or asks outside of /dev/pts.
        let is_terminal = |line: &str| line.contains("can't open c5:") || line.contains("can't open c136:");
        let is_stray = |line: &&&str| !EVERYBODYS.contains(line) && !is_terminal(line);
        let stray: Vec<&&str> = opened.iter().filter(is_stray).collect();
        assert!(stray.is_empty(), "{flags:?}: {stray:?}");
        assert!(opened.contains(&"c1:3"), "{flags:?}: {opened:?}");
        field.solo.ctl(&["container", "rm", "--force", "c"]);
    }
    field.finish();
}
