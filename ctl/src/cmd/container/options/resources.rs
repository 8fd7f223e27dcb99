//! What a container may use of the host's memory, processors and disks.

use proto::v1::{self, CreateContainerRequest, DeviceValue, ResourceLimits, Ulimit};

use super::notation;
use crate::cmd::service::spec;
use crate::error::{CommandError, Kind};

/// Limits of the container.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Resources")]
pub(super) struct Resources {
    /// Memory limit, such as 64m
    #[arg(long, short = 'm', value_name = "SIZE", value_parser = spec::size)]
    memory: Option<u64>,
    /// Memory and swap together, or -1 for no limit; without it a limited container has no swap
    #[arg(long, value_name = "SIZE", value_parser = notation::size_or_unlimited, allow_hyphen_values = true)]
    memory_swap: Option<i64>,
    /// What it keeps when memory is short
    #[arg(long, value_name = "SIZE", value_parser = spec::size)]
    memory_reservation: Option<u64>,
    /// How eagerly its memory is swapped out, 0 to 100 (cgroup version 1)
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    memory_swappiness: Option<i64>,
    /// Let it wait for memory instead of killing it (cgroup version 1)
    #[arg(long)]
    oom_kill_disable: bool,
    /// How eagerly it is killed when the host is out of memory, -1000 to 1000
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    oom_score_adj: Option<i32>,
    /// Processors, such as 0.5
    #[arg(long, value_name = "CORES", value_parser = spec::cpus)]
    cpus: Option<u64>,
    /// Weight beside other containers, 1024 for an ordinary one
    #[arg(long, short = 'c', value_name = "WEIGHT")]
    cpu_shares: Option<u64>,
    /// Length of a period, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_period: Option<u64>,
    /// Processor time in each period, in microseconds
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    cpu_quota: Option<i64>,
    /// Microseconds in each period for processes of real-time priority (cgroup version 1)
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_rt_runtime: Option<u64>,
    /// Length of that period (default 1000000)
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_rt_period: Option<u64>,
    /// Processors it may run on, such as 0-3,7
    #[arg(long, value_name = "LIST", default_value = "", hide_default_value = true)]
    cpuset_cpus: String,
    /// Memory nodes it may use
    #[arg(long, value_name = "LIST", default_value = "", hide_default_value = true)]
    cpuset_mems: String,
    /// Most processes and threads (default 1024), or -1 for no limit
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// Weight of its disk accesses, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u32>,
    /// The same for one disk
    #[arg(long, value_name = "DEVICE:WEIGHT", value_parser = notation::device_number)]
    blkio_weight_device: Vec<DeviceValue>,
    /// Bytes read from a disk per second
    #[arg(long, value_name = "DEVICE:SIZE", value_parser = notation::device_rate)]
    device_read_bps: Vec<DeviceValue>,
    /// Bytes written to a disk per second
    #[arg(long, value_name = "DEVICE:SIZE", value_parser = notation::device_rate)]
    device_write_bps: Vec<DeviceValue>,
    /// Reads from a disk per second
    #[arg(long, value_name = "DEVICE:COUNT", value_parser = notation::device_number)]
    device_read_iops: Vec<DeviceValue>,
    /// Writes to a disk per second
    #[arg(long, value_name = "DEVICE:COUNT", value_parser = notation::device_number)]
    device_write_iops: Vec<DeviceValue>,
    /// A limit of its processes: NAME=SOFT[:HARD]
    #[arg(long, value_name = "LIMIT", value_parser = notation::ulimit)]
    ulimit: Vec<Ulimit>,
    /// Size of /dev/shm (default 64m)
    #[arg(long, value_name = "SIZE", value_parser = spec::size)]
    shm_size: Option<u64>,
    /// size=SIZE: how much its root file system may grow by; needs project quotas
    #[arg(long, value_name = "OPTION", value_parser = notation::storage)]
    storage_opt: Option<u64>,
    /// Make its cgroup below this one, an absolute path
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    cgroup_parent: String,
}

impl Resources {
    pub(super) fn fill(self, request: &mut CreateContainerRequest) -> Result<(), CommandError> {
        // Docker's way to say "as the kernel has it".
        let swappiness = match self.memory_swappiness.filter(|value| *value != -1) {
            Some(value) => Some(u64::try_from(value).map_err(|_| {
                CommandError::new(Kind::Usage, format!("--memory-swappiness {value} is not from 0 to 100"))
            })?),
            None => None,
        };
        let pids = self.pids_limit.map(|count| u64::try_from(count).unwrap_or(0));
        super::spec(request).limits = Some(v1::Resources {
            nano_cpus: self.cpus.unwrap_or(0),
            memory_bytes: self.memory.unwrap_or(0),
            pids: pids.unwrap_or(0),
        });
        super::isolation(request).resources = Some(ResourceLimits {
            memory_swap_bytes: self.memory_swap.filter(|bytes| *bytes != 0),
            memory_reservation_bytes: self.memory_reservation,
            memory_swappiness: swappiness,
            oom_kill_disable: self.oom_kill_disable,
            oom_score_adj: self.oom_score_adj,
            cpu_shares: self.cpu_shares.filter(|shares| *shares != 0),
            cpu_period_us: self.cpu_period.filter(|period| *period != 0),
            cpu_quota_us: self.cpu_quota.filter(|quota| *quota != 0),
            cpu_rt_runtime_us: self.cpu_rt_runtime.filter(|runtime| *runtime != 0),
            cpu_rt_period_us: self.cpu_rt_period.filter(|period| *period != 0),
            cpuset_cpus: self.cpuset_cpus,
            cpuset_mems: self.cpuset_mems,
            pids_unlimited: pids == Some(0),
            blkio_weight: self.blkio_weight.filter(|weight| *weight != 0),
            blkio_weight_device: self.blkio_weight_device,
            device_read_bps: self.device_read_bps,
            device_write_bps: self.device_write_bps,
            device_read_iops: self.device_read_iops,
            device_write_iops: self.device_write_iops,
            ulimits: self.ulimit,
            shm_bytes: self.shm_size.filter(|bytes| *bytes != 0),
            cgroup_parent: self.cgroup_parent,
            root_bytes: self.storage_opt,
        });
        Ok(())
    }
}
