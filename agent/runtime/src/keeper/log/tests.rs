//! What is read back is what was written, whatever comes between.

use std::fs;
use std::os::unix::fs::FileExt;

use proptest::prelude::*;

use super::*;
use crate::container::LogDriver;
use crate::log::compact::Found;

const FORMS: [LogDriver; 2] = [LogDriver::Local, LogDriver::JsonFile];

struct Scratch {
    dir: tempfile::TempDir,
    policy: LogPolicy,
    log: Log,
}

fn scratch(driver: LogDriver, max_bytes: u64, max_files: u32) -> Scratch {
    let dir = tempfile::tempdir().unwrap();
    let policy = LogPolicy { driver, max_bytes, max_files, ..LogPolicy::default() };
    let log = Log::open(fs::File::open(dir.path()).unwrap(), "abc", &policy).unwrap().unwrap();
    Scratch { dir, policy, log }
}

impl Scratch {
    fn reopen(&mut self) {
        let dir = fs::File::open(self.dir.path()).unwrap();
        self.log = Log::open(dir, "abc", &self.policy).unwrap().unwrap();
    }

    fn path(&self, number: u32) -> std::path::PathBuf {
        self.dir.path().join(Layout::of(self.policy.driver).unwrap().file("abc", number))
    }

    fn files(&self) -> Vec<std::path::PathBuf> {
        (0..100).map(|number| self.path(number)).take_while(|path| path.exists()).collect()
    }

    /// The lines of all files, oldest first, each with its stream and its line feed if it had one.
    fn text(&self) -> Vec<(String, String)> {
        let read = |path: &std::path::PathBuf| match self.policy.driver {
            LogDriver::Local => compact_lines(&fs::read(path).unwrap()),
            _ => json_lines(&fs::read_to_string(path).unwrap()),
        };
        self.files().iter().rev().flat_map(read).collect()
    }
}

fn json_lines(text: &str) -> Vec<(String, String)> {
    let parse = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let field = |name: &str| value[name].as_str().unwrap().to_owned();
        assert!(field("time").ends_with('Z'));
        (field("stream"), field("log"))
    };
    text.lines().map(parse).collect()
}

fn compact_lines(bytes: &[u8]) -> Vec<(String, String)> {
    let Some(seed) = Seed::of(bytes) else {
        assert!(bytes.is_empty());
        return Vec::new();
    };
    let (mut lines, mut rest, mut last) = (Vec::new(), &bytes[compact::FILE_HEAD..], 0);
    while !rest.is_empty() {
        let Found::Frame(frame) = compact::frame(seed, rest) else { panic!("no frame") };
        for line in frame.lines() {
            assert!(line.time_ns > last, "times rise");
            last = line.time_ns;
            let end = if line.is_whole { "\n" } else { "" };
            let stream = if line.stderr { "stderr" } else { "stdout" };
            lines.push((stream.to_owned(), String::from_utf8_lossy(line.text).into_owned() + end));
        }
        rest = &rest[frame.size..];
    }
    lines
}

#[test]
fn a_line_is_recorded_once_it_is_whole_or_its_stream_has_ended() {
    for form in FORMS {
        let mut scratch = scratch(form, 1 << 20, 3);
        scratch.log.append(Source::Stdout, b"one\ntw").unwrap();
        scratch.log.append(Source::Stderr, b"err\n").unwrap();
        assert_eq!(scratch.text().len(), 2);
        scratch.log.append(Source::Stdout, b"o\nrest").unwrap();
        scratch.log.finish(Source::Stdout).unwrap();
        let text = scratch.text();
        let texts: Vec<&str> = text.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["one\n", "err\n", "two\n", "rest"]);
        assert_eq!(text[1].0, "stderr");
    }
}

#[test]
fn rotation_keeps_the_newest_lines_and_no_more_files_than_allowed() {
    for form in FORMS {
        let mut scratch = scratch(form, 2_000, 3);
        for number in 0..500 {
            scratch.log.append(Source::Stdout, format!("line {number}\n").as_bytes()).unwrap();
        }
        let text = scratch.text();
        assert_eq!(text.last().unwrap().1, "line 499\n");
        let first: usize = text[0].1.trim_start_matches("line ").trim().parse().unwrap();
        for (line, number) in text.iter().zip(first..) {
            assert_eq!(line.1, format!("line {number}\n"));
        }
        let sizes: Vec<u64> = scratch.files().iter().map(|path| fs::metadata(path).unwrap().len()).collect();
        assert!(sizes.len() == 3 && sizes.iter().all(|size| *size <= 2_000), "{sizes:?}");
    }
}

