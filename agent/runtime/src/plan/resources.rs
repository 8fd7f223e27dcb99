//! The cgroup's path, limits and device rules, as the files of the host's cgroup version. Pure.

use std::path::Component;

use oci_spec::runtime::{Linux, LinuxCpu, LinuxDeviceType, LinuxMemory, LinuxResources};

use super::step::{DeviceRule, HostStep};
use super::{PlanError, block_io};

/// A period of the cpu controller, in microseconds, where none is given.
const PERIOD: u64 = 100_000;

/// The cgroup path, checked: it becomes part of paths on the host.
pub(crate) fn cgroup_path(linux: &Linux) -> Result<String, PlanError> {
    let field = "linux.cgroupsPath";
    let path = linux.cgroups_path().as_ref().ok_or_else(|| PlanError::new(field, "is missing"))?;
    let text = path.to_str().ok_or_else(|| PlanError::new(field, "is not text"))?;
    let mut components = path.components();
    let rooted = components.next() == Some(Component::RootDir);
    let depth = components.clone().count();
    if !rooted || depth == 0 || depth > 8 || !components.all(|part| matches!(part, Component::Normal(_))) {
        return Err(PlanError::new(field, format!("{text:?} is not an absolute path without '..'")));
    }
    if text.contains(['\0', '\n']) || text.len() > 512 {
        return Err(PlanError::new(field, format!("{text:?} is not a cgroup path")));
    }
    Ok(text.to_owned())
}

/// The steps that limit the container, in an order the kernel accepts.
pub(crate) fn plan(linux: &Linux, v1: bool) -> Result<Vec<HostStep>, PlanError> {
    let Some(resources) = linux.resources() else { return Ok(Vec::new()) };
    refuse_unsupported(resources)?;
    let mut steps = Vec::new();
    if let Some(memory) = resources.memory() {
        memory_steps(memory, v1, &mut steps)?;
    }
    if let Some(cpu) = resources.cpu() {
        cpu_steps(cpu, v1, &mut steps)?;
    }
    if let Some(pids) = resources.pids() {
        let value = if pids.limit() <= 0 { "max".to_owned() } else { pids.limit().to_string() };
        steps.push(set("pids", "pids.max", value));
    }
    if let Some(block) = resources.block_io() {
        steps.extend(block_io::plan(block, v1)?);
    }
    if let Some(rules) = resources.devices() {
        let rules: Vec<DeviceRule> = rules.iter().map(rule).collect::<Result<_, _>>()?;
        if !rules.is_empty() {
            steps.push(HostStep::LimitDevices(rules));
        }
    }
    Ok(steps)
}

fn refuse_unsupported(resources: &LinuxResources) -> Result<(), PlanError> {
    for (field, asked) in [
        ("hugepageLimits", resources.hugepage_limits().as_ref().is_some_and(|limits| !limits.is_empty())),
        ("network", resources.network().is_some()),
        ("rdma", resources.rdma().is_some()),
        ("unified", resources.unified().is_some()),
    ] {
        if asked {
            return Err(PlanError::new(format!("linux.resources.{field}"), "is not supported"));
        }
    }
    Ok(())
}

fn memory_steps(memory: &LinuxMemory, v1: bool, steps: &mut Vec<HostStep>) -> Result<(), PlanError> {
    let limit = positive(memory.limit());
    let total = positive(memory.swap());
    if let (Some(limit), Some(total)) = (limit, total)
        && total < limit
    {
        return Err(PlanError::new(
            "linux.resources.memory.swap",
            format!("{total} is memory and swap together and less than the memory limit {limit}"),
        ));
    }
    if let Some(limit) = limit {
        let file = if v1 { "memory.limit_in_bytes" } else { "memory.max" };
        steps.push(set("memory", file, limit.to_string()));
    }
    // Kernels without swap accounting lack the file; the memory limit then stands alone.
    match (limit, total, v1) {
        (_, Some(total), true) => {
            steps.push(optional(set("memory", "memory.memsw.limit_in_bytes", total.to_string())));
        }
        (limit, Some(total), false) => {
            let swap = total - limit.unwrap_or(0);
            steps.push(optional(set("memory", "memory.swap.max", swap.to_string())));
        }
        _ => {}
    }
    if let Some(reservation) = positive(memory.reservation()) {
        let file = if v1 { "memory.soft_limit_in_bytes" } else { "memory.low" };
        steps.push(set("memory", file, reservation.to_string()));
    }
    for (field, file, value) in [
        ("swappiness", "memory.swappiness", memory.swappiness()),
        (
            "disableOOMKiller",
            "memory.oom_control",
            memory.disable_oom_killer().filter(|on| *on).map(u64::from),
        ),
    ] {
        match value {
            Some(value) if v1 => steps.push(set("memory", file, value.to_string())),
            Some(_) => {
                let reason = "cgroups of version 2 do not have it";
                return Err(PlanError::new(format!("linux.resources.memory.{field}"), reason));
            }
            None => {}
        }
    }
    if !v1 && limit.is_some() {
        // A container is one unit of work: half of one is worse than none.
        steps.push(set("memory", "memory.oom.group", "1".to_owned()));
    }
    Ok(())
}

