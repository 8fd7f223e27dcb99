//! The rules of the OCI runtime specification, version 1.2, a case each (`oci/rules.txt` lists them), kept by every runtime on this machine:
//! `agent oci`, and Debian's `runc`, which shows that a case is right. Where `runc` does not keep a rule the case says
//! so and why; a case that says so of a runtime that keeps the rule fails too. `crun` is not among them: Debian's
//! refuses hosts whose cgroup hierarchies are of both versions.

mod cgroups;
mod config;
mod console;
mod devices;
mod exec;
mod hooks;
mod lab;
mod lifecycle;
mod mounts;
mod namespaces;
mod process;
mod rules;
mod seccomp;
mod values;

use std::panic::{AssertUnwindSafe, catch_unwind};

use lab::{Lab, Program};

/// One rule.
struct Case {
    /// The rule, in words.
    rule: &'static str,
    /// Panics when it is not kept.
    check: fn(&Lab),
    /// Runtimes known not to keep it, and why.
    deviates: &'static [(&'static str, &'static str)],
}

const fn case(rule: &'static str, check: fn(&Lab)) -> Case {
    Case { rule, check, deviates: &[] }
}

impl Case {
    const fn but(mut self, deviates: &'static [(&'static str, &'static str)]) -> Case {
        self.deviates = deviates;
        self
    }
}

fn cases() -> Vec<Case> {
    let groups = [
        lifecycle::cases(),
        config::cases(),
        process::cases(),
        mounts::cases(),
        devices::cases(),
        namespaces::cases(),
        cgroups::cases(),
        hooks::cases(),
        seccomp::cases(),
        exec::cases(),
        values::cases(),
    ];
    groups.into_iter().flatten().collect()
}

/// Runs all cases; what fails unexpectedly, or passes unexpectedly, is told together.
fn judge(program: &Program) {
    itest::programs::need_root();
    let only = std::env::var("OCI_CASE").unwrap_or_default();
    let mut wrong = Vec::new();
    let cases = cases();
    for case in cases.iter().filter(|case| case.rule.contains(&only)) {
        let lab = Lab::new(program);
        let result = catch_unwind(AssertUnwindSafe(|| (case.check)(&lab)));
        drop(lab);
        let known = case.deviates.iter().find(|(name, _)| *name == program.name);
        match (result, known) {
            (Ok(()), None) | (Err(_), Some(_)) => {}
            (Err(panic), None) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                wrong.push(format!("{}\n    {}", case.rule, text.unwrap_or_default()));
            }
            (Ok(()), Some((_, why))) => wrong.push(format!("{}\n    is kept, though: {why}", case.rule)),
        }
    }
    assert!(wrong.is_empty(), "{} of {}: {}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn agent_oci_keeps_every_rule_of_the_runtime_specification() {
    judge(&Program::ours());
}

#[test]
fn runc_keeps_the_same_rules_but_for_what_the_cases_say() {
    judge(&Program::installed("runc"));
}