#[test]
fn a_file_takes_a_line_that_is_longer_than_it_may_be() {
    for form in FORMS {
        let mut scratch = scratch(form, 100, 2);
        for _ in 0..3 {
            scratch.log.append(Source::Stdout, &[&[b'x'; 500][..], b"\n"].concat()).unwrap();
        }
        assert_eq!((scratch.text().len(), scratch.files().len()), (2, 2));
    }
}

#[test]
fn a_reopened_log_goes_on_where_it_was() {
    for form in FORMS {
        let mut scratch = scratch(form, 1 << 20, 1);
        scratch.log.append(Source::Stdout, b"a\n").unwrap();
        scratch.reopen();
        scratch.log.append(Source::Stdout, b"b\n").unwrap();
        assert_eq!(scratch.text().len(), 2);
    }
}

/// A crash in the middle of a write, at every byte of it; and zeros, which a file system may leave instead.
#[test]
fn what_a_crash_left_is_cut_off_and_nothing_before_it_is_lost() {
    for form in FORMS {
        let mut scratch = scratch(form, 1 << 20, 1);
        scratch.log.append(Source::Stdout, b"one\n").unwrap();
        scratch.log.append(Source::Stderr, b"two\n").unwrap();
        let whole = fs::read(scratch.path(0)).unwrap().len();
        scratch.log.append(Source::Stdout, b"three and more\n").unwrap();
        let bytes = fs::read(scratch.path(0)).unwrap();
        for cut in whole..bytes.len() {
            for zeros in [0, 1, 70_000] {
                let mut torn = bytes[..cut].to_vec();
                torn.resize(cut + zeros, 0);
                fs::write(scratch.path(0), &torn).unwrap();
                scratch.reopen();
                scratch.log.append(Source::Stdout, b"next\n").unwrap();
                let texts: Vec<String> = scratch.text().into_iter().map(|(_, text)| text).collect();
                let expected: &[&str] = match torn.starts_with(&bytes) {
                    // All that was missing of it were zeros.
                    true => &["one\n", "two\n", "three and more\n", "next\n"],
                    false => &["one\n", "two\n", "next\n"],
                };
                assert_eq!(texts, expected, "{form:?} {cut} {zeros}");
            }
        }
    }
}

#[test]
fn what_is_no_log_at_all_is_begun_anew() {
    for garbage in [&b"RSLOG"[..], &[0; 100]] {
        let mut scratch = scratch(LogDriver::Local, 1 << 20, 1);
        fs::write(scratch.path(0), garbage).unwrap();
        scratch.reopen();
        scratch.log.append(Source::Stdout, b"next\n").unwrap();
        assert_eq!(scratch.text().len(), 1);
    }
}

/// What a container writes lands in the file as it is, so it may write what looks like a frame.
#[test]
fn a_frame_within_a_line_is_not_taken_for_one_after_a_crash() {
    let mut scratch = scratch(LogDriver::Local, 1 << 20, 1);
    let mut forged = Vec::new();
    let making = Making::begin(&mut forged, 1, false);
    making.end(&mut forged, Seed::random());
    scratch.log.append(Source::Stdout, b"true\n").unwrap();
    let whole = fs::metadata(scratch.path(0)).unwrap().len();
    scratch.log.append(Source::Stdout, &[&forged[..], b" lie\n"].concat()).unwrap();
    let file = fs::File::options().write(true).open(scratch.path(0)).unwrap();
    file.set_len(fs::metadata(scratch.path(0)).unwrap().len() - 1).unwrap();
    scratch.reopen();
    assert_eq!(fs::metadata(scratch.path(0)).unwrap().len(), whole);
}

#[test]
fn damage_in_the_middle_costs_one_frame() {
    let mut scratch = scratch(LogDriver::Local, 1 << 20, 1);
    scratch.log.append(Source::Stdout, b"one\n").unwrap();
    let at = fs::metadata(scratch.path(0)).unwrap().len();
    scratch.log.append(Source::Stdout, b"two\n").unwrap();
    scratch.log.append(Source::Stdout, b"three\n").unwrap();
    let size = fs::metadata(scratch.path(0)).unwrap().len();
    let file = fs::File::options().write(true).open(scratch.path(0)).unwrap();
    file.write_all_at(b"----", at + 10).unwrap();
    scratch.reopen();
    assert_eq!(fs::metadata(scratch.path(0)).unwrap().len(), size, "what follows is good");
}

