//! A container that exchanges parts of the paths under a copy, as fast as it can: whatever the copy does, nothing
//! outside the container changes or gets out.

use std::path::Path;

use itest::programs;

use super::{container, text, with_agent};

/// Outside: what a copy that is led astray would read or write.
const SECRET: &str = "the host's own";

fn tree_of(path: &Path) -> String {
    programs::succeed(
        std::process::Command::new("find").arg(path).args(["-printf", "%p|%y|%m|%U|%G|%s|%T@|%C@\n"]),
    )
}

#[test]
fn a_racing_container_leads_no_copy_out() {
    with_agent("race", |solo, image, files| {
        let canary = files.join("canary");
        std::fs::create_dir_all(canary.join("in")).unwrap();
        std::fs::write(canary.join("in/file"), SECRET).unwrap();
        let before = tree_of(&canary);
        // busybox has no exchange of names; two renames in a row race as well, and a link takes turns with a directory.
        let script = format!(
            "mkdir -p /work/real/in /work/deep; echo inside > /work/real/in/file; cp -r /work/real /work/spot
             ln -s {canary} /work/evil; ln -s /proc/1/root{canary} /work/evil2; ln -s ../../../../../../..{canary} /work/evil3
             (while :; do for evil in evil evil2 evil3; do
                mv /work/spot /work/kept 2>/dev/null; ln -s $(readlink /work/$evil) /work/spot 2>/dev/null
                rm -f /work/spot; mv /work/kept /work/spot 2>/dev/null
                mv /work/spot/in /work/spot/kept 2>/dev/null; ln -s {canary}/in /work/spot/in 2>/dev/null
                rm -f /work/spot/in; mv /work/spot/kept /work/spot/in 2>/dev/null
              done; done) &",
            canary = text(&canary),
        );
        container(solo, image, "racer", &script, true);
        let file = files.join("file");
        std::fs::write(&file, "from outside").unwrap();
        std::fs::create_dir_all(files.join("tree/in")).unwrap();
        std::fs::write(files.join("tree/in/file"), "from outside").unwrap();
        let (mut inward, mut outward) = (0, 0);
        for round in 0..100 {
            let copies =
                [(text(&file), "racer:/work/spot/in/file"), (text(files.join("tree")), "racer:/work/spot")];
            let (from, to) = copies[round % 2];
            inward += usize::from(solo.try_ctl(&["container", "cp", from, to]).status.success());
            let back = files.join("back");
            let _ = std::fs::remove_dir_all(&back);
            std::fs::create_dir(&back).unwrap();
            let from = ["racer:/work/spot/in/file", "racer:/work/spot", "racer:/work"][round % 3];
            let arguments: &[&str] = if round % 2 == 0 {
                &["container", "cp", "-L", from, text(&back)]
            } else {
                &["container", "cp", from, text(&back)]
            };
            outward += usize::from(solo.try_ctl(arguments).status.success());
            let found = programs::output(std::process::Command::new("grep").args(["-r", SECRET]).arg(&back));
            assert!(!found.status.success(), "round {round}: {}", programs::said(&found));
        }
        assert_eq!(tree_of(&canary), before);
        assert!(
            inward > 20 && outward > 20,
            "{inward} copies went in and {outward} came out: no race was run"
        );
    });
}
