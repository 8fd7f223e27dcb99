//! Properties of the record store on a real directory.

use serde::{Deserialize, Serialize};

use super::{Batch, Durability, MAX_VALUE, Records, RecordsError};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Thing {
    name: String,
    size: u64,
}

fn thing(name: &str, size: u64) -> Thing {
    Thing { name: name.into(), size }
}

#[tokio::test]
async fn what_is_put_is_got_scanned_in_order_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let records = Records::open(dir.path()).await.unwrap();
    let things = records.table("things");
    let others = records.table("things2");
    things.put("b", &thing("bee", 2), Durability::Synced).await.unwrap();
    things.put("a", &thing("ay", 1), Durability::Volatile).await.unwrap();
    others.put("c", &thing("sea", 3), Durability::Volatile).await.unwrap();
    assert_eq!(things.get::<Thing>("b").await.unwrap(), Some(thing("bee", 2)));
    assert_eq!(things.get::<Thing>("c").await.unwrap(), None);
    let all: Vec<(String, Thing)> = things.scan().await.unwrap();
    assert_eq!(all, [("a".into(), thing("ay", 1)), ("b".into(), thing("bee", 2))]);
    things.delete("a", Durability::Synced).await.unwrap();
    things.delete("never", Durability::Synced).await.unwrap();
    assert_eq!(things.scan::<Thing>().await.unwrap().len(), 1);
}

#[tokio::test]
async fn records_are_there_after_reopening_volatile_ones_too() {
    let dir = tempfile::tempdir().unwrap();
    let records = Records::open(dir.path()).await.unwrap();
    records.table("t").put("synced", &1_u8, Durability::Synced).await.unwrap();
    records.table("t").put("volatile", &2_u8, Durability::Volatile).await.unwrap();
    records.close().await;
    assert!(matches!(records.table("t").get::<u8>("synced").await, Err(RecordsError::Closed)));
    let records = Records::open(dir.path()).await.unwrap();
    let all: Vec<(String, u8)> = records.table("t").scan().await.unwrap();
    assert_eq!(all, [("synced".into(), 1), ("volatile".into(), 2)]);
}

#[tokio::test]
async fn a_second_opener_is_told_which_directory_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let records = Records::open(dir.path()).await.unwrap();
    let fault = Records::open(dir.path()).await.unwrap_err();
    assert!(matches!(&fault, RecordsError::InUse { .. }), "{fault}");
    assert!(fault.to_string().contains(&dir.path().display().to_string()), "{fault}");
    drop(records);
}

#[tokio::test]
async fn a_batch_over_two_tables_is_applied_whole_and_a_large_value_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let records = Records::open(dir.path()).await.unwrap();
    let (left, right) = (records.table("left"), records.table("right"));
    left.put("old", &0_u8, Durability::Synced).await.unwrap();
    let mut batch = Batch::default();
    batch.put(&right, "new", &1_u8).unwrap();
    batch.delete(&left, "old");
    let fault = batch.put(&left, "big", &"x".repeat(MAX_VALUE)).unwrap_err();
    assert!(matches!(fault, RecordsError::TooLarge { table: "left", .. }), "{fault}");
    records.commit(batch, Durability::Synced).await.unwrap();
    assert_eq!(left.get::<u8>("old").await.unwrap(), None);
    assert_eq!(right.get::<u8>("new").await.unwrap(), Some(1));
}

#[tokio::test]
async fn a_record_of_another_shape_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let records = Records::open(dir.path()).await.unwrap();
    records.table("t").put("k", &"text", Durability::Synced).await.unwrap();
    let fault = records.table("t").get::<u64>("k").await.unwrap_err();
    assert!(fault.to_string().starts_with("record t/k is malformed"), "{fault}");
}

#[tokio::test]
async fn many_writers_at_once_share_flushes_and_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let records = Records::open(dir.path()).await.unwrap();
    let writers = (0..200_u32).map(|n| {
        let table = records.table("n");
        async move { table.put(&format!("{n:04}"), &n, Durability::Synced).await }
    });
    futures::future::try_join_all(writers).await.unwrap();
    assert!(records.syncs() < 200, "{} syncs for 200 writes", records.syncs());
    records.close().await;
    let records = Records::open(dir.path()).await.unwrap();
    assert_eq!(records.table("n").scan::<u32>().await.unwrap().len(), 200);
}

#[tokio::test]
async fn a_synced_write_is_acknowledged_after_its_fsync_and_a_volatile_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let records = Records::open(dir.path()).await.unwrap();
    let table = records.table("t");
    for n in 1..=5_u64 {
        table.put("k", &n, Durability::Synced).await.unwrap();
        assert_eq!(records.syncs(), n);
    }
    table.put("k", &6_u64, Durability::Volatile).await.unwrap();
    assert_eq!(records.syncs(), 5);
    for _ in 0..500 {
        if records.syncs() == 6 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(records.syncs(), 6, "a volatile write is synced a moment later");
}

/// Says to the child process where to write; without it the test is the parent.
const CHILD: &str = "ROADSTEAD_RECORDS_TEST_CHILD";

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return write_until_killed(std::path::Path::new(&dir)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "records::tests::what_was_acknowledged_survives_kill_9", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let acknowledged = dir.path().join("acknowledged");
        let wanted = (round + 1) * 30;
        for _ in 0..3000 {
            if std::fs::read_to_string(&acknowledged).is_ok_and(|text| text.lines().count() >= wanted) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let text = std::fs::read_to_string(&acknowledged).unwrap();
        let whole = &text[..=text.rfind('\n').unwrap()];
        assert!(whole.lines().count() >= wanted, "the child wrote too little");
        let records = Records::open(dir.path().join("records")).await.unwrap();
        for line in whole.lines() {
            assert_eq!(
                records.table("n").get::<u64>(line).await.unwrap(),
                Some(line.parse().unwrap()),
                "{line} is lost"
            );
        }
        records.close().await;
    }
}

/// Writes numbers, and notes each one after it was acknowledged.
async fn write_until_killed(dir: &std::path::Path) {
    use std::io::Write as _;
    let records = Records::open(dir.join("records")).await.unwrap();
    let mut notes =
        std::fs::OpenOptions::new().create(true).append(true).open(dir.join("acknowledged")).unwrap();
    let first = records.table("n").scan::<u64>().await.unwrap().len() as u64;
    for n in first.. {
        records.table("n").put(&n.to_string(), &n, Durability::Synced).await.unwrap();
        writeln!(notes, "{n}").unwrap();
    }
}
