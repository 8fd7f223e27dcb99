//! Every number of a system call, through each of the processor's three ways into the kernel, compared with the list as
//! it is written, not as it was compiled.

use std::collections::BTreeMap;

use agent_runtime::defaults;
use oci_spec::runtime::Capability;

use super::{ran, unfiltered};
use crate::lab::{Lab, Ran};
use crate::probe::{self, Gate};

const LIST: &str = include_str!("../../../src/seccomp/default.txt");
const NUMBERS: &str = include_str!("../../../src/seccomp/x86_64.txt");

const EPERM: i32 = 1;
const ENOSYS: i32 = 38;
const SIGSYS: i32 = 31;
/// Far beyond what any kernel knows.
const LAST: u32 = 1023;
/// `uretprobe` and `uprobe`: what the kernel's own breakpoints in user memory call.
const KERNELS_OWN: [u32; 2] = [335, 336];
const X32: u32 = 0x4000_0000;

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// What the list says of an ordinary container: the error, or nothing where the kernel is reached, at least with
/// some arguments.
fn listed() -> BTreeMap<&'static str, Option<i32>> {
    let has = |name: &str| {
        let plain = |name: &str| name.trim_start_matches("CAP_").to_owned();
        defaults::CAPABILITIES.iter().any(|one: &Capability| plain(&one.to_string()) == plain(name))
    };
    let mut found = BTreeMap::new();
    for line in lines(LIST) {
        let line = line.split(" when ").next().expect("a first part");
        let mut words = line.split_whitespace();
        let mut verb = words.next().expect("a word");
        if verb == "with" || verb == "without" {
            let holds = has(words.next().expect("a capability")) == (verb == "with");
            verb = words.next().expect("a word");
            if !holds {
                continue;
            }
        }
        let error =
            (verb == "errno").then(|| words.next().and_then(|word| word.parse().ok()).expect("a number"));
        found.extend(words.map(|name| (name, error)));
    }
    found
}

/// Numbers that never reach the kernel, and the error of each.
fn refused() -> Vec<(u32, i32)> {
    let known: BTreeMap<u32, &str> = lines(NUMBERS)
        .filter_map(|line| line.split_once(' '))
        .map(|(name, number)| (number.parse().expect("a number"), name))
        .collect();
    let end = known.keys().max().expect("numbers") + 1;
    let listed = listed();
    let verdict = |number: u32| match known.get(&number).and_then(|name| listed.get(name)) {
        Some(error) => *error,
        None if number < end => Some(EPERM),
        None => Some(ENOSYS),
    };
    // The kernel lets its own probes past every filter.
    let numbers = (0..=LAST).filter(|number| !KERNELS_OWN.contains(number));
    numbers.filter_map(|number| Some((number, -verdict(number)?))).collect()
}

/// Runs the table; answers what differed.
fn differing(lab: &Lab, gate: Gate, table: &[(u32, i32)], filtered: bool) -> Vec<String> {
    probe::write_each(&lab.lower().join("bin/probe"), gate, table);
    let Ran { code, out, err, .. } = ran(lab, &["probe"], |spec| {
        if !filtered {
            unfiltered(spec);
        }
    });
    assert_eq!(code, 0, "{out}{err}");
    out.lines().map(str::to_owned).collect()
}

#[test]
fn every_number_that_is_not_listed_is_refused_as_written() {
    let lab = Lab::new();
    let table = refused();
    assert!(table.len() > 500 && table.iter().any(|(_, error)| *error == -EPERM), "{}", table.len());
    assert_eq!(differing(&lab, Gate::X86_64, &table, true), [""; 0]);
    let without = differing(&lab, Gate::X86_64, &table, false);
    assert!(without.len() > 20, "without a filter the kernel says nearly the same: {without:?}");
}

#[test]
fn no_number_of_x32_exists() {
    let lab = Lab::new();
    let table: Vec<_> = (0..=LAST).map(|number| (X32 + number, -ENOSYS)).collect();
    assert_eq!(differing(&lab, Gate::X86_64, &table, true), [""; 0]);
}

#[test]
fn every_number_of_32_bit_programs_kills() {
    let lab = Lab::new();
    // First one that does no harm if it is made after all; others would wait for ever.
    assert_eq!(differing(&lab, Gate::I386, &[(20, SIGSYS)], true), [""; 0]);
    let table: Vec<_> = (0..=511).map(|number| (number, SIGSYS)).collect();
    assert_eq!(differing(&lab, Gate::I386, &table, true), [""; 0]);
    // getpid and getuid, which succeed where the kernel runs such programs and there is no filter.
    assert_eq!(differing(&lab, Gate::I386, &[(20, SIGSYS), (24, SIGSYS)], false), ["00000014", "00000018"]);
}
