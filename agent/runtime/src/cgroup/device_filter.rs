//! Device rules as the eBPF program version 2 wants. Pure.

use crate::plan::step::DeviceRule;
use crate::sys::bpf::Insn;

// Fields of `struct bpf_cgroup_dev_ctx`, and registers they are kept in.
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// The program: the last rule that matches decides, and without one the device may be used (as on version 1,
/// where a list therefore starts by denying all).
pub(super) fn program(rules: &[DeviceRule]) -> Vec<Insn> {
    let mut program = vec![
        load(KIND, 0),
        Insn { code: 0xbf, registers: KIND << 4 | ACCESS, offset: 0, immediate: 0 }, // access = kind
        Insn { code: 0x54, registers: KIND, offset: 0, immediate: 0xffff },          // kind &= 0xffff
        Insn { code: 0x74, registers: ACCESS, offset: 0, immediate: 16 },            // access >>= 16
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    for rule in rules.iter().rev() {
        program.extend(matches(rule));
        program.extend(give(rule.allow));
    }
    program.extend(give(true));
    program
}

/// Falls through when the rule matches, else jumps behind the two instructions of `give`.
fn matches(rule: &DeviceRule) -> Vec<Insn> {
    let mut tests: Vec<Insn> = Vec::new();
    let number = |number: u32| i32::try_from(number).unwrap_or(-1);
    match rule.kind {
        'b' => tests.push(unless_equal(KIND, 1)),
        'c' => tests.push(unless_equal(KIND, 2)),
        _ => {}
    }
    // An allowing rule must cover all that is asked for, a denying one any of it.
    let bits = access_bits(&rule.access);
    let (mask, jump) = if rule.allow { (!bits & 7, 0x55) } else { (bits, 0x15) };
    tests.extend([
        Insn { code: 0xbf, registers: ACCESS << 4 | 1, offset: 0, immediate: 0 }, // r1 = access
        Insn { code: 0x54, registers: 1, offset: 0, immediate: mask },            // r1 &= mask
        Insn { code: jump, registers: 1, offset: 0, immediate: 0 },
    ]);
    tests.extend(rule.major.map(|major| unless_equal(MAJOR, number(major))));
    tests.extend(rule.minor.map(|minor| unless_equal(MINOR, number(minor))));
    let length = tests.len();
    for (at, test) in tests.iter_mut().enumerate() {
        if matches!(test.code, 0x55 | 0x15) {
            test.offset = i16::try_from(length - at + 1).unwrap_or(i16::MAX);
        }
    }
    tests
}

fn access_bits(access: &str) -> i32 {
    access.chars().fold(0, |bits, letter| {
        bits | match letter {
            'm' => 1,
            'r' => 2,
            'w' => 4,
            _ => 0,
        }
    })
}

fn load(register: u8, offset: i16) -> Insn {
    Insn { code: 0x61, registers: 1 << 4 | register, offset, immediate: 0 }
}

fn unless_equal(register: u8, immediate: i32) -> Insn {
    Insn { code: 0x55, registers: register, offset: 0, immediate }
}

fn give(allow: bool) -> [Insn; 2] {
    [
        Insn { code: 0xb4, registers: 0, offset: 0, immediate: i32::from(allow) },
        Insn { code: 0x95, registers: 0, offset: 0, immediate: 0 },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would.
    fn allowed(rules: &[DeviceRule], kind: u64, access: u64, major: u64, minor: u64) -> bool {
        let program = program(rules);
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0_u64; 11];
        let mut at = 0_usize;
        loop {
            let Insn { code, registers: named, offset, immediate } = program[at];
            let (to, from) = (usize::from(named & 15), usize::from(named >> 4));
            at += 1;
            let immediate = u64::from(immediate.cast_unsigned());
            let skip = usize::try_from(offset).unwrap_or(0);
            match code {
                0x61 => registers[to] = context[skip / 4],
                0xbf => registers[to] = registers[from],
                0x54 => registers[to] &= immediate,
                0x74 => registers[to] >>= immediate,
                0x55 if registers[to] != immediate => at += skip,
                0x15 if registers[to] == immediate => at += skip,
                0x55 | 0x15 => {}
                0xb4 => registers[to] = immediate,
                0x95 => return registers[0] == 1,
                other => unreachable!("instruction {other:#x}"),
            }
        }
    }

    fn rule(allow: bool, kind: char, major: Option<u32>, minor: Option<u32>, access: &str) -> DeviceRule {
        DeviceRule { allow, kind, major, minor, access: access.to_owned() }
    }

    #[test]
    fn only_listed_devices_may_be_opened() {
        let rules = [
            rule(false, 'a', None, None, "rwm"),
            rule(true, 'c', None, None, "m"),
            rule(true, 'c', Some(1), Some(3), "rw"),
        ];
        assert!(allowed(&rules, 2, 2 | 4, 1, 3));
        assert!(allowed(&rules, 2, 1, 9, 9), "making any node");
        assert!(!allowed(&rules, 2, 2, 1, 1), "reading /dev/mem");
        assert!(!allowed(&rules, 1, 2, 1, 3), "a block device of the same number");
        assert!(!allowed(&rules, 2, 1 | 2, 9, 9), "a rule covers all that is asked for or nothing");
    }
}
