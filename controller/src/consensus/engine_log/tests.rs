//! The log on disk: the contract's suite, and what it makes of damage.
//!
//! A crash is a copy of the files while the log is open: that is what a killed
//! process leaves, room allocated ahead included.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::EngineLog;
use crate::consensus::log_store::suite::{self, entries, founders};
use crate::consensus::log_store::{LogError, LogStore, Snapshot};

type Outcome = Result<(), Box<dyn Error>>;

/// A crashed log with its founders and nine batches of ten entries.
struct Crashed {
    _scratch: TempDir,
    directory: PathBuf,
    /// Where each batch ended.
    ends: Vec<usize>,
}

impl Crashed {
    fn new() -> Result<Self, Box<dyn Error>> {
        let scratch = tempfile::tempdir()?;
        let log = EngineLog::open(&scratch.path().join("live"))?;
        log.append(&founders())?;
        let mut ends = Vec::new();
        for batch in 0..9 {
            log.append(&entries(batch * 10 + 1, batch * 10 + 10, 1))?;
            let end = log.ends.0.lock().map_err(|_| "poisoned")?.ok_or("nothing written")?;
            ends.push(usize::try_from(end.offset)?);
        }
        let directory = scratch.path().join("crashed");
        copy(&scratch.path().join("live"), &directory)?;
        Ok(Self { _scratch: scratch, directory, ends })
    }

    fn file(&self) -> PathBuf {
        self.directory.join("log/0000000000000001.raftlog")
    }

    fn change(&self, change: impl FnOnce(&mut Vec<u8>)) -> Outcome {
        let mut bytes = fs::read(self.file())?;
        change(&mut bytes);
        fs::write(self.file(), bytes)?;
        Ok(())
    }

    fn open(&self) -> Result<EngineLog, LogError> {
        EngineLog::open(&self.directory)
    }

    /// Opening is refused, names the file, and changes nothing.
    fn assert_refused(&self, what: &str) -> Outcome {
        let before = fs::read(self.file()).ok();
        match self.open() {
            Err(error @ LogError::Damaged { .. }) => {
                let text = error.to_string();
                assert!(text.contains("0000000000000001.raftlog"), "{what}: {text}");
                assert!(text.contains("backup"), "{what}: {text}");
            }
            other => return Err(format!("{what}: {:?}", other.map(|log| log.load())).into()),
        }
        assert!(fs::read(self.file()).ok() == before, "{what}: the file was changed");
        Ok(())
    }
}

