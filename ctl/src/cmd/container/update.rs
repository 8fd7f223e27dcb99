//! `ctl container update`: what a container may use, and when it is started again.

use std::process::ExitCode;

use proto::v1::UpdateContainerRequest;

use super::options::notation;
use super::options::refused::{OfUpdate, Refused};
use super::several::{Containers, each};
use crate::cli::Global;
use crate::cmd::service::spec;
use crate::error::{CommandError, Kind};

/// Change what containers may use, at once
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Memory limit, such as 64m; 0 for none
    #[arg(long, short = 'm', value_name = "SIZE", value_parser = spec::size)]
    memory: Option<u64>,
    /// Memory and swap together, or -1 for no limit of swap
    #[arg(long, value_name = "SIZE", value_parser = notation::size_or_unlimited, allow_hyphen_values = true)]
    memory_swap: Option<i64>,
    /// What it keeps when memory is short; 0 for nothing
    #[arg(long, value_name = "SIZE", value_parser = spec::size)]
    memory_reservation: Option<u64>,
    /// Processors, such as 0.5
    #[arg(long, value_name = "CORES", value_parser = spec::cpus)]
    cpus: Option<u64>,
    /// Weight beside other containers; 0 for the ordinary 1024
    #[arg(long, short = 'c', value_name = "WEIGHT")]
    cpu_shares: Option<u64>,
    /// Length of a period, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_period: Option<u64>,
    /// Processor time in each period, in microseconds; -1 for no limit
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    cpu_quota: Option<i64>,
    /// Microseconds in each period for processes of real-time priority; 0 for none (cgroup version 1)
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_rt_runtime: Option<u64>,
    /// Length of that period; 0 for the default, 1000000
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_rt_period: Option<u64>,
    /// Weight of its disk accesses, 10 to 1000; 0 for the ordinary one
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u32>,
    /// Processors it may run on, such as 0-3,7
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes it may use
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Most processes and threads; -1 for no limit, 0 for the default
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// Start it again when it has ended: no, on-failure[:TIMES], always, unless-stopped
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// What is known and not taken.
    #[command(flatten)]
    refused: Refused<OfUpdate>,
    /// Which containers.
    #[command(flatten)]
    containers: Containers,
}

/// Changes each container; one that is refused stays as it was.
///
/// # Errors
/// When there is no such container, or the change makes no sense or does not fit what it uses.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    args.refused.check()?;
    let request = UpdateContainerRequest {
        container: String::new(),
        memory_bytes: args.memory,
        memory_swap_bytes: args.memory_swap,
        memory_reservation_bytes: args.memory_reservation,
        nano_cpus: args.cpus,
        cpu_shares: args.cpu_shares,
        cpu_period_us: args.cpu_period,
        cpu_quota_us: args.cpu_quota,
        cpuset_cpus: args.cpuset_cpus,
        cpuset_mems: args.cpuset_mems,
        pids: args.pids_limit,
        cpu_rt_runtime_us: args.cpu_rt_runtime,
        cpu_rt_period_us: args.cpu_rt_period,
        blkio_weight: args.blkio_weight,
        restart: args.restart,
    };
    if request == UpdateContainerRequest::default() {
        return Err(CommandError::new(Kind::Usage, "nothing is to be changed")
            .hint("say what, for example --memory 128m; all options:  ctl container update --help"));
    }
    let agent = crate::cmd::agent(global).await?;
    each(args.containers.containers, async |container| {
        let request = UpdateContainerRequest { container, ..request.clone() };
        agent.clone().update_container(request).await.map(drop)
    })
    .await
}
