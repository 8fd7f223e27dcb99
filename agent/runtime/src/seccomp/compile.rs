//! From decisions to a classic BPF program: a binary search tree over ranges of system call numbers. Pure.

use super::profile::{Argument, Check, Compare, Condition, Decision, Decisions, Test};

/// One BPF instruction, laid out as `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jump_true: u8,
    /// Instructions to skip when it does not.
    pub jump_false: u8,
    /// Operand.
    pub operand: u32,
}

pub(super) const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
pub(super) const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
pub(super) const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
pub(super) const JUMP_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
pub(super) const JUMP_ABOVE: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
pub(super) const JUMP_ANY_BIT: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
pub(super) const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
pub(super) const RETURN: u16 = 0x06; // BPF_RET | BPF_K

const RET_ALLOW: u32 = 0x7fff_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_KILL_PROCESS: u32 = 0x8000_0000;
const EPERM: u16 = 1;

/// The longest program the kernel takes.
pub(super) const MOST: usize = 4096;

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
/// Offsets in `struct seccomp_data`.
pub(super) const NUMBER: u32 = 0;
pub(super) const ARCH: u32 = 4;
pub(super) const ARGUMENTS: u32 = 16;

/// A run of numbers that starts here and ends where the next begins.
struct Range {
    first: u32,
    decision: Decision,
}

/// Compiles `decisions`.
pub(crate) fn compile(decisions: &Decisions) -> Vec<Instruction> {
    let mut program = vec![
        plain(LOAD, ARCH),
        jump(JUMP_EQUAL, AUDIT_ARCH_X86_64, 1, 0),
        plain(RETURN, RET_KILL_PROCESS),
        plain(LOAD, NUMBER),
    ];
    program.extend(tree(&ranges(decisions)));
    program
}

/// The whole number line as ranges; the x32 numbers (bit 30) lie beyond the end.
fn ranges(decisions: &Decisions) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for number in 0..decisions.end {
        let decision = decisions.by_number.get(&number).cloned().unwrap_or_else(|| decisions.missing.clone());
        push(&mut ranges, number, decision);
    }
    push(&mut ranges, decisions.end, decisions.beyond.clone());
    ranges
}

fn push(ranges: &mut Vec<Range>, first: u32, decision: Decision) {
    if ranges.last().is_none_or(|last| last.decision != decision) {
        ranges.push(Range { first, decision });
    }
}

/// Every path through the result ends in a return. The number is in the accumulator at its start.
fn tree(ranges: &[Range]) -> Vec<Instruction> {
    match ranges {
        [] => vec![deny(EPERM)],
        [one] => leaf(&one.decision),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let pivot = high[0].first;
            let (low, high) = (tree(low), tree(high));
            let mut program = match u8::try_from(low.len()) {
                Ok(skip) => vec![jump(JUMP_AT_LEAST, pivot, skip, 0)],
                // A conditional jump reaches 255 instructions; an unconditional one any distance.
                Err(_) => vec![
                    jump(JUMP_AT_LEAST, pivot, 0, 1),
                    plain(JUMP, u32::try_from(low.len()).unwrap_or(u32::MAX)),
                ],
            };
            program.extend(low);
            program.extend(high);
            program
        }
    }
}

fn leaf(decision: &Decision) -> Vec<Instruction> {
    match decision {
        Decision::Allow => vec![plain(RETURN, RET_ALLOW)],
        Decision::Errno(errno) => vec![deny(*errno)],
        Decision::When(alternatives) => {
            let mut program: Vec<Instruction> = alternatives.iter().flat_map(test).collect();
            program.push(deny(EPERM));
            program
        }
        Decision::Return(value) => vec![plain(RETURN, *value)],
        Decision::Checks { checks, otherwise } => {
            let mut program: Vec<Instruction> = checks.iter().flat_map(check).collect();
            program.push(plain(RETURN, *otherwise));
            program
        }
    }
}

/// Where a comparison goes on.
#[derive(Clone, Copy)]
enum Goal {
    /// The next instruction.
    On,
    /// Behind this condition, which holds.
    Holds,
    /// Behind the whole check, which does not.
    Fails,
}

/// Returns the check's result when all its conditions hold, else falls through to what follows.
fn check(check: &Check) -> Vec<Instruction> {
    let conditions: Vec<_> = check.arguments.iter().map(condition).collect();
    let length: usize = conditions.iter().map(Vec::len).sum();
    let mut program = Vec::with_capacity(length + 1);
    for lines in conditions {
        let behind = program.len() + lines.len();
        for (code, operand, goals) in lines {
            let at = program.len();
            let skip = |goal: Goal| match goal {
                Goal::On => 0,
                Goal::Holds => behind - at - 1,
                Goal::Fails => length - at,
            };
            // Six conditions of at most seven instructions: no jump is longer than a byte says.
            let skip = |goal| u8::try_from(skip(goal)).unwrap_or(u8::MAX);
            program.push(jump(code, operand, skip(goals[0]), skip(goals[1])));
        }
    }
    program.push(plain(RETURN, check.result));
    program
}

