//! Words that belong in certain folders only, and words that belong nowhere.

use std::collections::BTreeSet;

use crate::imports;
use crate::tree::{File, Violation};

/// A word and the only places it may stand in.
struct Rule {
    word: &'static str,
    /// Prefixes of paths the rule looks at.
    within: &'static [&'static str],
    /// Prefixes of paths in `within` where the word may stand.
    except: &'static [&'static str],
    /// Whether test code may use it.
    in_tests: bool,
    why: &'static str,
}

const EVERYWHERE: &[&str] = &[""];
const CORE: &[&str] = &["controller/core/src/"];
const RUNTIME: &[&str] = &["agent/runtime/src/"];
const UNSAFE: &[&str] = &["agent/runtime/src/sys/", "agent/runtime/src/process/", "tests/tidy/"];
/// Pure functions outside the core.
const PURE: &[&str] = &[
    "agent/runtime/src/plan",
    "agent/runtime/src/attest/compare",
    "agent/runtime/src/attest/expected",
    "agent/runtime/src/attest/observed",
    "agent/src/assignment.rs",
    "agent/src/task/machine.rs",
    "controller/src/consensus/driver.rs",
    "controller/src/consensus/step.rs",
    "controller/src/convert",
];

const fn never_in_core(word: &'static str) -> Rule {
    Rule { word, within: CORE, except: &[], in_tests: false, why: "the brain is a pure function" }
}

const fn nowhere(word: &'static str, why: &'static str) -> Rule {
    Rule { word, within: EVERYWHERE, except: &["tests/tidy/"], in_tests: false, why }
}

const fn only_in(word: &'static str, except: &'static [&'static str], why: &'static str) -> Rule {
    Rule { word, within: EVERYWHERE, except, in_tests: true, why }
}

/// The directories of the keeper and of the OCI command line are the host's; everything else in the runtime may be
/// an image's.
const fn by_descriptor(word: &'static str) -> Rule {
    let why = "a root file system is only ever handled as a descriptor";
    let except = &["agent/runtime/src/keeper/", "agent/runtime/src/oci/"];
    Rule { word, within: RUNTIME, except, in_tests: false, why }
}

const fn one_thread(word: &'static str) -> Rule {
    let why = "the keeper has one thread, because its children are copies of it";
    Rule { word, within: RUNTIME, except: &[], in_tests: false, why }
}

const fn time_is_an_argument(word: &'static str) -> Rule {
    Rule { word, within: PURE, except: &[], in_tests: false, why: "a pure function reads no clock" }
}

const RULES: &[Rule] = &[
    never_in_core("HashMap"),
    never_in_core("HashSet"),
    never_in_core("SystemTime"),
    never_in_core("Instant"),
    never_in_core("std::fs"),
    never_in_core("std::net"),
    never_in_core("std::thread"),
    never_in_core("std::env"),
    never_in_core("async fn"),
    only_in(
        "raft::",
        &["controller/src/consensus", "controller/tests/", "tests/tidy/"],
        "the raft crate stays behind the driver",
    ),
    only_in(
        "protobuf::",
        &["controller/src/consensus", "tests/tidy/"],
        "the old protobuf stays behind the driver",
    ),
    only_in("slog::", &["controller/src/consensus", "tests/tidy/"], "slog stays behind the driver"),
    only_in(
        "raft_engine::",
        &["controller/src/consensus", "tests/tidy/"],
        "the log engine stays behind its trait",
    ),
    only_in(
        "sled::",
        &["agent/engine/src/records", "tests/tidy/"],
        "its flush is no fsync: one module knows",
    ),
    only_in("cgroups_rs::", &["agent/runtime/src/cgroup", "tests/tidy/"], "cgroups stay behind one trait"),
    only_in(
        "rtnetlink::",
        &["agent/engine/src/network/", "agent/engine/tests/", "tests/tidy/"],
        "links stay in the network",
    ),
    only_in(
        "reqwest::",
        &["agent/engine/src/image", "agent/engine/tests/", "tests/tidy/"],
        "HTTP is for registries",
    ),
    Rule {
        word: "tonic::",
        within: &["controller/src/"],
        except: &[
            "controller/src/api",
            "controller/src/ca",
            "controller/src/convert",
            "controller/src/dispatch",
            "controller/src/error.rs",
            "controller/src/identity",
            "controller/src/node_client",
            "controller/src/server",
            "controller/src/telemetry.rs",
            "controller/src/tls",
        ],
        in_tests: true,
        why: "the wire stays in the plumbing",
    },
    Rule {
        word: "Command::new",
        within: &["controller/src/", "agent/runtime/src/"],
        // What an OCI configuration calls hooks.
        except: &["agent/runtime/src/oci/hook.rs"],
        in_tests: true,
        why: "no helper processes",
    },
    by_descriptor("std::fs"),
    by_descriptor("File::open("),
    by_descriptor("File::create("),
    by_descriptor("OpenOptions"),
    by_descriptor(".canonicalize()"),
    by_descriptor(".is_dir()"),
    by_descriptor(".is_file()"),
    by_descriptor(".metadata()"),
    by_descriptor(".read_dir()"),
    by_descriptor(".read_link()"),
    one_thread("thread::spawn"),
    one_thread("thread::scope"),
    one_thread("thread::Builder"),
    time_is_an_argument("SystemTime"),
    time_is_an_argument("Instant"),
    Rule {
        word: "proto::",
        within: &["controller/src/consensus", "controller/src/leader.rs", "controller/src/store.rs"],
        except: &[],
        in_tests: true,
        why: "the wire stays in the plumbing",
    },
    Rule {
        word: "anyhow",
        within: EVERYWHERE,
        except: &["controller/src/main.rs", "controller/examples/", "agent/src/main.rs", "tests/"],
        in_tests: true,
        why: "libraries name their errors",
    },
    Rule {
        word: "println!",
        within: EVERYWHERE,
        except: &["agent/hello/src/", "proto/build.rs", "agent/build.rs", "tests/"],
        in_tests: true,
        why: "only ctl's output module prints",
    },
    nowhere("eprintln!(\"debug", "left over from debugging"),
    nowhere(".unwrap()", "name the error"),
    nowhere("panic!(", "name the error"),
    nowhere("todo!(", "unfinished"),
    nowhere("unimplemented!(", "unfinished"),
    Rule { in_tests: false, ..nowhere("unreachable!(", "make it so that the compiler knows") },
    only_in("dbg!(", &["tests/tidy/"], "left over from debugging"),
    only_in("#[allow(", &["tests/tidy/"], "use #[expect(.., reason = ..)]"),
    only_in("#![allow(", &["proto/src/lib.rs", "tests/tidy/"], "only generated code is left as it is"),
    only_in("#[ignore", &["tests/tidy/"], "a test that does not run is none"),
    only_in("TODO", &["tests/tidy/"], "file an issue"),
    only_in("FIXME", &["tests/tidy/"], "mend it"),
    only_in("XXX", &["tests/tidy/"], "mend it"),
    only_in("unsafe {", UNSAFE, "two folders hold all unsafe code"),
    only_in("unsafe fn", UNSAFE, "two folders hold all unsafe code"),
    only_in("unsafe impl", UNSAFE, "two folders hold all unsafe code"),
    only_in("unsafe extern", UNSAFE, "two folders hold all unsafe code"),
];

fn stands_in(path: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| path.starts_with(prefix))
}

