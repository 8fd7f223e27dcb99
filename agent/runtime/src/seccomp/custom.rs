//! Filters that users bring (`linux.seccomp`): from the specification's rules to decisions by number. Pure.
//!
//! For one call the rules with conditions are asked first, in their order, then one without: what a profile says
//! about particular arguments is never lost behind what it says in general. Names that x86-64 does not have are
//! passed over, as profiles list those of all architectures.

use std::collections::BTreeMap;

use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator};

use super::compile::{self, Instruction, MOST};
use super::profile::{Argument, Check, Compare, Decision, Decisions, numbers};

/// Most rules, and names in all of them.
const MOST_NAMES: usize = 20_000;

const ENOSYS: u32 = 38;

/// Compiles a profile.
///
/// # Errors
/// What it asks for and cannot be done, in words.
pub(crate) fn filter(profile: &LinuxSeccomp) -> Result<Vec<Instruction>, String> {
    if profile.listener_path().is_some() {
        return Err("a listener is not supported".to_owned());
    }
    if let Some(flag) = profile.flags().as_ref().and_then(|flags| flags.first()) {
        return Err(format!("the flag {flag:?} is not supported"));
    }
    let here = |arch: &Arch| matches!(arch, Arch::ScmpArchX86_64 | Arch::ScmpArchNative);
    if profile.architectures().as_ref().is_some_and(|list| !list.is_empty() && !list.iter().any(here)) {
        return Err("it has no rules for SCMP_ARCH_X86_64".to_owned());
    }
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let mut calls: BTreeMap<u32, Call> = BTreeMap::new();
    let known = numbers().map_err(|error| error.to_string())?;
    let mut names = 0;
    for rule in profile.syscalls().iter().flatten() {
        names += rule.names().len();
        if names > MOST_NAMES {
            return Err(format!("more than {MOST_NAMES} names"));
        }
        let result = action(rule.action(), rule.errno_ret())?;
        let arguments = rule.args().iter().flatten().map(argument).collect::<Result<Vec<_>, _>>()?;
        if arguments.len() > 6 {
            return Err("more than six conditions in one rule".to_owned());
        }
        for number in rule.names().iter().filter_map(|name| known.get(name.as_str())) {
            let call = calls.entry(*number).or_default();
            match arguments.is_empty() {
                true => call.otherwise = Some(result),
                false => call.checks.push(Check { arguments: arguments.clone(), result }),
            }
        }
    }
    let by_number = calls.into_iter().map(|(number, call)| (number, call.decision(default))).collect();
    let end = known.values().max().map_or(0, |highest| highest + 1);
    // A call newer than this table is one the profile could not mean: programs take ENOSYS for an answer.
    let beyond = match profile.default_action() {
        LinuxSeccompAction::ScmpActErrno => Decision::Return(compile::errno(ENOSYS)),
        _ => Decision::Return(default),
    };
    let decisions = Decisions { by_number, end, missing: Decision::Return(default), beyond };
    let program = compile::compile(&decisions);
    match program.len() {
        0..=MOST => Ok(program),
        length => Err(format!("it needs {length} instructions, the kernel takes {MOST}")),
    }
}

/// What the rules say about one call.
#[derive(Default)]
struct Call {
    checks: Vec<Check>,
    otherwise: Option<u32>,
}

