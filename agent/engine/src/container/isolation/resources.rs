//! What a container may use of memory, processors and disks, beyond the limits services have.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use agent_runtime::cgroup::Layout;
use oci_spec::runtime::{
    LinuxBlockIo, LinuxPidsBuilder, LinuxResources, LinuxThrottleDeviceBuilder, LinuxWeightDeviceBuilder,
    Spec,
};
use serde::{Deserialize, Serialize};

use super::{Ulimit, bounded, cpuset, real_time, ulimit};
use crate::EngineError;
use crate::container::{Limits, MEMORY_MINIMUM};

/// The smallest writable layer, in bytes.
const ROOT_MINIMUM: u64 = 1 << 20;

/// Limits and weights; what is `None` or empty is as the kernel has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Memory and swap together, in bytes; -1 is no limit of swap. `None` with a memory limit: no swap.
    pub memory_swap: Option<i64>,
    /// What it keeps when memory is short, in bytes.
    pub memory_reservation: Option<u64>,
    /// 0 to 100; version 1 only.
    pub memory_swappiness: Option<u64>,
    /// Processes wait for memory instead of being killed; version 1 only.
    pub oom_kill_disable: bool,
    /// -1000 to 1000: how eagerly the kernel kills it when the host is out of memory.
    pub oom_score_adj: Option<i32>,
    /// 2 to 262144, beside those of others; 1024 is what one has without it.
    pub cpu_shares: Option<u64>,
    /// Microseconds, 1,000 to 1,000,000.
    pub cpu_period: Option<u64>,
    /// Microseconds of processor time per period; -1 is no limit.
    pub cpu_quota: Option<i64>,
    /// Microseconds for processes of real-time priority in each of their periods; version 1 only.
    pub cpu_rt_runtime: Option<u64>,
    /// Microseconds; a second when `None`.
    pub cpu_rt_period: Option<u64>,
    /// Processors it may run on, as `0-3,7`.
    pub cpuset_cpus: String,
    /// Memory nodes it may use.
    pub cpuset_mems: String,
    /// No limit of processes.
    pub pids_unlimited: bool,
    /// 10 to 1000, beside those of others.
    pub blkio_weight: Option<u16>,
    /// The same for single devices.
    pub blkio_weight_device: Vec<DeviceValue>,
    /// Bytes per second.
    pub device_read_bps: Vec<DeviceValue>,
    /// Bytes per second.
    pub device_write_bps: Vec<DeviceValue>,
    /// Operations per second.
    pub device_read_iops: Vec<DeviceValue>,
    /// Operations per second.
    pub device_write_iops: Vec<DeviceValue>,
    /// Limits of its processes.
    pub ulimits: Vec<Ulimit>,
    /// Size of its `/dev/shm` in bytes; 64 MiB when `None`.
    pub shm_bytes: Option<u64>,
    /// The cgroup it is made below; an absolute path. `None`: the engine's own.
    pub cgroup_parent: Option<String>,
    /// How much its writable layer holds, in bytes.
    pub root_bytes: Option<u64>,
}

/// A number for one block device of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceValue {
    /// Path of its node.
    pub path: String,
    /// The number.
    pub value: u64,
}

