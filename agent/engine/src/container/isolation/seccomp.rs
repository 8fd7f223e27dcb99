//! Docker's profiles of system calls: conditions on capabilities, architecture and kernel are decided here, and what
//! is left is the specification's form, which the runtime compiles. Pure but for the kernel's version.

use std::collections::HashSet;

use oci_spec::runtime::{Capability, LinuxSeccomp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::EngineError;

/// Longest profile, in bytes; Docker's own has 13,000, and records are not made for more.
const MOST: usize = 64 * 1024;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: Value,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<ArchMap>>,
    #[serde(default)]
    flags: Option<Vec<Value>>,
    listener_path: Option<Value>,
    #[serde(default)]
    syscalls: Option<Vec<Rule>>,
}

#[derive(Debug, Deserialize)]
struct ArchMap {
    architecture: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    names: Option<Vec<String>>,
    name: Option<String>,
    action: Value,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Value>>,
    #[serde(default)]
    includes: Option<Condition>,
    #[serde(default)]
    excludes: Option<Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// Reads a profile for a container with these capabilities.
pub(super) fn resolve(text: &str, capabilities: &HashSet<Capability>) -> Result<LinuxSeccomp, EngineError> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    resolve_for(text, capabilities, kernel(&release).unwrap_or((0, 0)))
        .map_err(|reason| EngineError::invalid("seccomp", reason))
}

fn resolve_for(
    text: &str,
    capabilities: &HashSet<Capability>,
    here: (u32, u32),
) -> Result<LinuxSeccomp, String> {
    if text.len() > MOST {
        return Err(format!("the profile has {} bytes, at most {MOST} are taken", text.len()));
    }
    let profile: Profile =
        serde_json::from_str(text).map_err(|error| format!("the profile does not parse: {error}"))?;
    if profile.listener_path.is_some_and(|path| path != "" && !path.is_null()) {
        return Err("a profile with a listener is not supported".to_owned());
    }
    if let Some(flag) = profile.flags.iter().flatten().next() {
        return Err(format!("the flag {flag} is not supported"));
    }
    let listed = profile.architectures.iter().flatten();
    let mut listed = listed.chain(profile.arch_map.iter().flatten().map(|map| &map.architecture)).peekable();
    if listed.peek().is_some() && !listed.any(|arch| arch == "SCMP_ARCH_X86_64") {
        return Err("the profile has no rules for SCMP_ARCH_X86_64".to_owned());
    }
    let mut rules = Vec::new();
    for rule in profile.syscalls.into_iter().flatten() {
        let includes = rule.includes.unwrap_or_default();
        let excludes = rule.excludes.unwrap_or_default();
        if !includes.holds(capabilities, here)? || excludes.touches(capabilities, here)? {
            continue;
        }
        let names: Vec<String> = rule.names.into_iter().flatten().chain(rule.name).collect();
        if names.is_empty() {
            continue;
        }
        let mut kept = json!({ "names": names, "action": rule.action });
        if let Some(errno) = rule.errno_ret {
            kept["errnoRet"] = errno.into();
        }
        if let Some(args) = rule.args.filter(|args| !args.is_empty()) {
            kept["args"] = args.into();
        }
        rules.push(kept);
    }
    let mut oci = json!({
        "defaultAction": profile.default_action, "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules,
    });
    if let Some(errno) = profile.default_errno_ret {
        oci["defaultErrnoRet"] = errno.into();
    }
    let oci: LinuxSeccomp =
        serde_json::from_value(oci).map_err(|error| format!("the profile is wrong: {error}"))?;
    agent_runtime::seccomp::check(&oci).map_err(|reason| format!("the profile cannot be used: {reason}"))?;
    Ok(oci)
}

impl Condition {
    /// Whether all that is required is there.
    fn holds(&self, capabilities: &HashSet<Capability>, here: (u32, u32)) -> Result<bool, String> {
        let arches = self.arches.iter().flatten();
        let arch =
            self.arches.as_ref().is_none_or(Vec::is_empty) || arches.into_iter().any(|arch| arch == "amd64");
        Ok(arch
            && self.caps.iter().flatten().all(|name| has(capabilities, name))
            && self.new_enough(here)?.unwrap_or(true))
    }