fn cpu_steps(cpu: &LinuxCpu, v1: bool, steps: &mut Vec<HostStep>) -> Result<(), PlanError> {
    let period = cpu.period().unwrap_or(PERIOD);
    if !(1_000..=1_000_000).contains(&period) {
        return Err(PlanError::new(
            "linux.resources.cpu.period",
            format!("{period} is not 1,000 to 1,000,000"),
        ));
    }
    for (field, file, value) in [
        ("realtimePeriod", "cpu.rt_period_us", cpu.realtime_period().map(|period| period.to_string())),
        ("realtimeRuntime", "cpu.rt_runtime_us", cpu.realtime_runtime().map(|runtime| runtime.to_string())),
    ] {
        match value {
            Some(value) if v1 => steps.push(set("cpu", file, value)),
            Some(_) => {
                let reason = "cgroups of version 2 do not have it";
                return Err(PlanError::new(format!("linux.resources.cpu.{field}"), reason));
            }
            None => {}
        }
    }
    if let Some(quota) = positive(cpu.quota()) {
        if quota < 1_000 {
            return Err(PlanError::new("linux.resources.cpu.quota", format!("{quota} is less than 1,000")));
        }
        if v1 {
            steps.push(set("cpu", "cpu.cfs_period_us", period.to_string()));
            steps.push(set("cpu", "cpu.cfs_quota_us", quota.to_string()));
        } else {
            steps.push(set("cpu", "cpu.max", format!("{quota} {period}")));
        }
    }
    if let Some(shares) = cpu.shares().filter(|shares| *shares > 0) {
        let shares = shares.clamp(2, 262_144);
        // The kernel's and runc's conversion of 2..262144 to 1..10000.
        steps.push(if v1 {
            set("cpu", "cpu.shares", shares.to_string())
        } else {
            set("cpu", "cpu.weight", (1 + (shares - 2) * 9999 / 262_142).to_string())
        });
    }
    for (file, list) in [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())] {
        let Some(list) = list.as_ref().filter(|list| !list.is_empty()) else { continue };
        if !list.chars().all(|c| c.is_ascii_digit() || matches!(c, ',' | '-')) {
            return Err(PlanError::new("linux.resources.cpu", format!("{list:?} is not a list like 0-3,7")));
        }
        steps.push(set("cpuset", file, list.clone()));
    }
    Ok(())
}

/// Zero and below mean "no limit", as in Docker and runc.
fn positive(value: Option<i64>) -> Option<u64> {
    value.and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0)
}

fn set(controller: &'static str, file: &'static str, value: String) -> HostStep {
    HostStep::SetLimit { controller, file, value, optional: false }
}

fn optional(step: HostStep) -> HostStep {
    match step {
        HostStep::SetLimit { controller, file, value, .. } => {
            HostStep::SetLimit { controller, file, value, optional: true }
        }
        other => other,
    }
}

pub(super) fn rule(given: &oci_spec::runtime::LinuxDeviceCgroup) -> Result<DeviceRule, PlanError> {
    let field = "linux.resources.devices";
    let kind = match given.typ().unwrap_or(LinuxDeviceType::A) {
        LinuxDeviceType::A => 'a',
        LinuxDeviceType::B => 'b',
        LinuxDeviceType::C | LinuxDeviceType::U => 'c',
        LinuxDeviceType::P => return Err(PlanError::new(field, "a FIFO is not a device")),
    };
    // Any negative number means every one, as in runc.
    let number = |number: Option<i64>| match number {
        Some(number) if number >= 0 => u32::try_from(number)
            .map(Some)
            .map_err(|_| PlanError::new(field, format!("{number} is too large"))),
        _ => Ok(None),
    };
    let access = given.access().clone().unwrap_or_else(|| "rwm".to_owned());
    if access.is_empty() || access.len() > 3 || !access.chars().all(|c| "rwm".contains(c)) {
        return Err(PlanError::new(field, format!("{access:?} is not made of r, w and m")));
    }
    Ok(DeviceRule {
        allow: given.allow(),
        kind,
        major: number(given.major())?,
        minor: number(given.minor())?,
        access,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::{LinuxCpuBuilder, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResourcesBuilder};

    fn planned(v1: bool) -> Vec<String> {
        let resources = LinuxResourcesBuilder::default()
            .memory(LinuxMemoryBuilder::default().limit(64 << 20).swap(96 << 20).build().expect("memory"))
            .cpu(LinuxCpuBuilder::default().quota(50_000).shares(1024_u64).build().expect("cpu"))
            .pids(LinuxPidsBuilder::default().limit(100).build().expect("pids"))
            .build()
            .expect("resources");
        let mut linux = Linux::default();
        linux.set_resources(Some(resources));
        plan(&linux, v1).expect("a plan").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn limits_become_files_of_version_1() {
        expect_test::expect![[r#"
            [
                "set-limit memory/memory.limit_in_bytes 67108864",
                "set-limit memory/memory.memsw.limit_in_bytes 100663296 (if there is one)",
                "set-limit cpu/cpu.cfs_period_us 100000",
                "set-limit cpu/cpu.cfs_quota_us 50000",
                "set-limit cpu/cpu.shares 1024",
                "set-limit pids/pids.max 100",
            ]
        "#]]
        .assert_debug_eq(&planned(true));
    }

    #[test]
    fn limits_become_files_of_version_2() {
        expect_test::expect![[r#"
            [
                "set-limit memory/memory.max 67108864",
                "set-limit memory/memory.swap.max 33554432 (if there is one)",
                "set-limit memory/memory.oom.group 1",
                "set-limit cpu/cpu.max 50000 100000",
                "set-limit cpu/cpu.weight 39",
                "set-limit pids/pids.max 100",
            ]
        "#]]
        .assert_debug_eq(&planned(false));
    }

    #[test]
    fn a_cgroup_path_stays_below_the_root() {
        for bad in ["", "/", "relative", "/a/../b", "/a/..", "/a\n/b"] {
            let mut linux = Linux::default();
            linux.set_cgroups_path(Some(bad.into()));
            assert!(cgroup_path(&linux).is_err(), "{bad:?}");
        }
    }
}
