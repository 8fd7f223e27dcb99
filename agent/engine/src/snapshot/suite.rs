//! The contract of [`super`], case by case, on a real directory. Needs root, since containers own their directories.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;

const OWNER: IdRange = IdRange { base: 1_048_576, size: 65_536 };

fn fixture() -> (tempfile::TempDir, Snapshots) {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test gives directories to other users: run it as root"
    );
    let dir = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::open(dir.path()).unwrap();
    (dir, snapshots)
}

fn commit(snapshots: &Snapshots, name: &str) -> DiffId {
    let layer = Digest::of(name.as_bytes());
    let incoming = snapshots.begin_layer().unwrap();
    fs::write(incoming.path().join("name"), name).unwrap();
    incoming.commit(&layer).unwrap();
    layer
}

#[test]
fn a_layer_is_visible_after_its_commit_and_gone_after_its_deletion() {
    let (_dir, snapshots) = fixture();
    let layer = Digest::of(b"a");
    let incoming = snapshots.begin_layer().unwrap();
    fs::write(incoming.path().join("file"), "text").unwrap();
    assert!(!snapshots.has_layer(&layer));
    incoming.commit(&layer).unwrap();
    assert_eq!(fs::read_to_string(snapshots.layer_path(&layer).join("file")).unwrap(), "text");
    assert_eq!(snapshots.layers().unwrap(), std::slice::from_ref(&layer));
    snapshots.delete_layer(&layer).unwrap();
    snapshots.delete_layer(&layer).unwrap();
    assert!(!snapshots.has_layer(&layer));
}

#[test]
fn a_layer_that_is_dropped_or_committed_twice_leaves_nothing_half_made() {
    let (dir, snapshots) = fixture();
    drop(snapshots.begin_layer().unwrap());
    let layer = commit(&snapshots, "twice");
    assert_eq!(commit(&snapshots, "twice"), layer);
    assert_eq!(fs::read_dir(dir.path().join("incoming")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(dir.path().join("trash")).unwrap().count(), 0);
    assert_eq!(snapshots.layers().unwrap().len(), 1);
}

#[test]
fn opening_sweeps_what_a_crash_left_and_keeps_layers() {
    let (dir, snapshots) = fixture();
    let layer = commit(&snapshots, "kept");
    fs::create_dir_all(dir.path().join("incoming/3/deep/er")).unwrap();
    fs::create_dir_all(dir.path().join("trash/4")).unwrap();
    let snapshots = Snapshots::open(dir.path()).unwrap();
    assert_eq!(fs::read_dir(dir.path().join("incoming")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(dir.path().join("trash")).unwrap().count(), 0);
    assert!(snapshots.has_layer(&layer));
    assert_eq!(fs::metadata(dir.path().join("layers")).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn a_snapshot_has_the_layers_topmost_first_and_directories_of_its_own_range() {
    let (_dir, snapshots) = fixture();
    let (base, top) = (commit(&snapshots, "base"), commit(&snapshots, "top"));
    let root = snapshots.layer_path(&top);
    fs::set_permissions(&root, fs::Permissions::from_mode(0o711)).unwrap();
    std::os::unix::fs::chown(&root, Some(7), Some(8)).unwrap();
    let mounts = snapshots.prepare("c1", &[base.clone(), top.clone()], OWNER).await.unwrap();
    assert_eq!(mounts.lower, [snapshots.layer_path(&top), snapshots.layer_path(&base)]);
    let upper = fs::metadata(&mounts.upper).unwrap();
    assert_eq!((upper.uid(), upper.gid(), upper.mode() & 0o7777), (OWNER.base + 7, OWNER.base + 8, 0o711));
    assert_eq!(fs::metadata(&mounts.work).unwrap().uid(), OWNER.base);
    fs::write(mounts.upper.join("kept"), "").unwrap();
    assert_eq!(snapshots.prepare("c1", &[base, top], OWNER).await.unwrap(), mounts, "it can be repeated");
    assert!(mounts.upper.join("kept").exists());
}

#[tokio::test]
async fn snapshots_are_listed_and_removed_whole() {
    let (dir, snapshots) = fixture();
    let layer = commit(&snapshots, "base");
    for id in ["c2", "c1"] {
        snapshots.prepare(id, std::slice::from_ref(&layer), OWNER).await.unwrap();
    }
    assert_eq!(snapshots.list().await.unwrap(), ["c1", "c2"]);
    snapshots.remove("c1").await.unwrap();
    snapshots.remove("c1").await.unwrap();
    assert_eq!(snapshots.list().await.unwrap(), ["c2"]);
    assert!(snapshots.has_layer(&layer));
    assert_eq!(fs::read_dir(dir.path().join("trash")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_missing_layer_and_a_bad_id_are_errors_that_create_nothing() {
    let (_dir, snapshots) = fixture();
    let layer = commit(&snapshots, "base");
    let missing = Digest::of(b"missing");
    let fault = snapshots.prepare("c1", &[layer.clone(), missing.clone()], OWNER).await.unwrap_err();
    assert!(fault.to_string().contains(&missing.to_string()), "{fault}");
    assert!(matches!(snapshots.prepare("c1", &[], OWNER).await, Err(SnapshotError::NoLayers)));
    for id in ["", ".", "..", "a/b", "../x"] {
        let refused = snapshots.prepare(id, std::slice::from_ref(&layer), OWNER).await;
        assert!(matches!(refused, Err(SnapshotError::BadId { .. })), "{id}");
        assert!(snapshots.remove(id).await.is_err());
    }
    assert!(snapshots.list().await.unwrap().is_empty());
}
