//! From the text of a profile to one decision per system call number. Pure.

use std::collections::BTreeMap;

use crate::capabilities::CapSet;

const DEFAULT: &str = include_str!("default.txt");
const NUMBERS: &str = include_str!("x86_64.txt");

/// What happens to a system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is made.
    Allow,
    /// It fails with this `errno`.
    Errno(u16),
    /// It is made when one of these holds, and fails with `EPERM` otherwise.
    When(Vec<Condition>),
    /// The kernel's number for what happens.
    Return(u32),
    /// The first check whose conditions all hold decides.
    Checks {
        /// In the order they are asked.
        checks: Vec<Check>,
        /// What happens where none holds.
        otherwise: u32,
    },
}

/// Conditions, and the kernel's number for what happens when all of them hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    /// At most six.
    pub arguments: Vec<Argument>,
    /// What happens then.
    pub result: u32,
}

/// A comparison of all 64 bits of one argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Argument {
    /// Which argument, from 0 to 5.
    pub index: u8,
    /// How it is compared.
    pub compare: Compare,
    /// With what.
    pub value: u64,
}

/// How two numbers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    Equal,
    NotEqual,
    Less,
    AtMost,
    AtLeast,
    More,
    /// The argument's bits that are in this mask are the value.
    Masked(u64),
}

/// A test of the low 32 bits of one argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    /// Which argument, from 0 to 5.
    pub argument: u8,
    /// How it is tested.
    pub test: Test,
}

/// How an argument is tested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Test {
    /// Lies in one of these ranges, both ends included.
    In(Vec<(u32, u32)>),
    /// Has none of these bits.
    Lacks(u32),
}

/// Decisions by number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decisions {
    /// By system call number.
    pub by_number: BTreeMap<u32, Decision>,
    /// One more than the highest number known.
    pub end: u32,
    /// Of calls that are known and not listed.
    pub missing: Decision,
    /// Of numbers from `end` on.
    pub beyond: Decision,
}

/// `errno` of calls that nobody knows.
const ENOSYS: u16 = 38;
const EPERM: u16 = 1;

/// The built-in profile is damaged: a mistake in this crate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the built-in seccomp profile is wrong: {0}")]
pub struct ProfileError(String);

/// The default profile for a container whose bounding set is `capabilities`.
pub(crate) fn resolve(capabilities: CapSet) -> Result<Decisions, ProfileError> {
    let numbers = numbers()?;
    let mut by_number = BTreeMap::new();
    for line in lines(DEFAULT) {
        let rule = Rule::parse(line)?;
        if !rule.applies(capabilities) {
            continue;
        }
        for name in rule.names {
            let number = *numbers.get(name).ok_or_else(|| wrong(name))?;
            merge(by_number.entry(number), rule.decision.clone());
        }
    }
    let end = numbers.values().max().map_or(0, |highest| highest + 1);
    Ok(Decisions { by_number, end, missing: Decision::Errno(EPERM), beyond: Decision::Errno(ENOSYS) })
}

/// The numbers of the calls of x86-64, by name.
pub(crate) fn numbers() -> Result<BTreeMap<&'static str, u32>, ProfileError> {
    let mut numbers = BTreeMap::new();
    for line in lines(NUMBERS) {
        let (name, number) = line.split_once(' ').ok_or_else(|| wrong(line))?;
        numbers.insert(name, number.parse::<u32>().map_err(|_| wrong(line))?);
    }
    Ok(numbers)
}

fn merge(entry: std::collections::btree_map::Entry<'_, u32, Decision>, new: Decision) {
    use std::collections::btree_map::Entry;
    match entry {
        Entry::Vacant(vacant) => {
            vacant.insert(new);
        }
        Entry::Occupied(mut occupied) => match (occupied.get_mut(), new) {
            (Decision::When(alternatives), Decision::When(more)) => alternatives.extend(more),
            (old, new) => *old = new,
        },
    }
}

struct Rule<'a> {
    needs: Option<(CapSet, bool)>,
    decision: Decision,
    names: Vec<&'a str>,
}

impl<'a> Rule<'a> {
    fn parse(line: &'a str) -> Result<Rule<'a>, ProfileError> {
        let (head, condition) = match line.split_once(" when ") {
            Some((head, condition)) => (head, Some(parse_condition(condition)?)),
            None => (line, None),
        };
        let mut words = head.split_whitespace().peekable();
        let needs = match words.peek() {
            Some(&word @ ("with" | "without")) => {
                words.next();
                let set = CapSet::named(words.next().unwrap_or_default());
                if set.0 == 0 {
                    return Err(wrong(line));
                }
                Some((set, word == "with"))
            }
            _ => None,
        };
        let decision = match (words.next(), condition) {
            (Some("allow"), None) => Decision::Allow,
            (Some("allow"), Some(condition)) => Decision::When(vec![condition]),
            (Some("errno"), None) => {
                let errno = words.next().and_then(|word| word.parse().ok());
                Decision::Errno(errno.filter(|errno| *errno < 4096).ok_or_else(|| wrong(line))?)
            }
            _ => return Err(wrong(line)),
        };
        Ok(Rule { needs, decision, names: words.collect() })
    }

    fn applies(&self, capabilities: CapSet) -> bool {
        self.needs.is_none_or(|(set, wanted)| capabilities.contains(set) == wanted)
    }
}

fn parse_condition(text: &str) -> Result<Condition, ProfileError> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let ["arg", argument, verb, values] = words[..] else { return Err(wrong(text)) };
    let argument = argument.parse().ok().filter(|index| *index < 6).ok_or_else(|| wrong(text))?;
    let test = match verb {
        "in" => {
            let mut ranges = Vec::new();
            for range in values.split(',') {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                ranges.push((parse_u32(first)?, parse_u32(last)?));
            }
            Test::In(ranges)
        }
        "lacks" => Test::Lacks(parse_u32(values)?),
        _ => return Err(wrong(text)),
    };
    Ok(Condition { argument, test })
}

fn parse_u32(text: &str) -> Result<u32, ProfileError> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| wrong(text))
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn wrong(at: &str) -> ProfileError {
    ProfileError(at.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(capabilities: CapSet, number: libc::c_long) -> Option<Decision> {
        let number = u32::try_from(number).expect("a system call number");
        resolve(capabilities).expect("the built-in profile parses").by_number.get(&number).cloned()
    }

    #[test]
    fn clone_is_checked_only_without_sys_admin() {
        assert_eq!(decision(CapSet::ALL, libc::SYS_clone), Some(Decision::Allow));
        assert!(matches!(decision(CapSet(0), libc::SYS_clone), Some(Decision::When(_))));
        assert_eq!(decision(CapSet(0), libc::SYS_clone3), Some(Decision::Errno(38)));
    }

    #[test]
    fn a_capability_opens_exactly_its_calls() {
        assert_eq!(decision(CapSet::named("SYS_CHROOT"), libc::SYS_chroot), Some(Decision::Allow));
        assert_eq!(decision(CapSet(0), libc::SYS_chroot), None);
        assert_eq!(decision(CapSet::named("SYS_CHROOT"), libc::SYS_mount), None);
    }

    #[test]
    fn the_dangerous_calls_are_in_no_rule_of_an_ordinary_container() {
        for number in [
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_unshare,
            libc::SYS_bpf,
            libc::SYS_userfaultfd,
            libc::SYS_kexec_load,
            libc::SYS_io_uring_setup,
        ] {
            assert_eq!(decision(CapSet::named("CHOWN"), number), None);
        }
    }
}
