//! Volumes with a size, on a file system that counts projects.

use itest::solo::Solo;

use crate::on_a_host;

/// Writes so many mebibytes to a file in the volume `small`; true when all of them went.
fn writes(solo: &Solo<'_>, image: &str, count: u32) -> bool {
    let script = format!("dd if=/dev/zero of=/data/x bs=1048576 count={count} 2>&1");
    solo.try_ctl(&["run", "--rm", "-v", "small:/data", image, "sh", "-c", &script]).status.success()
}

#[test]
fn a_volume_takes_as_much_as_its_size_and_no_more() {
    on_a_host("quota", |solo, image| {
        solo.ctl(&["volume", "create", "--opt", "size=4m", "small"]);
        let told = solo.ctl(&["run", "--rm", "-v", "small:/data", image, "busybox", "df", "-k", "/data"]);
        let size = told.lines().last().and_then(|line| line.split_whitespace().nth(1));
        assert_eq!(size, Some("4096"), "{told}");
        assert!(writes(solo, image, 3), "three of four mebibytes must fit");
        assert!(!writes(solo, image, 6), "six of four mebibytes cannot fit");
        // Nothing of the limit outlives the volume.
        solo.ctl(&["volume", "rm", "small"]);
        solo.ctl(&["volume", "create", "small"]);
        assert!(writes(solo, image, 6), "a volume without a size has none");
    });
}

#[test]
fn two_volumes_count_apart() {
    on_a_host("apart", |solo, image| {
        solo.ctl(&["volume", "create", "--opt", "size=4m", "other"]);
        solo.ctl(&["volume", "create", "--opt", "size=4m", "small"]);
        let fill = "dd if=/dev/zero of=/data/x bs=1048576 count=9 2>/dev/null";
        solo.try_ctl(&["run", "--rm", "-v", "other:/data", image, "sh", "-c", fill]);
        assert!(writes(solo, image, 3), "a full volume takes nothing from another");
    });
}
