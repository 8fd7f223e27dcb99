//! Lists of processors and memory nodes, as the kernel writes them: `0-3,7`.

use std::collections::BTreeSet;

use crate::EngineError;

/// More than any machine has.
const MOST: u32 = 65_536;

/// Reads a list; `None` when it is none.
fn parse(text: &str) -> Option<BTreeSet<u32>> {
    let number = |text: &str| -> Option<u32> {
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number| plain && *number < MOST)
    };
    let mut set = BTreeSet::new();
    for run in text.split(',') {
        let (first, last) = run.split_once('-').unwrap_or((run, run));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return None;
        }
        set.extend(first..=last);
    }
    Some(set)
}

/// Refuses what is no list, and what this host has not, which the file `online` tells.
pub(super) fn check(field: &'static str, list: &str, online: &str) -> Result<(), EngineError> {
    if list.is_empty() {
        return Ok(());
    }
    let asked = parse(list)
        .ok_or_else(|| EngineError::invalid(field, format!("{list:?} is not a list such as 0-3,7")))?;
    // A host that does not tell is not doubted: the kernel decides at the start.
    let Ok(text) = std::fs::read_to_string(online) else { return Ok(()) };
    let Some(there) = parse(text.trim()) else { return Ok(()) };
    match asked.difference(&there).next() {
        Some(missing) => Err(EngineError::invalid(
            field,
            format!("this host has no number {missing}; it has {}", text.trim()),
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_are_numbers_and_runs() {
        assert_eq!(parse("0-2,7"), Some(BTreeSet::from([0, 1, 2, 7])));
        for bad in ["", ",", "1-", "-1", "2-1", "a", "1,,2", "+1", "0-99999999", "0 1"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_processor_the_host_lacks_is_named() {
        let text = check("cpuset-cpus", "0,60000", "/sys/devices/system/cpu/online").unwrap_err().to_string();
        assert!(text.contains("60000"), "{text}");
        check("cpuset-cpus", "0", "/sys/devices/system/cpu/online").expect("every host has a first one");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[0-9,-]{0,12}") {
            if let Some(set) = parse(&text) {
                prop_assert!(!set.is_empty());
            }
        }
    }
}