    /// Whether any of what rules it out is there.
    fn touches(&self, capabilities: &HashSet<Capability>, here: (u32, u32)) -> Result<bool, String> {
        Ok(self.arches.iter().flatten().any(|arch| arch == "amd64")
            || self.caps.iter().flatten().any(|name| has(capabilities, name))
            || self.new_enough(here)?.unwrap_or(false))
    }

    fn new_enough(&self, here: (u32, u32)) -> Result<Option<bool>, String> {
        let Some(text) = self.min_kernel.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
        let least = kernel(text).ok_or_else(|| format!("{text:?} is no version of a kernel"))?;
        Ok(Some(here >= least))
    }
}

fn has(capabilities: &HashSet<Capability>, name: &str) -> bool {
    let name = name.strip_prefix("CAP_").unwrap_or(name);
    name.parse().is_ok_and(|capability| capabilities.contains(&capability))
}

/// `6.18.44-x` is 6.18.
fn kernel(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(['.', '-']).map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(
        profile: &Value,
        capabilities: &[Capability],
        kernel: (u32, u32),
    ) -> Result<Vec<String>, String> {
        let set = capabilities.iter().copied().collect();
        let resolved = resolve_for(&profile.to_string(), &set, kernel)?;
        Ok(resolved.syscalls().iter().flatten().flat_map(|rule| rule.names().clone()).collect())
    }

    fn docker() -> Value {
        json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
            "archMap": [{ "architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"] },
                        { "architecture": "SCMP_ARCH_LOONGARCH64", "subArchitectures": null }],
            "syscalls": [
                { "names": ["read"], "action": "SCMP_ACT_ALLOW", "args": null, "comment": "", "includes": {}, "excludes": {} },
                { "names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": { "minKernel": "4.8" } },
                { "names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": { "caps": ["CAP_SYS_ADMIN"] } },
                { "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "excludes": { "caps": ["CAP_SYS_ADMIN"] } },
                { "names": ["arm_call"], "action": "SCMP_ACT_ALLOW", "includes": { "arches": ["arm"] } },
                { "names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": { "arches": ["amd64", "x32"] } },
                { "name": "old_style", "action": "SCMP_ACT_ALLOW", "args": [{ "index": 0, "value": 8, "valueTwo": 0, "op": "SCMP_CMP_EQ" }] }
            ]
        })
    }

    #[test]
    fn conditions_of_rules_are_decided() {
        let plain = names(&docker(), &[], (6, 1)).expect("it resolves");
        assert_eq!(plain, ["read", "ptrace", "clone3", "arch_prctl", "old_style"]);
        let admin = names(&docker(), &[Capability::SysAdmin], (4, 7)).expect("it resolves");
        assert_eq!(admin, ["read", "mount", "arch_prctl", "old_style"]);
    }

    #[test]
    fn a_profile_that_means_nothing_is_refused() {
        for (profile, word) in [
            (json!({}), "defaultAction"),
            (json!({ "defaultAction": "SCMP_ACT_WHATEVER" }), "wrong"),
            (json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_ARM"] }), "X86_64"),
            (json!({ "defaultAction": "SCMP_ACT_NOTIFY" }), "cannot be used"),
            (json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x" }), "listener"),
            (
                json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_ERRNO", "includes": { "minKernel": "new" } }] }),
                "version",
            ),
        ] {
            let error = names(&profile, &[], (6, 1)).unwrap_err();
            assert!(error.contains(word), "{profile}: {error}");
        }
        assert!(
            resolve("[", &HashSet::new()).is_err()
                && resolve(&" ".repeat(MOST + 1), &HashSet::new()).is_err()
        );
    }

    #[test]
    fn versions_are_their_first_two_numbers() {
        assert_eq!(kernel("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(kernel("5.4"), Some((5, 4)));
        assert_eq!(kernel("x"), None);
    }
}