impl DeviceValue {
    /// Major and minor number.
    fn number(&self, field: &'static str) -> Result<(i64, i64), EngineError> {
        let refuse = |rule: &str| EngineError::invalid(field, format!("{:?} {rule}", self.path));
        if !Path::new(&self.path).is_absolute() {
            return Err(refuse("is not an absolute path"));
        }
        let found =
            std::fs::metadata(&self.path).map_err(|error| refuse(&format!("cannot be used: {error}")))?;
        if !found.file_type().is_block_device() {
            return Err(refuse("is not a block device"));
        }
        let device = found.rdev();
        Ok((i64::from(rustix::fs::major(device)), i64::from(rustix::fs::minor(device))))
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Resources {
    pub(super) fn check(&self, limits: &Limits) -> Result<(), EngineError> {
        self.check_memory(limits)?;
        self.check_cpu(limits)?;
        self.check_disks()?;
        if self.pids_unlimited && limits.pids.is_some() {
            return Err(EngineError::invalid("pids-limit", "is both a number and unlimited"));
        }
        if self.oom_score_adj.is_some_and(|score| !(-1000..=1000).contains(&score)) {
            return Err(EngineError::invalid("oom-score-adj", "must be from -1000 to 1000"));
        }
        bounded("ulimit", self.ulimits.len())?;
        self.ulimits.iter().try_for_each(Ulimit::check)?;
        if self.shm_bytes == Some(0) {
            return Err(EngineError::invalid(
                "shm-size",
                "0 is no size; --ipc none makes no /dev/shm at all",
            ));
        }
        if self.root_bytes.is_some_and(|bytes| bytes < ROOT_MINIMUM) {
            let rule = format!("is less than {ROOT_MINIMUM} bytes (1 MiB), with which nothing starts");
            return Err(EngineError::invalid("storage-opt", rule));
        }
        self.cgroup_parent.as_deref().map_or(Ok(()), check_parent)
    }

    fn check_memory(&self, limits: &Limits) -> Result<(), EngineError> {
        let limit = limits.memory_bytes.map(signed);
        match (self.memory_swap, limit) {
            (None | Some(-1), _) => {}
            (Some(_), None) => {
                return Err(EngineError::invalid(
                    "memory-swap",
                    "is memory and swap together and needs a memory limit too",
                ));
            }
            (Some(total), Some(limit)) if total < limit => {
                let rule = format!(
                    "{total} is memory and swap together and less than the memory limit {limit}; -1 is no limit"
                );
                return Err(EngineError::invalid("memory-swap", rule));
            }
            _ => {}
        }
        if let Some(bytes) = self.memory_reservation {
            if bytes < MEMORY_MINIMUM {
                return Err(EngineError::invalid(
                    "memory-reservation",
                    format!("{bytes} bytes is less than {MEMORY_MINIMUM} (6 MiB)"),
                ));
            }
            if limit.is_some_and(|limit| signed(bytes) > limit) {
                return Err(EngineError::invalid("memory-reservation", "is more than the memory limit"));
            }
        }
        if self.memory_swappiness.is_some_and(|value| value > 100) {
            return Err(EngineError::invalid("memory-swappiness", "must be from 0 to 100"));
        }
        let version_2 = || Layout::detect().is_ok_and(|layout| !layout.is_v1());
        for (field, asked) in [
            ("memory-swappiness", self.memory_swappiness.is_some()),
            ("oom-kill-disable", self.oom_kill_disable),
        ] {
            if asked && version_2() {
                return Err(EngineError::invalid(field, "this host's cgroups (version 2) do not have it"));
            }
        }
        if self.oom_kill_disable && limit.is_none() {
            let rule = "without a memory limit it would stop the whole host; give one with --memory";
            return Err(EngineError::invalid("oom-kill-disable", rule));
        }
        Ok(())
    }

    fn check_cpu(&self, limits: &Limits) -> Result<(), EngineError> {
        if limits.nano_cpus.is_some() && (self.cpu_period.is_some() || self.cpu_quota.is_some()) {
            return Err(EngineError::invalid(
                "cpus",
                "says the same as cpu-period and cpu-quota; give one or the others",
            ));
        }
        if self.cpu_period.is_some_and(|period| !(1_000..=1_000_000).contains(&period)) {
            return Err(EngineError::invalid("cpu-period", "must be from 1000 to 1000000 microseconds"));
        }
        if self.cpu_quota.is_some_and(|quota| quota < 1_000 && quota != -1) {
            return Err(EngineError::invalid(
                "cpu-quota",
                "must be at least 1000 microseconds, or -1 for none",
            ));
        }
        if self.cpu_shares.is_some_and(|shares| !(2..=262_144).contains(&shares)) {
            return Err(EngineError::invalid("cpu-shares", "must be from 2 to 262144"));
        }
        real_time::check(self)?;
        cpuset::check("cpuset-cpus", &self.cpuset_cpus, "/sys/devices/system/cpu/online")?;
        cpuset::check("cpuset-mems", &self.cpuset_mems, "/sys/devices/system/node/online")
    }

    fn check_disks(&self) -> Result<(), EngineError> {
        let weights = self.blkio_weight_device.iter().map(|device| device.value);
        if weights.chain(self.blkio_weight.map(u64::from)).any(|weight| !(10..=1000).contains(&weight)) {
            return Err(EngineError::invalid("blkio-weight", "must be from 10 to 1000"));
        }
        for (field, devices) in self.device_lists() {
            bounded(field, devices.len())?;
            for device in devices {
                device.number(field)?;
                if device.value == 0 {
                    return Err(EngineError::invalid(
                        field,
                        "0 would stop every access; leave the option out for no limit",
                    ));
                }
            }
        }
        Ok(())
    }

    fn device_lists(&self) -> [(&'static str, &[DeviceValue]); 5] {
        [
            ("blkio-weight-device", &self.blkio_weight_device),
            ("device-read-bps", &self.device_read_bps),
            ("device-write-bps", &self.device_write_bps),
            ("device-read-iops", &self.device_read_iops),
            ("device-write-iops", &self.device_write_iops),
        ]
    }

    pub(super) fn apply(&self, oci: &mut Spec) -> Result<(), EngineError> {
        if let Some(resources) = oci.linux_mut().as_mut().and_then(|linux| linux.resources_mut().as_mut()) {
            self.apply_memory_and_cpu(resources);
            if self.pids_unlimited {
                let pids = LinuxPidsBuilder::default().limit(-1).build();
                resources.set_pids(Some(
                    pids.map_err(|error| EngineError::invalid("pids-limit", error.to_string()))?,
                ));
            }
            if self.blkio_weight.is_some() || self.device_lists().iter().any(|(_, list)| !list.is_empty()) {
                resources.set_block_io(Some(self.block_io()?));
            }
        }
        if let Some(process) = oci.process_mut() {
            process.set_oom_score_adj(self.oom_score_adj);
        }
        ulimit::apply(&self.ulimits, oci)?;
        if let (Some(bytes), Some(mounts)) = (self.shm_bytes, oci.mounts_mut()) {
            let shm = mounts.iter_mut().find(|mount| mount.destination() == Path::new("/dev/shm"));
            if let Some(options) = shm.and_then(|mount| mount.options_mut().as_mut()) {
                options.retain(|option| !option.starts_with("size="));
                options.push(format!("size={bytes}"));
            }
        }
        Ok(())
    }

    fn apply_memory_and_cpu(&self, resources: &mut LinuxResources) {
        let asked = self.memory_swap.is_some() || self.memory_reservation.is_some();
        if asked || self.memory_swappiness.is_some() || self.oom_kill_disable {
            let mut memory = resources.memory().unwrap_or_default();
            if self.memory_swap.is_some() {
                memory.set_swap(self.memory_swap);
            }
            memory.set_reservation(self.memory_reservation.map(signed));
            memory.set_swappiness(self.memory_swappiness);
            memory.set_disable_oom_killer(self.oom_kill_disable.then_some(true));
            resources.set_memory(Some(memory));
        }
        let mut cpu = resources.cpu().clone().unwrap_or_default();
        if self.cpu_quota.is_some() {
            cpu.set_quota(self.cpu_quota);
        }
        if self.cpu_period.is_some() {
            cpu.set_period(self.cpu_period);
        }
        cpu.set_shares(self.cpu_shares);
        if let Some((runtime, period)) = real_time::budget(self) {
            cpu.set_realtime_runtime(Some(signed(runtime))).set_realtime_period(Some(period));
        }
        let list = |text: &String| (!text.is_empty()).then(|| text.clone());
        cpu.set_cpus(list(&self.cpuset_cpus)).set_mems(list(&self.cpuset_mems));
        resources.set_cpu(Some(cpu));
    }

    fn block_io(&self) -> Result<LinuxBlockIo, EngineError> {
        let throttles = |field, devices: &[DeviceValue]| -> Result<_, EngineError> {
            let mut list = Vec::with_capacity(devices.len());
            for device in devices {
                let (major, minor) = device.number(field)?;
                let built = LinuxThrottleDeviceBuilder::default()
                    .major(major)
                    .minor(minor)
                    .rate(device.value)
                    .build();
                list.push(built.map_err(|error| EngineError::invalid(field, error.to_string()))?);
            }
            Ok((!list.is_empty()).then_some(list))
        };
        let mut weights = Vec::new();
        for device in &self.blkio_weight_device {
            let (major, minor) = device.number("blkio-weight-device")?;
            let weight = u16::try_from(device.value).unwrap_or(u16::MAX);
            let built = LinuxWeightDeviceBuilder::default().major(major).minor(minor).weight(weight).build();
            weights
                .push(built.map_err(|error| EngineError::invalid("blkio-weight-device", error.to_string()))?);
        }
        let mut block = LinuxBlockIo::default();
        block
            .set_weight(self.blkio_weight)
            .set_weight_device((!weights.is_empty()).then_some(weights))
            .set_throttle_read_bps_device(throttles("device-read-bps", &self.device_read_bps)?)
            .set_throttle_write_bps_device(throttles("device-write-bps", &self.device_write_bps)?)
            .set_throttle_read_iops_device(throttles("device-read-iops", &self.device_read_iops)?)
            .set_throttle_write_iops_device(throttles("device-write-iops", &self.device_write_iops)?);
        Ok(block)
    }
}

/// The kernel's own rules for names, and nothing that leads elsewhere.
fn check_parent(path: &str) -> Result<(), EngineError> {
    let good = |part: &str| {
        !part.is_empty() && part != "." && part != ".." && part.len() <= 255 && !part.contains(['\0', '\n'])
    };
    let parts: Vec<&str> = path.strip_prefix('/').map(|rest| rest.split('/').collect()).unwrap_or_default();
    if parts.is_empty() || parts.len() > 6 || path.len() > 400 || !parts.iter().all(|part| good(part)) {
        let rule = format!(
            "{path:?} is not one: an absolute path below the hierarchies' roots without '..', at most six deep"
        );
        return Err(EngineError::invalid("cgroup-parent", rule));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(resources: &Resources, limits: &Limits) -> String {
        resources.check(limits).expect_err("a refusal").to_string()
    }

    #[test]
    fn numbers_out_of_range_name_their_option() {
        let none = Limits::default();
        let memory = Limits { memory_bytes: Some(64 << 20), ..Limits::default() };
        let d = Resources::default;
        for (field, resources, limits) in [
            ("memory-swap", Resources { memory_swap: Some(1 << 30), ..d() }, &none),
            ("memory-swap", Resources { memory_swap: Some(1 << 20), ..d() }, &memory),
            ("memory-reservation", Resources { memory_reservation: Some(1), ..d() }, &none),
            ("memory-reservation", Resources { memory_reservation: Some(65 << 20), ..d() }, &memory),
            ("memory-swappiness", Resources { memory_swappiness: Some(101), ..d() }, &none),
            ("oom-kill-disable", Resources { oom_kill_disable: true, ..d() }, &none),
            ("oom-score-adj", Resources { oom_score_adj: Some(1001), ..d() }, &none),
            ("cpu-period", Resources { cpu_period: Some(999), ..d() }, &none),
            ("cpu-quota", Resources { cpu_quota: Some(-2), ..d() }, &none),
            ("cpu-shares", Resources { cpu_shares: Some(1), ..d() }, &none),
            ("cpu-rt-runtime", Resources { cpu_rt_runtime: Some(1_000_001), ..d() }, &none),
            ("cpu-rt-period", Resources { cpu_rt_period: Some(1_000), ..d() }, &none),
            ("cpuset-cpus", Resources { cpuset_cpus: "x".into(), ..d() }, &none),
            ("blkio-weight", Resources { blkio_weight: Some(9), ..d() }, &none),
            ("shm-size", Resources { shm_bytes: Some(0), ..d() }, &none),
            ("cgroup-parent", Resources { cgroup_parent: Some("/a/../b".into()), ..d() }, &none),
            ("cgroup-parent", Resources { cgroup_parent: Some("a".into()), ..d() }, &none),
            (
                "device-read-bps",
                Resources {
                    device_read_bps: vec![DeviceValue { path: "/dev/null".into(), value: 1 }],
                    ..d()
                },
                &none,
            ),
        ] {
            let text = refused(&resources, limits);
            assert!(text.contains(field), "{field}: {text}");
        }
    }

    #[test]
    fn cpus_and_its_long_form_are_not_mixed() {
        let limits = Limits { nano_cpus: Some(1), ..Limits::default() };
        assert!(
            refused(&Resources { cpu_quota: Some(5_000), ..Resources::default() }, &limits).contains("cpus")
        );
    }

    #[test]
    fn what_is_asked_for_is_in_the_specification() {
        let mut oci = agent_runtime::defaults::spec(None);
        let resources = Resources {
            cpu_shares: Some(512),
            oom_score_adj: Some(300),
            shm_bytes: Some(1 << 20),
            pids_unlimited: true,
            ..Resources::default()
        };
        resources.apply(&mut oci).expect("applied");
        let applied = oci.linux().as_ref().and_then(|linux| linux.resources().clone()).expect("resources");
        assert_eq!(applied.cpu().as_ref().and_then(|cpu| cpu.shares()), Some(512));
        assert_eq!(applied.pids().as_ref().map(|pids| pids.limit()), Some(-1));
        let mounts = oci.mounts().as_deref().unwrap_or_default();
        let shm = mounts.iter().find(|mount| mount.destination() == Path::new("/dev/shm")).expect("one");
        let options = shm.options().as_deref().unwrap_or_default();
        assert!(options.contains(&"size=1048576".to_owned()) && !options.contains(&"size=65536k".to_owned()));
        assert_eq!(oci.process().as_ref().and_then(|process| process.oom_score_adj()), Some(300));
    }
}