#[test]
fn bytes_that_are_no_text_stay_in_the_compact_form_and_long_lines_are_cut_between_characters() {
    for form in FORMS {
        let mut scratch = scratch(form, 1 << 20, 2);
        let long = "é".repeat(MAX_PIECE);
        scratch.log.append(Source::Stdout, b"\xff\xfe\n").unwrap();
        scratch.log.append(Source::Stdout, format!("x{long}\n").as_bytes()).unwrap();
        let text = scratch.text();
        assert_eq!(text[0].1, "\u{fffd}\u{fffd}\n");
        let joined: String = text[1..].iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(joined, format!("x{long}\n"));
        assert!(text[1].1.len() <= MAX_PIECE && !text[1].1.ends_with('\n'));
        let kept = fs::read(scratch.path(0)).unwrap().windows(2).any(|two| two == b"\xff\xfe");
        assert_eq!(kept, form == LogDriver::Local);
    }
}

#[test]
fn a_line_that_never_ends_takes_no_more_memory_than_a_piece() {
    for form in FORMS {
        let mut scratch = scratch(form, 1 << 20, 2);
        for _ in 0..2_000 {
            scratch.log.append(Source::Stdout, &[b'x'; 4_096]).unwrap();
        }
        let held = scratch.log.partial[0].capacity() + scratch.log.batch.capacity();
        assert!(held <= 3 * BATCH, "{held} bytes");
    }
}

#[test]
fn nothing_is_kept_by_the_driver_none() {
    let dir = tempfile::tempdir().unwrap();
    let policy = LogPolicy { driver: LogDriver::None, ..LogPolicy::default() };
    assert!(Log::open(fs::File::open(dir.path()).unwrap(), "abc", &policy).unwrap().is_none());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_log_holds_every_byte_of_text_in_order(chunks in prop::collection::vec(("[a-c\n]{0,40}", any::<bool>()), 0..40), files in 1_u32..4) {
        for form in FORMS {
            let mut scratch = scratch(form, u64::MAX, files);
            let source = |stderr: bool| if stderr { Source::Stderr } else { Source::Stdout };
            for (chunk, stderr) in &chunks {
                scratch.log.append(source(*stderr), chunk.as_bytes()).unwrap();
            }
            for stderr in [false, true] {
                scratch.log.finish(source(stderr)).unwrap();
                let name = if stderr { "stderr" } else { "stdout" };
                let joined: String =
                    scratch.text().into_iter().filter(|(stream, _)| stream == name).map(|(_, text)| text).collect();
                let expected: String =
                    chunks.iter().filter(|(_, other)| *other == stderr).map(|(chunk, _)| chunk.as_str()).collect();
                prop_assert_eq!(joined, expected);
            }
        }
    }
}

#[test]
fn compressed_files_move_along_and_the_names_are_not_touched_while_somebody_holds_them() {
    let dir = tempfile::tempdir().unwrap();
    let policy = LogPolicy {
        driver: LogDriver::JsonFile,
        max_bytes: 200,
        max_files: 4,
        compress: true,
        ..LogPolicy::default()
    };
    let mut log = Log::open(fs::File::open(dir.path()).unwrap(), "abc", &policy).unwrap().unwrap();
    let path = |number: u32| dir.path().join(Layout::Json.file("abc", number));
    let packed = |number: u32| dir.path().join(Layout::Json.compressed("abc", number));
    let mut fill = || log.append(Source::Stdout, &[b"x".repeat(100), b"\n".to_vec()].concat()).unwrap();
    (0..2).for_each(|_| fill());
    fs::rename(path(1), packed(1)).unwrap();
    (0..2).for_each(|_| fill());
    assert!(packed(3).exists() && !packed(1).exists() && path(2).exists() && path(1).exists());
    let held = fs::File::open(dir.path()).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    fill();
    assert!(packed(3).exists() && fs::metadata(path(0)).unwrap().len() > 200, "it waits");
    (0..2).for_each(|_| fill());
    assert!(!packed(3).exists(), "but not for ever");
    drop(held);
    (0..4).for_each(|_| fill());
    assert!(path(3).exists() && !path(4).exists() && !packed(4).exists());
    assert!(fs::metadata(path(0)).unwrap().len() <= 200);
}