impl Call {
    fn decision(self, default: u32) -> Decision {
        let otherwise = self.otherwise.unwrap_or(default);
        match self.checks.is_empty() {
            true => Decision::Return(otherwise),
            false => Decision::Checks { checks: self.checks, otherwise },
        }
    }
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<u32, String> {
    use LinuxSeccompAction as Action;
    Ok(match action {
        Action::ScmpActAllow => 0x7fff_0000,
        Action::ScmpActLog => 0x7ffc_0000,
        Action::ScmpActErrno => match errno.unwrap_or(1) {
            number @ 0..=4095 => compile::errno(number),
            number => return Err(format!("{number} is not an error number")),
        },
        Action::ScmpActTrap => 0x0003_0000,
        Action::ScmpActKill | Action::ScmpActKillThread => 0,
        Action::ScmpActKillProcess => 0x8000_0000,
        Action::ScmpActTrace | Action::ScmpActNotify => {
            return Err(format!("{action} needs a program that answers, which is not supported"));
        }
    })
}

fn argument(given: &LinuxSeccompArg) -> Result<Argument, String> {
    use LinuxSeccompOperator as Operator;
    let index = u8::try_from(given.index()).ok().filter(|index| *index < 6);
    let index = index.ok_or_else(|| format!("{} is not an argument from 0 to 5", given.index()))?;
    let (compare, value) = match given.op() {
        Operator::ScmpCmpNe => (Compare::NotEqual, given.value()),
        Operator::ScmpCmpLt => (Compare::Less, given.value()),
        Operator::ScmpCmpLe => (Compare::AtMost, given.value()),
        Operator::ScmpCmpEq => (Compare::Equal, given.value()),
        Operator::ScmpCmpGe => (Compare::AtLeast, given.value()),
        Operator::ScmpCmpGt => (Compare::More, given.value()),
        // The first value is the mask, the second what must be left.
        Operator::ScmpCmpMaskedEq => (Compare::Masked(given.value()), given.value_two().unwrap_or(0)),
    };
    Ok(Argument { index, compare, value })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::machine::run;
    use super::*;

    const ALLOW: u32 = 0x7fff_0000;
    const EPERM: u32 = 0x0005_0001;

    fn compiled(json: serde_json::Value) -> Result<Vec<Instruction>, String> {
        filter(&serde_json::from_value(json).expect("a profile"))
    }

    fn call(program: &[Instruction], number: libc::c_long, arguments: [u64; 6]) -> u32 {
        run(program, 0xc000_003e, u32::try_from(number).expect("a number"), arguments)
    }

    #[test]
    fn general_and_particular_rules_decide_together() {
        let program = compiled(serde_json::json!({
            "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [
                { "names": ["read", "no_such_call"], "action": "SCMP_ACT_ALLOW" },
                { "names": ["kill"], "action": "SCMP_ACT_ALLOW" },
                { "names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13,
                  "args": [{ "index": 1, "value": 9, "op": "SCMP_CMP_EQ" }, { "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }] },
                { "names": ["mkdir"], "action": "SCMP_ACT_KILL_PROCESS" }
            ]
        }))
        .expect("it compiles");
        assert_eq!(call(&program, libc::SYS_read, [0; 6]), ALLOW);
        assert_eq!(call(&program, libc::SYS_write, [0; 6]), EPERM);
        assert_eq!(call(&program, libc::SYS_kill, [1, 15, 0, 0, 0, 0]), ALLOW);
        assert_eq!(call(&program, libc::SYS_kill, [2, 9, 0, 0, 0, 0]), ALLOW);
        assert_eq!(call(&program, libc::SYS_kill, [1, 9, 0, 0, 0, 0]), 0x0005_000d);
        assert_eq!(call(&program, libc::SYS_mkdir, [0; 6]), 0x8000_0000);
        assert_eq!(call(&program, 100_000, [0; 6]), 0x0005_0026, "a call newer than the table");
        assert_eq!(run(&program, 0x4000_0003, 0, [0; 6]), 0x8000_0000, "another architecture's table");
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        for (json, word) in [
            (serde_json::json!({ "defaultAction": "SCMP_ACT_NOTIFY" }), "answers"),
            (
                serde_json::json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_ARM"] }),
                "X86_64",
            ),
            (serde_json::json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5000 }), "5000"),
            (serde_json::json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x" }), "listener"),
        ] {
            assert!(compiled(json.clone()).unwrap_err().contains(word), "{json}");
        }
    }

    fn holds(op: &str, mask: u64, value: u64, argument: u64) -> bool {
        match op {
            "NE" => argument != value,
            "LT" => argument < value,
            "LE" => argument <= value,
            "EQ" => argument == value,
            "GE" => argument >= value,
            "GT" => argument > value,
            _ => argument & mask == value,
        }
    }

    proptest! {
        #[test]
        fn conditions_are_those_of_64_bit_numbers(
            op in prop::sample::select(vec!["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"]),
            value in prop_oneof![any::<u64>(), 0_u64..4, (0_u64..4).prop_map(|high| high << 32)],
            mask in any::<u64>(),
            near in -1_i64..=1,
            far in any::<u64>(),
            use_near in any::<bool>(),
        ) {
            let argument = if use_near { value.wrapping_add_signed(near) } else { far };
            let value = if op == "MASKED_EQ" { value & mask } else { value };
            let (first, second) = if op == "MASKED_EQ" { (mask, Some(value)) } else { (value, None) };
            let mut condition = serde_json::json!({ "index": 2, "value": first, "op": format!("SCMP_CMP_{op}") });
            if let Some(second) = second {
                condition["valueTwo"] = second.into();
            }
            let program = compiled(serde_json::json!({
                "defaultAction": "SCMP_ACT_ERRNO",
                "syscalls": [{ "names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": [condition] }]
            })).expect("it compiles");
            let expected = if holds(op, mask, value, argument) { ALLOW } else { EPERM };
            prop_assert_eq!(call(&program, libc::SYS_ioctl, [0, 0, argument, 0, 0, 0]), expected);
        }
    }
}
