//! Words that belong in certain folders only, and words that belong nowhere.

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

const fn never_in_core(word: &'static str) -> Rule {
    Rule { word, within: CORE, except: &[], in_tests: false, why: "the brain is a pure function" }
}

const fn nowhere(word: &'static str, why: &'static str) -> Rule {
    Rule { word, within: EVERYWHERE, except: &["tests/tidy/"], in_tests: false, why }
}

const fn only_in(word: &'static str, except: &'static [&'static str], why: &'static str) -> Rule {
    Rule { word, within: EVERYWHERE, except, in_tests: true, why }
}

const RULES: [Rule; 36] = [
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
        "nlink::",
        &["agent/engine/src/network/", "agent/engine/tests/", "tests/tidy/"],
        "netfilter stays in the network",
    ),
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
        except: &[],
        in_tests: true,
        why: "no helper processes",
    },
    Rule {
        word: "std::fs::",
        within: &["agent/runtime/src/plan", "agent/runtime/src/rootfs"],
        except: &[],
        in_tests: false,
        why: "a root file system is only ever handled as a descriptor",
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
    only_in("#[ignore", &["tests/tidy/"], "a test that does not run is none"),
    only_in("TODO", &["tests/tidy/"], "file an issue"),
    only_in("FIXME", &["tests/tidy/"], "mend it"),
    only_in("XXX", &["tests/tidy/"], "mend it"),
    only_in(
        "unsafe {",
        &["agent/runtime/src/sys", "agent/runtime/src/process", "tests/tidy/"],
        "two folders hold all unsafe code",
    ),
];

fn stands_in(path: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| path.starts_with(prefix))
}

/// Refuses each word that stands outside its places. Comments may mention anything.
pub(crate) fn judge(file: &File) -> Vec<Violation> {
    let tests_begin = file.tests_begin();
    let mut found = Vec::new();
    for rule in &RULES {
        if !stands_in(&file.path, rule.within) || stands_in(&file.path, rule.except) {
            continue;
        }
        for (index, line) in file.text.lines().enumerate() {
            if !rule.in_tests && index >= tests_begin {
                break;
            }
            if contains(line, rule.word) {
                found.push(file.violation(index + 1, format!("{}: {}", rule.word, rule.why)));
            }
        }
    }
    found
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
        for rule in &RULES {
            let folder = rule.within[0];
            let bad = file(&format!("{folder}somewhere.rs"), &format!("//! x\nlet a = {} b;\n", rule.word));
            assert!(!judge(&bad).is_empty(), "{} is not found", rule.word);
        }
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