/// Refuses each word that stands outside its places. Comments may mention anything.
pub(crate) fn judge(file: &File) -> Vec<Violation> {
    let tests_begin = file.tests_begin();
    let imported = imports::paths(&file.text);
    let mut found = Vec::new();
    for rule in RULES {
        if !stands_in(&file.path, rule.within) || stands_in(&file.path, rule.except) {
            continue;
        }
        let written = file.text.lines().enumerate().filter(|(_, line)| contains(line, rule.word));
        let mut lines: BTreeSet<usize> = written.map(|(index, _)| index + 1).collect();
        lines.extend(imported.iter().filter(|(_, path)| leads_to(path, rule.word)).map(|(line, _)| *line));
        let counts = |line: &usize| rule.in_tests || *line <= tests_begin;
        let violation = |line| file.violation(line, format!("{}: {}", rule.word, rule.why));
        found.extend(lines.into_iter().filter(counts).map(violation));
    }
    found
}

/// Whether an imported path is the one a word stands for, or below it.
fn leads_to(path: &str, word: &str) -> bool {
    let module = word.trim_end_matches("::");
    let below = path.strip_prefix(module);
    word.contains("::") && below.is_some_and(|below| below.is_empty() || below.starts_with("::"))
}

/// Whether the word stands in the code of a line, not as the end of a longer one.
fn contains(line: &str, word: &str) -> bool {
    let code = line.split("//").next().unwrap_or(line);
    let code = if line.contains("http://") || line.contains("https://") { line } else { code };
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let starts_inside = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let first_is_name = word.starts_with(|c: char| c.is_alphanumeric());
        !(starts_inside && first_is_name)
    })
}

/// Refuses mentions of how the project came about: it must make sense by itself.
pub(crate) fn outside(file: &File) -> Vec<Violation> {
    let words = [concat!("../sha", "red"), concat!("DESIGN", ".md"), concat!("/work/", "main")];
    let line_of = |(index, line): (usize, &str)| {
        let word = words.iter().find(|word| line.contains(**word))?;
        Some(file.violation(index + 1, format!("mentions {word}")))
    };
    file.text.lines().enumerate().filter_map(line_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File::example(path, text)
    }

    #[test]
    fn each_rule_finds_its_word() {
        for rule in RULES {
            let folder = rule.within[0];
            let bad = file(&format!("{folder}somewhere.rs"), &format!("//! x\nlet a = {} b;\n", rule.word));
            assert!(!judge(&bad).is_empty(), "{} is not found", rule.word);
        }
    }

    #[test]
    fn imports_by_tree_or_other_name_are_found() {
        for (path, text) in [
            ("controller/core/src/a.rs", "//! x\nuse std::{\n    collections::BTreeMap,\n    fs,\n};\n"),
            ("controller/core/src/a.rs", "//! x\nuse std::net as wire;\n"),
            ("agent/src/a.rs", "//! x\nuse sled as store;\n"),
            ("agent/runtime/src/process/a.rs", "//! x\nuse std::{fs::File, io};\n"),
        ] {
            assert_eq!(judge(&file(path, text)).len(), 1, "{text}");
        }
        assert!(judge(&file("controller/core/src/a.rs", "//! x\nuse std::{fmt, io};\n")).is_empty());
    }

    #[test]
    fn comments_and_longer_words_are_no_uses() {
        assert!(judge(&file("controller/core/src/a.rs", "// a HashMap would not do\n")).is_empty());
        assert!(judge(&file("agent/src/a.rs", "eprintln!(\"x\")\n")).is_empty());
    }

    #[test]
    fn tests_may_unwrap_but_code_may_not() {
        let text = "fn a() { b.unwrap(); }\n#[cfg(test)]\nmod tests {\n fn c() { d.unwrap(); }\n}\n";
        assert_eq!(judge(&file("agent/src/a.rs", text)).len(), 1);
    }

    #[test]
    fn mentions_of_the_outside_are_found() {
        let text = concat!("see ../sha", "red/x\n");
        assert_eq!(outside(&file("README.md", text)).len(), 1);
    }
}