/// One comparison of 64 bits: the high half first, the low half where that does not decide.
fn condition(argument: &Argument) -> Vec<(u16, u32, [Goal; 2])> {
    use Goal::{Fails, Holds, On};
    let half = |value: u64, shift: u32| u32::try_from(value >> shift & 0xffff_ffff).unwrap_or(0);
    let (high, low) = (half(argument.value, 32), half(argument.value, 0));
    // Little endian: the low half comes first.
    let at = ARGUMENTS + 8 * u32::from(argument.index);
    let load = |offset: u32| (LOAD, at + offset, [On, On]);
    let masked = |mask: u64, shift: u32| (AND, half(mask, shift), [On, On]);
    let ordered = |above: Goal, below: Goal, last: (u16, u32, [Goal; 2])| {
        vec![load(4), (JUMP_ABOVE, high, [above, On]), (JUMP_EQUAL, high, [On, below]), load(0), last]
    };
    match argument.compare {
        Compare::Equal => {
            vec![load(4), (JUMP_EQUAL, high, [On, Fails]), load(0), (JUMP_EQUAL, low, [Holds, Fails])]
        }
        Compare::NotEqual => {
            vec![load(4), (JUMP_EQUAL, high, [On, Holds]), load(0), (JUMP_EQUAL, low, [Fails, Holds])]
        }
        Compare::Masked(mask) => vec![
            load(4),
            masked(mask, 32),
            (JUMP_EQUAL, high, [On, Fails]),
            load(0),
            masked(mask, 0),
            (JUMP_EQUAL, low, [Holds, Fails]),
        ],
        Compare::More => ordered(Holds, Fails, (JUMP_ABOVE, low, [Holds, Fails])),
        Compare::AtLeast => ordered(Holds, Fails, (JUMP_AT_LEAST, low, [Holds, Fails])),
        Compare::Less => ordered(Fails, Holds, (JUMP_AT_LEAST, low, [Fails, Holds])),
        Compare::AtMost => ordered(Fails, Holds, (JUMP_ABOVE, low, [Fails, Holds])),
    }
}

/// The action that fails a call with `number`.
pub(super) fn errno(number: u32) -> u32 {
    RET_ERRNO | number
}

/// Returns "allow" when the condition holds, else falls through to what follows.
fn test(condition: &Condition) -> Vec<Instruction> {
    // The low half: the machine is little endian.
    let mut program = vec![plain(LOAD, ARGUMENTS + 8 * u32::from(condition.argument))];
    match &condition.test {
        Test::Lacks(mask) => program.push(jump(JUMP_ANY_BIT, *mask, 1, 0)),
        Test::In(ranges) => {
            for (first, last) in ranges {
                if first == last {
                    program.extend([jump(JUMP_EQUAL, *first, 0, 1), plain(RETURN, RET_ALLOW)]);
                } else {
                    program.extend([
                        jump(JUMP_AT_LEAST, *first, 0, 2),
                        jump(JUMP_ABOVE, *last, 1, 0),
                        plain(RETURN, RET_ALLOW),
                    ]);
                }
            }
            return program;
        }
    }
    program.push(plain(RETURN, RET_ALLOW));
    program
}

fn plain(code: u16, operand: u32) -> Instruction {
    Instruction { code, jump_true: 0, jump_false: 0, operand }
}

fn jump(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code, jump_true, jump_false, operand }
}

fn deny(errno: u16) -> Instruction {
    plain(RETURN, RET_ERRNO | u32::from(errno))
}

#[cfg(test)]
mod tests {
    use super::super::machine::{low, run};
    use super::super::profile::resolve;
    use super::*;
    use crate::capabilities::CapSet;
    use proptest::prelude::*;

    /// What the profile says, without the tree.
    fn says(decisions: &Decisions, number: u32, arguments: [u64; 6]) -> u32 {
        if number >= decisions.end {
            return RET_ERRNO | 38;
        }
        match decisions.by_number.get(&number) {
            Some(Decision::Allow) => RET_ALLOW,
            Some(Decision::Errno(errno)) => RET_ERRNO | u32::from(*errno),
            Some(Decision::When(conditions)) => {
                let held = conditions.iter().any(|condition| {
                    let low = low(arguments[usize::from(condition.argument)]);
                    match &condition.test {
                        Test::Lacks(mask) => low & mask == 0,
                        Test::In(ranges) => ranges.iter().any(|(a, b)| (a..=b).contains(&&low)),
                    }
                });
                if held { RET_ALLOW } else { RET_ERRNO | u32::from(EPERM) }
            }
            Some(other) => unreachable!("{other:?} is not in the built-in profile"),
            None => RET_ERRNO | u32::from(EPERM),
        }
    }

    proptest! {
        #[test]
        fn the_tree_decides_as_the_profile_says(
            capabilities in 0_u64..1 << 41,
            argument in prop_oneof![0_u64..64, any::<u64>(), Just(0x2_0008), Just(0x1000_0011), Just(0x1_0000_0026)],
        ) {
            let decisions = resolve(CapSet(capabilities)).expect("the built-in profile parses");
            let program = compile(&decisions);
            for number in (0..600).chain([0x4000_0000, 0x4000_0020, u32::MAX]) {
                let arguments = [argument; 6];
                prop_assert_eq!(
                    run(&program, AUDIT_ARCH_X86_64, number, arguments),
                    says(&decisions, number, arguments),
                    "number {}", number
                );
            }
        }
    }

    #[test]
    fn a_call_through_another_table_kills_the_process() {
        let program = compile(&resolve(CapSet::ALL).expect("the built-in profile parses"));
        assert_eq!(run(&program, 0x4000_0003, 1, [0; 6]), RET_KILL_PROCESS);
    }

    #[test]
    fn garbage_in_the_upper_half_of_a_family_does_not_open_af_alg() {
        let program = compile(&resolve(CapSet(0)).expect("the built-in profile parses"));
        let socket = u32::try_from(libc::SYS_socket).expect("a number");
        let arguments = [0xdead_0000_0000_0026, 0, 0, 0, 0, 0];
        assert_eq!(run(&program, AUDIT_ARCH_X86_64, socket, arguments), RET_ERRNO | 1);
    }

    #[test]
    fn the_default_filter_stays_small() {
        let program = compile(&resolve(CapSet(0)).expect("the built-in profile parses"));
        assert!(program.len() < 260, "{} instructions", program.len());
    }
}