fn copy(from: &Path, to: &Path) -> Outcome {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[test]
fn the_log_on_disk_keeps_the_contract() {
    suite::run(|| {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        Box::new(move || {
            Arc::new(EngineLog::open(&scratch.path().join("raft")).expect("opens")) as Arc<dyn LogStore>
        })
    });
}

#[test]
fn a_crash_loses_nothing_that_was_appended() -> Outcome {
    let crashed = Crashed::new()?;
    let log = crashed.open()?;
    assert_eq!(log.load()?.last, 90);
    assert_eq!(log.entries(1, 91, u64::MAX)?.len(), 90);
    Ok(())
}

#[test]
fn a_torn_final_write_is_removed_and_the_log_goes_on() -> Outcome {
    for torn in [1, 15, 16, 17, 100, 399] {
        let crashed = Crashed::new()?;
        let (start, end) = (crashed.ends[7], crashed.ends[8]);
        // Half of what would have been the tenth batch.
        crashed.change(|bytes| {
            let half = bytes[start..end].to_vec();
            let torn = torn.min(half.len() - 1);
            bytes[end..end + torn].copy_from_slice(&half[..torn]);
        })?;
        let log = crashed.open()?;
        assert_eq!(log.load()?.last, 90, "{torn} bytes");
        log.append(&entries(91, 95, 2))?;
        drop(log);
        assert_eq!(crashed.open()?.load()?.last, 95, "{torn} bytes");
    }
    Ok(())
}

#[test]
fn a_changed_byte_anywhere_in_the_log_is_refused() -> Outcome {
    let crashed = Crashed::new()?;
    let end = crashed.ends[8];
    for place in (0..end).step_by(37).chain([end - 1]) {
        crashed.change(|bytes| bytes[place] ^= 0x20)?;
        crashed.assert_refused(&format!("byte {place}"))?;
        crashed.change(|bytes| bytes[place] ^= 0x20)?;
    }
    assert_eq!(crashed.open()?.load()?.last, 90);
    Ok(())
}

#[test]
fn a_log_cut_off_cleanly_between_two_writes_is_refused() -> Outcome {
    let crashed = Crashed::new()?;
    let end = crashed.ends[4];
    crashed.change(|bytes| bytes.truncate(end))?;
    crashed.assert_refused("cut off")
}

#[test]
fn damage_in_the_middle_is_seen_without_the_note_too() -> Outcome {
    let crashed = Crashed::new()?;
    fs::remove_file(crashed.directory.join("synced"))?;
    let place = crashed.ends[3] + 40;
    crashed.change(|bytes| bytes[place..place + 60].fill(0))?;
    crashed.assert_refused("a hole")
}

#[test]
fn a_vanished_file_is_refused() -> Outcome {
    let crashed = Crashed::new()?;
    fs::remove_file(crashed.file())?;
    crashed.assert_refused("the only file")
}

#[test]
fn a_damaged_snapshot_is_refused_with_its_name() -> Outcome {
    let crashed = Crashed::new()?;
    let voters = founders().voters.unwrap_or_default();
    let log = crashed.open()?;
    log.save_snapshot(&Snapshot { index: 90, term: 1, voters, data: b"all of it".to_vec() })?;
    drop(log);
    let path = crashed.directory.join("snapshot");
    let whole = fs::read(&path)?;
    for place in [0, 30, 70, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[place] ^= 1;
        fs::write(&path, damaged)?;
        let refused = crashed.open().expect_err("damaged");
        assert!(matches!(refused, LogError::Damaged { .. }), "byte {place}: {refused}");
        assert!(refused.to_string().contains("/snapshot"), "byte {place}: {refused}");
    }
    fs::write(&path, whole)?;
    assert_eq!(crashed.open()?.load()?.snapshot, (90, 1));
    Ok(())
}

#[test]
fn an_installation_cut_short_is_finished_at_the_next_start() -> Outcome {
    let crashed = Crashed::new()?;
    let voters = founders().voters.unwrap_or_default();
    let log = crashed.open()?;
    // What a leader's snapshot leaves behind when the power goes before the log is emptied.
    log.snapshot.write(&Snapshot { index: 200, term: 5, voters, data: b"the leader's".to_vec() })?;
    drop(log);
    for _ in 0..2 {
        let contents = crashed.open()?.load()?;
        assert_eq!((contents.first, contents.last, contents.snapshot), (201, 200, (200, 5)));
        assert_eq!(contents.voters.voters.len(), 3);
    }
    Ok(())
}

#[test]
fn files_behind_a_snapshot_are_removed_and_a_gap_between_files_is_refused() -> Outcome {
    let scratch = tempfile::tempdir()?;
    let directory = scratch.path().join("raft");
    let log = EngineLog::open(&directory)?;
    log.append(&founders())?;
    // A mebibyte that does not compress.
    let mut state = 1_u64;
    let random = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    });
    let noise: Vec<u8> = random.take(1 << 20).collect();
    for index in 1..=40 {
        let mut batch = entries(index, index, 1);
        batch.entries[0].data = noise.clone().into();
        log.append(&batch)?;
    }
    let numbers = || -> Result<Vec<String>, std::io::Error> {
        let names = fs::read_dir(directory.join("log"))?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names: Vec<_> = names.collect::<Result<_, std::io::Error>>()?;
        names.retain(|name| name.ends_with(".raftlog"));
        names.sort();
        Ok(names)
    };
    let before = numbers()?;
    assert!(before.len() >= 5, "{before:?}");
    let missing = scratch.path().join("missing");
    copy(&directory, &missing)?;
    fs::remove_file(missing.join("log").join(&before[2]))?;
    let refused = EngineLog::open(&missing).expect_err("a file is missing");
    assert!(refused.to_string().contains(&before[2]), "{refused}");
    let voters = founders().voters.unwrap_or_default();
    log.save_snapshot(&Snapshot { index: 39, term: 1, voters, data: Vec::new() })?;
    log.compact(39)?;
    assert!(numbers()?.len() < before.len(), "{:?}", numbers()?);
    drop(log);
    let contents = EngineLog::open(&directory)?.load()?;
    assert_eq!((contents.first, contents.last, contents.voters.voters.len()), (40, 40, 3));
    Ok(())
}
