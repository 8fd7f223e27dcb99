//! Runs classic BPF as the kernel would, for tests.

use super::compile::{
    AND, ARCH, ARGUMENTS, Instruction, JUMP, JUMP_ABOVE, JUMP_ANY_BIT, JUMP_AT_LEAST, JUMP_EQUAL, LOAD,
    NUMBER, RETURN,
};

pub(super) fn low(value: u64) -> u32 {
    u32::try_from(value & 0xffff_ffff).expect("masked to 32 bits")
}

/// Runs a filter as the kernel would.
pub(super) fn run(program: &[Instruction], arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let mut accumulator = 0_u32;
    let mut at = 0_usize;
    loop {
        let Instruction { code, jump_true, jump_false, operand } = program[at];
        at += 1;
        let holds = match code {
            LOAD => {
                accumulator = match operand {
                    NUMBER => number,
                    ARCH => arch,
                    offset => {
                        let word = (offset - ARGUMENTS) / 4;
                        let argument = arguments[word as usize / 2];
                        if word.is_multiple_of(2) { low(argument) } else { low(argument >> 32) }
                    }
                };
                continue;
            }
            RETURN => return operand,
            AND => {
                accumulator &= operand;
                continue;
            }
            JUMP => {
                at += operand as usize;
                continue;
            }
            JUMP_EQUAL => accumulator == operand,
            JUMP_AT_LEAST => accumulator >= operand,
            JUMP_ABOVE => accumulator > operand,
            JUMP_ANY_BIT => accumulator & operand != 0,
            other => unreachable!("instruction {other:#x}"),
        };
        at += usize::from(if holds { jump_true } else { jump_false });
    }
}
