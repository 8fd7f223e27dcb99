//! The reader beside a writer that makes files as the keeper does: by the same encoders.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::ops::Range;
use std::path::PathBuf;

use agent_runtime::log::compact::{self, Making, Seed};
use agent_runtime::log::json::{self, Attributes};
use agent_runtime::log::{Layout, Line};

use super::super::packed;
use super::*;

const LAYOUTS: [Layout; 3] = [Layout::Compact, Layout::Json, Layout::Old];

/// A log's files.
struct Log {
    dir: tempfile::TempDir,
    layout: Layout,
}

impl Log {
    fn new(layout: Layout) -> Log {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("log")).unwrap();
        Log { dir, layout }
    }

    fn path(&self, number: u32) -> PathBuf {
        self.dir.path().join(self.layout.file("abc", number))
    }

    fn reader(&self, tail: Option<usize>) -> Reader {
        let layout = if self.layout == Layout::Old { Layout::Compact } else { self.layout };
        Reader::new(Files::new(self.dir.path().to_owned(), "abc".to_owned(), layout), tail, 0, true)
    }

    fn tail(&self, count: usize) -> Vec<String> {
        all(&mut self.reader(Some(count)))
    }

    fn append(&self, numbers: Range<usize>) {
        numbers.for_each(|number| self.write(&[(&number.to_string(), true)]));
    }

    /// One record, or one frame of these lines.
    fn write(&self, lines: &[(&str, bool)]) {
        let bytes = self.encode(lines);
        File::options().append(true).create(true).open(self.path(0)).unwrap().write_all(&bytes).unwrap();
    }

    fn encode(&self, lines: &[(&str, bool)]) -> Vec<u8> {
        let mut out = Vec::new();
        if self.layout != Layout::Compact {
            for (text, is_whole) in lines {
                let line = Line { time_ns: 1, stderr: false, text: text.as_bytes(), is_whole: *is_whole };
                json::encode(&mut out, line, &Attributes::default());
            }
            return out;
        }
        let mut head = [0; compact::FILE_HEAD];
        let known = File::open(self.path(0)).and_then(|mut file| file.read_exact(&mut head));
        let seed = known.ok().and_then(|()| Seed::of(&head)).unwrap_or_else(|| {
            let seed = Seed::random();
            out.extend_from_slice(&seed.file_head());
            seed
        });
        let mut making = Making::begin(&mut out, 1, false);
        for (text, is_whole) in lines {
            let mut line = Vec::new();
            compact::line(&mut line, text.as_bytes(), *is_whole);
            making.push(&mut out, &line);
        }
        making.end(&mut out, seed);
        out
    }

    /// What the keeper does, with three files.
    fn rotate(&self) {
        let _ = fs::rename(self.path(1), self.path(2));
        fs::rename(self.path(0), self.path(1)).unwrap();
    }
}

fn all(reader: &mut Reader) -> Vec<String> {
    let mut texts = Vec::new();
    loop {
        let batch = reader.read().unwrap();
        if batch.is_empty() {
            return texts;
        }
        texts.extend(
            batch.into_iter().map(|entry| String::from_utf8(entry.data).unwrap().trim_end().to_owned()),
        );
    }
}

