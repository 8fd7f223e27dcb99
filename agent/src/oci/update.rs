//! `update`: other resources for a container that runs, from a file or from options.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use agent_engine::oci::{LinuxCpu, LinuxMemory, LinuxPids, LinuxResources, OciError, Runtime};

use super::cli::Updating;

pub(super) fn update(runtime: &Runtime, arguments: &Updating) -> Result<ExitCode, OciError> {
    let resources = match &arguments.resources {
        Some(path) => read(path)?,
        None => given(arguments),
    };
    runtime.update(&arguments.id, &resources)?;
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<LinuxResources, OciError> {
    let wrong = |reason: String| OciError::Config { path: path.to_owned(), reason };
    let mut text = Vec::new();
    let read = match path == Path::new("-") {
        true => std::io::stdin().read_to_end(&mut text).map(drop),
        false => std::fs::read(path).map(|bytes| text = bytes),
    };
    read.map_err(|error| wrong(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))
}

fn given(arguments: &Updating) -> LinuxResources {
    let mut memory = LinuxMemory::default();
    memory.set_limit(arguments.memory).set_swap(arguments.memory_swap);
    memory.set_reservation(arguments.memory_reservation);
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(arguments.cpu_shares).set_quota(arguments.cpu_quota).set_period(arguments.cpu_period);
    cpu.set_cpus(arguments.cpuset_cpus.clone()).set_mems(arguments.cpuset_mems.clone());
    let mut resources = LinuxResources::default();
    resources.set_memory(Some(memory)).set_cpu(Some(cpu));
    if let Some(limit) = arguments.pids_limit {
        let mut pids = LinuxPids::default();
        pids.set_limit(limit);
        resources.set_pids(Some(pids));
    }
    resources
}
