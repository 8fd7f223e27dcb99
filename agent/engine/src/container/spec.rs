//! From a container's record to the specification the runtime executes. Pure:
//! the record and paths in, a value out; the runtime's defaults are Docker's
//! and stricter, and only what the record says is changed here.

use std::path::{Path, PathBuf};

use agent_runtime::container::{ContainerSpec, Rootfs, WindowSize};
use agent_runtime::defaults;
use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxPidsBuilder, LinuxResources, MountBuilder, Spec, User};

use super::isolation::NetworkMode;
use super::record::Record;
use super::{Limits, files};
use crate::EngineError;
use crate::network::SETTINGS;
use crate::snapshot::Mounts;

/// One CPU's time is shared out in periods of this many microseconds.
const CPU_PERIOD: u64 = 100_000;

/// What the caller knows about the host.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) mounts: Mounts,
    pub(crate) state_dir: PathBuf,
    pub(crate) cgroup: String,
}

/// The specification of a container.
pub(crate) fn build(
    record: &Record,
    place: Place,
    traceparent: Option<String>,
) -> Result<ContainerSpec, EngineError> {
    let ids = record.ids();
    let own = record.config.isolation.own_users();
    let mut oci = defaults::spec(own.then_some(defaults::IdRange { base: ids.base, size: ids.size }));
    let failed = |error: oci_spec::OciSpecError| EngineError::invalid("container", error.to_string());
    fill_process(&mut oci, record);
    oci.set_hostname(Some(record.hostname.clone()));
    bind_files(&mut oci, &place.state_dir).map_err(failed)?;
    if let Some(linux) = oci.linux_mut() {
        linux.set_cgroups_path(Some(PathBuf::from(&place.cgroup)));
        let mut resources = linux.resources().clone().unwrap_or_default();
        limit(&mut resources, &record.config.limits).map_err(failed)?;
        linux.set_resources(Some(resources));
    }
    let seccomp = record.config.isolation.apply(&mut oci)?;
    if record.config.isolation.namespaces.network == NetworkMode::Bridge {
        leave_out_settings(&mut oci);
    }
    let Mounts { lower, upper, work } = place.mounts;
    let config = &record.config;
    Ok(ContainerSpec {
        id: record.id.clone(),
        oci,
        rootfs: Rootfs::Overlay { lower, upper, work },
        state_dir: place.state_dir,
        terminal: config.terminal.then(|| config.window.unwrap_or(WindowSize { rows: 24, columns: 80 })),
        open_stdin: config.open_stdin,
        log: super::logging::policy(record)?,
        seccomp,
        init: config.isolation.init,
        throw_away: config.auto_remove,
        traceparent,
    })
}

/// What a network on the bridge was made with need not be set again.
fn leave_out_settings(oci: &mut Spec) {
    let sysctl = oci.linux_mut().as_mut().and_then(|linux| linux.sysctl_mut().as_mut());
    if let Some(sysctl) = sysctl {
        sysctl.retain(|name, value| {
            let is_made = |(known, made): &(&str, &str)| *made == value && known.replace('/', ".") == *name;
            !SETTINGS.iter().any(is_made)
        });
    }
}

fn fill_process(oci: &mut Spec, record: &Record) {
    let mut process = oci.process().clone().unwrap_or_default();
    let identity = &record.identity;
    let mut user = User::default();
    user.set_uid(identity.uid);
    user.set_gid(identity.gid);
    user.set_additional_gids(Some(identity.groups.clone()));
    process.set_user(user);
    process.set_args(Some(record.command.clone()));
    process.set_cwd(PathBuf::from(&record.working_dir));
    process.set_terminal(Some(record.config.terminal));
    process.set_env(Some(environment(process.env().as_deref().unwrap_or_default(), record)));
    oci.set_process(Some(process));
}

/// Later ones win: defaults, what the container is, the image's, the caller's.
fn environment(defaults: &[String], record: &Record) -> Vec<String> {
    let mut own = vec![format!("HOSTNAME={}", record.hostname), format!("HOME={}", record.identity.home)];
    if record.config.terminal {
        own.push("TERM=xterm".to_owned());
    }
    merge_environment(&[defaults, &own, &record.env])
}

/// Merges `NAME=value` lists; a later value takes the place of an earlier one.
pub(crate) fn merge_environment(lists: &[&[String]]) -> Vec<String> {
    let mut merged: Vec<String> = Vec::new();
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    for entry in lists.iter().copied().flatten() {
        match merged.iter_mut().find(|known| name(known) == name(entry)) {
            Some(known) => known.clone_from(entry),
            None => merged.push(entry.clone()),
        }
    }
    merged
}

fn bind_files(oci: &mut Spec, state_dir: &Path) -> Result<(), oci_spec::OciSpecError> {
    let mut mounts = oci.mounts().clone().unwrap_or_default();
    for (name, destination) in files::BOUND {
        let options = ["bind", "rprivate", "nosuid", "nodev"].map(str::to_owned);
        let mount = MountBuilder::default()
            .destination(destination)
            .typ("bind")
            .source(state_dir.join(name))
            .options(options.to_vec())
            .build()?;
        mounts.push(mount);
    }
    oci.set_mounts(Some(mounts));
    Ok(())
}

fn limit(resources: &mut LinuxResources, limits: &Limits) -> Result<(), oci_spec::OciSpecError> {
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    if let Some(bytes) = limits.memory_bytes {
        let mut memory = LinuxMemory::default();
        memory.set_limit(Some(signed(bytes)));
        // Memory and swap together: no swap.
        memory.set_swap(Some(signed(bytes)));
        resources.set_memory(Some(memory));
    }
    if let Some(nano_cpus) = limits.nano_cpus {
        let mut cpu = LinuxCpu::default();
        cpu.set_period(Some(CPU_PERIOD));
        // The kernel takes no less than a millisecond.
        cpu.set_quota(Some(signed(nano_cpus.saturating_mul(CPU_PERIOD) / 1_000_000_000).max(1_000)));
        resources.set_cpu(Some(cpu));
    }
    let pids = limits.pids.map_or(defaults::PIDS_LIMIT, signed);
    resources.set_pids(Some(LinuxPidsBuilder::default().limit(pids).build()?));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_variable_takes_the_place_of_an_earlier_one() {
        let list = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let merged = merge_environment(&[&list("PATH=/bin A=1"), &list("A=2 B=x=y"), &list("PATH=/usr")]);
        assert_eq!(merged, ["PATH=/usr", "A=2", "B=x=y"]);
    }

    #[test]
    fn limits_become_the_kernels_numbers_and_pids_always_have_one() {
        let mut resources = LinuxResources::default();
        let limits = Limits { nano_cpus: Some(1_500_000_000), memory_bytes: Some(64 << 20), pids: None };
        limit(&mut resources, &limits).unwrap();
        assert_eq!(resources.cpu().as_ref().unwrap().quota(), Some(150_000));
        assert_eq!(resources.memory().as_ref().unwrap().limit(), Some(64 << 20));
        assert_eq!(resources.memory().as_ref().unwrap().swap(), Some(64 << 20));
        assert_eq!(resources.pids().as_ref().unwrap().limit(), 1024);
    }
}