fn numbers(range: Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

fn texts(ranges: &[Range<usize>]) -> Vec<String> {
    ranges.iter().cloned().flat_map(numbers).collect()
}

#[test]
fn a_follower_sees_every_record_once_across_rotations() {
    for layout in LAYOUTS {
        let log = Log::new(layout);
        let mut reader = log.reader(None);
        assert!(all(&mut reader).is_empty());
        log.append(0..10);
        assert_eq!(all(&mut reader), numbers(0..10));
        log.append(10..20);
        log.rotate();
        log.append(20..30);
        log.rotate();
        log.append(30..40);
        assert_eq!(all(&mut reader), numbers(10..40));
        assert!(all(&mut reader).is_empty());
    }
}

#[test]
fn who_does_not_follow_reads_what_there_was_and_no_more() {
    for layout in LAYOUTS {
        let log = Log::new(layout);
        log.append(0..600);
        log.rotate();
        log.append(600..1200);
        let mut reader = log.reader(None);
        reader.follow = false;
        let first = reader.read().unwrap().len();
        log.append(1200..1300);
        log.rotate();
        log.append(1300..1400);
        assert_eq!(first + all(&mut reader).len(), 1200, "{layout:?}");
        let mut late = log.reader(None);
        late.follow = false;
        let first = late.read().unwrap().len();
        (0..3).for_each(|_| {
            log.rotate();
            log.append(0..5);
        });
        assert!(first + all(&mut late).len() <= 1300, "it ends, whatever was rotated away");
    }
}

#[test]
fn a_follower_that_was_left_behind_goes_on_with_the_oldest_there_is() {
    for layout in LAYOUTS {
        let log = Log::new(layout);
        log.append(0..5);
        let mut reader = log.reader(None);
        assert_eq!(all(&mut reader).len(), 5);
        for start in [10, 20, 30, 40] {
            log.rotate();
            log.append(start..start + 5);
        }
        assert_eq!(all(&mut reader), texts(&[20..25, 30..35, 40..45]));
    }
}

/// Compressing takes the place of files that somebody is reading, or has read.
#[test]
fn compressed_files_are_read_as_they_were_and_nobody_loses_his_place() {
    for layout in [Layout::Compact, Layout::Json] {
        let log = Log::new(layout);
        let compress = || packed::compress(log.dir.path(), "abc", layout, 3).unwrap();
        log.append(0..600);
        let (mut read_all, mut amid) = (log.reader(None), log.reader(None));
        assert_eq!(all(&mut read_all).len(), 600);
        let first = amid.read().unwrap().len();
        assert!(first < 600);
        let mut bounded = log.reader(None);
        bounded.follow = false;
        assert_eq!(bounded.read().unwrap().len(), first);
        log.rotate();
        log.append(600..610);
        assert_eq!(compress(), 1);
        assert!(!log.path(1).exists() && log.path(0).exists());
        assert_eq!(all(&mut read_all), numbers(600..610), "{layout:?}");
        assert_eq!(all(&mut amid), numbers(first..610), "{layout:?}");
        assert_eq!(all(&mut bounded), numbers(first..600), "{layout:?}");
        assert_eq!(all(&mut log.reader(None)), numbers(0..610));
        assert_eq!(
            (log.tail(3), log.tail(12), log.tail(900).len()),
            (numbers(607..610), numbers(598..610), 610)
        );
        // Another file has the inode of the one that was compressed, as likely as not.
        log.rotate();
        log.append(610..620);
        fs::rename(
            log.dir.path().join(layout.compressed("abc", 1)),
            log.dir.path().join(layout.compressed("abc", 2)),
        )
        .unwrap();
        assert_eq!(compress(), 1);
        log.append(620..625);
        assert_eq!(all(&mut read_all), numbers(610..625), "{layout:?}");
        assert_eq!(all(&mut log.reader(None)), numbers(0..625), "{layout:?}");
    }
}

#[test]
fn the_tail_counts_lines_over_all_files() {
    for layout in LAYOUTS {
        let log = Log::new(layout);
        assert!(log.tail(3).is_empty());
        log.append(0..10);
        log.rotate();
        log.append(10..15);
        assert_eq!(log.tail(3), numbers(12..15));
        assert_eq!(log.tail(5), numbers(10..15));
        assert_eq!(log.tail(7), numbers(8..15));
        assert_eq!(log.tail(100), numbers(0..15));
        assert!(log.tail(0).is_empty());
    }
}

#[test]
fn the_tail_begins_within_a_frame_and_is_followed_by_the_rest() {
    for layout in LAYOUTS {
        let log = Log::new(layout);
        log.append(0..1000);
        log.write(&[("a", true), ("b", true), ("c", true)]);
        log.append(0..1);
        assert_eq!(log.tail(3), ["b", "c", "0"]);
        let mut reader = log.reader(Some(0));
        assert!(all(&mut reader).is_empty());
        log.append(1..2);
        assert_eq!(all(&mut reader), ["1"]);
        assert_eq!(log.tail(700).len(), 700);
    }
}

#[test]
fn the_pieces_of_a_line_are_one_line_of_the_tail_even_in_two_files() {
    for layout in LAYOUTS {
        let log = Log::new(layout);
        log.append(0..3);
        log.write(&[("one ", false), ("two ", false)]);
        log.rotate();
        log.write(&[("three", true)]);
        assert_eq!(log.tail(1), ["one", "two", "three"]);
        assert_eq!(log.tail(2), ["2", "one", "two", "three"]);
        log.write(&[("unfinished", false)]);
        assert_eq!(log.tail(1), ["unfinished"]);
    }
}

/// A write that is seen in the middle, at every byte of it.
#[test]
fn half_a_record_waits_for_its_other_half_also_when_it_is_cut_off_first() {
    for layout in LAYOUTS {
        let log = Log::new(layout);
        log.append(0..2);
        let before = fs::read(log.path(0)).unwrap();
        let record = log.encode(&[("torn", true)]);
        for cut in 0..record.len() {
            let torn = [&before[..], &record[..cut]].concat();
            fs::write(log.path(0), &torn).unwrap();
            assert_eq!(log.tail(1), ["1"], "{layout:?} {cut}");
            let (mut one, mut other) = (log.reader(None), log.reader(None));
            assert_eq!((all(&mut one).len(), all(&mut other).len()), (2, 2));
            let file = File::options().append(true).open(log.path(0)).unwrap();
            (&file).write_all(&record[cut..]).unwrap();
            assert_eq!(all(&mut one), ["torn"], "{layout:?} {cut}");
            // The keeper came back after a crash instead.
            file.set_len(before.len() as u64).unwrap();
            log.write(&[("next", true)]);
            assert_eq!(all(&mut other), ["next"], "{layout:?} {cut}");
        }
    }
}

#[test]
fn damage_is_passed_over_once_something_good_follows() {
    for layout in LAYOUTS {
        let log = Log::new(layout);
        log.append(0..2);
        let garbage: &[u8] =
            if layout == Layout::Compact { b"\xf5\x4c\0\0garbage \xf5\x4c" } else { b"garbage\n" };
        let mut file = File::options().append(true).open(log.path(0)).unwrap();
        file.write_all(garbage).unwrap();
        file.write_all(&vec![0; 200_000]).unwrap();
        if layout != Layout::Compact {
            file.write_all(b"\n").unwrap();
        }
        let mut reader = log.reader(None);
        assert_eq!(all(&mut reader), ["0", "1"]);
        log.append(2..4);
        assert_eq!(all(&mut reader), ["2", "3"], "{layout:?}");
        assert_eq!(log.tail(3), ["1", "2", "3"], "{layout:?}");
    }
}

#[test]
fn what_was_kept_before_there_were_drivers_comes_first() {
    for layout in [Layout::Compact, Layout::Json] {
        let mut log = Log::new(Layout::Old);
        log.append(0..3);
        log.rotate();
        log.append(3..5);
        log.layout = layout;
        let mut reader = log.reader(None);
        assert_eq!(all(&mut reader), numbers(0..5));
        log.append(5..7);
        assert_eq!(all(&mut reader), ["5", "6"]);
        assert_eq!((log.tail(3), log.tail(9)), (numbers(4..7), numbers(0..7)));
    }
}

#[test]
fn a_tail_of_a_big_file_is_read_from_its_end() {
    for layout in LAYOUTS {
        let log = Log::new(layout);
        log.append(0..1);
        // A hole, of which reading all would take minutes.
        File::options().write(true).open(log.path(0)).unwrap().set_len(200 << 30).unwrap();
        if layout != Layout::Compact {
            File::options().append(true).open(log.path(0)).unwrap().write_all(b"\n").unwrap();
        }
        log.append(1..4);
        let begun = std::time::Instant::now();
        assert_eq!(log.tail(2), ["2", "3"]);
        assert!(begun.elapsed() < std::time::Duration::from_secs(5));
    }
}

/// The keeper writes and rotates while somebody reads, each as fast as it can.
#[test]
fn under_load_nothing_is_lost_or_repeated() {
    for layout in [Layout::Compact, Layout::Json] {
        let log = Log::new(layout);
        let mut reader = log.reader(None);
        let (mut seen, last) = (0_usize, 30_000);
        let (sender, receiver) = std::sync::mpsc::sync_channel::<()>(0);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for block in 0..last / 100 {
                    log.append(block * 100..block * 100 + 100);
                    if block % 3 == 2 {
                        // A reader that is three files behind would lose lines, as it must.
                        let _ = receiver.recv();
                        log.rotate();
                    }
                }
                drop(receiver);
            });
            loop {
                let is_over = writer.is_finished();
                let batch = reader.read().unwrap();
                for entry in &batch {
                    assert_eq!(String::from_utf8_lossy(&entry.data).trim_end(), seen.to_string());
                    seen += 1;
                }
                if batch.is_empty() {
                    let _ = sender.try_send(());
                    if is_over {
                        break;
                    }
                }
            }
        });
        assert_eq!(seen, last);
    }
}
