//! Changing what a container may use, of a running one at once: all of it or
//! nothing. The record and the kernel say the same before and after.

use std::sync::Arc;

use agent_runtime::cgroup::{Cgroup, Change};
use agent_runtime::defaults;

use super::create::{self, blocking};
use super::isolation::real_time;
use super::record::Entry;
use super::restart::RestartPolicy;
use super::{ContainerConfig, ContainerEventKind};
use crate::EngineError;
use crate::engine::Inner;
use crate::records::Durability;

/// One period of the processor's time, in microseconds.
const PERIOD: u64 = 100_000;
/// What a container has without shares of its own.
const SHARES: u64 = 1024;

/// What is changed; `None` stays as it is. 0 is "as if it had never been asked for", -1 no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// Bytes.
    pub memory_bytes: Option<u64>,
    /// Memory and swap together, in bytes.
    pub memory_swap: Option<i64>,
    /// What it keeps when memory is short, in bytes.
    pub memory_reservation: Option<u64>,
    /// Billionths of one CPU; takes the place of quota and period.
    pub nano_cpus: Option<u64>,
    /// 2 to 262144.
    pub cpu_shares: Option<u64>,
    /// Microseconds; takes the place of `nano_cpus`, as does the quota.
    pub cpu_period: Option<u64>,
    /// Microseconds per period.
    pub cpu_quota: Option<i64>,
    /// Processors, as `0-3,7`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes.
    pub cpuset_mems: Option<String>,
    /// Processes and threads.
    pub pids: Option<i64>,
    /// Microseconds for processes of real-time priority in each of their periods.
    pub cpu_rt_runtime: Option<u64>,
    /// Microseconds.
    pub cpu_rt_period: Option<u64>,
    /// 10 to 1000, beside those of others.
    pub blkio_weight: Option<u16>,
    /// When it is started again.
    pub restart: Option<RestartPolicy>,
}

impl Update {
    /// What is asked for of a container after the change.
    fn apply(&self, before: &ContainerConfig) -> Result<ContainerConfig, EngineError> {
        let mut after = before.clone();
        let (limits, resources) = (&mut after.limits, &mut after.isolation.resources);
        if let Some(bytes) = self.memory_bytes {
            limits.memory_bytes = (bytes > 0).then_some(bytes);
        }
        if let Some(bytes) = self.memory_swap {
            resources.memory_swap = (bytes != 0).then_some(bytes);
        }
        if let Some(bytes) = self.memory_reservation {
            resources.memory_reservation = (bytes > 0).then_some(bytes);
        }
        if self.cpu_period.is_some() || self.cpu_quota.is_some() {
            limits.nano_cpus = None;
        }
        if let Some(cpus) = self.nano_cpus {
            limits.nano_cpus = (cpus > 0).then_some(cpus);
            (resources.cpu_period, resources.cpu_quota) = (None, None);
        }
        if let Some(period) = self.cpu_period {
            resources.cpu_period = (period > 0).then_some(period);
        }
        if let Some(quota) = self.cpu_quota {
            resources.cpu_quota = (quota > 0).then_some(quota).or((quota < -1).then_some(quota));
        }
        if let Some(shares) = self.cpu_shares {
            resources.cpu_shares = (shares > 0).then_some(shares);
        }
        if let Some(runtime) = self.cpu_rt_runtime {
            resources.cpu_rt_runtime = (runtime > 0).then_some(runtime);
            if runtime == 0 {
                resources.cpu_rt_period = None;
            }
        }
        if let Some(period) = self.cpu_rt_period {
            resources.cpu_rt_period = (period > 0).then_some(period);
        }
        if let Some(weight) = self.blkio_weight {
            resources.blkio_weight = (weight > 0).then_some(weight);
        }
        for (field, given, own) in [
            ("cpuset-cpus", &self.cpuset_cpus, &mut resources.cpuset_cpus),
            ("cpuset-mems", &self.cpuset_mems, &mut resources.cpuset_mems),
        ] {
            match given {
                Some(list) if list.is_empty() => {
                    return Err(EngineError::invalid(field, "an empty list leaves nothing to run with"));
                }
                Some(list) => own.clone_from(list),
                None => {}
            }
        }
        if let Some(pids) = self.pids {
            resources.pids_unlimited = pids == -1;
            limits.pids = u64::try_from(pids).ok().filter(|pids| *pids > 0);
            if pids < -1 {
                return Err(EngineError::invalid(
                    "pids-limit",
                    format!("{pids} is neither a number of processes nor -1"),
                ));
            }
        }
        if let Some(policy) = self.restart {
            after.restart = policy;
        }
        Ok(after)
    }
}

/// What the kernel is to be told, as numbers it takes.
#[derive(Debug, PartialEq, Eq)]
struct Targets {
    memory: (i64, i64),
    reservation: i64,
    cpu: (i64, u64),
    shares: u64,
    pids: i64,
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Targets {
    fn of(config: &ContainerConfig) -> Targets {
        let (limits, resources) = (&config.limits, &config.isolation.resources);
        let limit = limits.memory_bytes.map_or(-1, signed);
        // Without a word about swap there is none.
        let total = if limit < 0 { -1 } else { resources.memory_swap.unwrap_or(limit) };
        let cpu = match limits.nano_cpus {
            // The kernel takes no less than a millisecond.
            Some(cpus) => (signed(cpus.saturating_mul(PERIOD) / 1_000_000_000).max(1_000), PERIOD),
            None => (resources.cpu_quota.unwrap_or(-1), resources.cpu_period.unwrap_or(PERIOD)),
        };
        let pids =
            if resources.pids_unlimited { -1 } else { limits.pids.map_or(defaults::PIDS_LIMIT, signed) };
        Targets {
            memory: (limit, total),
            reservation: resources.memory_reservation.map_or(0, signed),
            cpu,
            shares: resources.cpu_shares.unwrap_or(SHARES),
            pids,
        }
    }
}

/// What leads from one to the other.
fn change(from: &ContainerConfig, to: &ContainerConfig) -> Change {
    fn if_new<T: PartialEq>(from: &T, to: T) -> Option<T> {
        (*from != to).then_some(to)
    }
    let (before, after) = (Targets::of(from), Targets::of(to));
    let (old, new) = (&from.isolation.resources, &to.isolation.resources);
    let list = |old: &String, new: &String| if_new(old, new.clone()).filter(|list| !list.is_empty());
    Change {
        memory: if_new(&before.memory, after.memory),
        memory_reservation: if_new(&before.reservation, after.reservation),
        cpu: if_new(&before.cpu, after.cpu),
        cpu_shares: if_new(&before.shares, after.shares),
        cpuset_cpus: list(&old.cpuset_cpus, &new.cpuset_cpus),
        cpuset_mems: list(&old.cpuset_mems, &new.cpuset_mems),
        pids: if_new(&before.pids, after.pids),
        real_time: real_time::change(old, new),
        disk_weight: if_new(&old.blkio_weight, new.blkio_weight),
    }
}

impl Inner {
    pub(crate) async fn update(&self, entry: &Arc<Entry>, update: &Update) -> Result<(), EngineError> {
        let _work = entry.work.lock().await;
        if entry.live().removed {
            return Err(EngineError::NoSuchContainer(entry.id.clone()));
        }
        let (before, path) = {
            let live = entry.live();
            (live.record.config.clone(), live.record.cgroup(&self.config))
        };
        let after = update.apply(&before)?;
        create::check(&after)?;
        after.isolation.check(&after)?;
        self.host.check(&after)?;
        let is_alive = entry.state().is_alive();
        let (forth, back) = (change(&before, &after), change(&after, &before));
        if is_alive {
            let room = real_time::make_room(&after.isolation.resources, &path).await?;
            let path = path.clone();
            blocking(move || Ok(Cgroup::open(&path)?.change(&forth)?)).await?;
            drop(room);
        }
        let record = entry.change(|live| {
            if after.restart == RestartPolicy::No {
                live.record.restarts.due_at_ms = None;
            }
            live.record.config = after;
        });
        if let Err(error) = self.put(&record, Durability::Synced).await {
            entry.change(|live| live.record.config = before);
            if is_alive {
                blocking(move || Ok(Cgroup::open(&path)?.change(&back)?)).await?;
            }
            return Err(error);
        }
        self.tell(entry, ContainerEventKind::Updated);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(update: &Update, before: &ContainerConfig) -> Change {
        change(before, &update.apply(before).expect("it makes sense"))
    }

    #[test]
    fn only_what_differs_is_changed_and_swap_goes_with_memory() {
        let mut before = ContainerConfig::default();
        assert_eq!(changed(&Update::default(), &before), Change::default());
        let update = Update { memory_bytes: Some(64 << 20), ..Update::default() };
        let memory = Some((64 << 20, 64 << 20));
        assert_eq!(changed(&update, &before), Change { memory, ..Change::default() });
        before.limits.memory_bytes = Some(64 << 20);
        assert_eq!(changed(&update, &before), Change::default());
        let free = Update { memory_bytes: Some(0), ..Update::default() };
        assert_eq!(changed(&free, &before).memory, Some((-1, -1)));
    }

    #[test]
    fn cpus_and_quota_take_each_others_place() {
        let before = ContainerConfig::default();
        let cpus = Update { nano_cpus: Some(500_000_000), ..Update::default() };
        assert_eq!(changed(&cpus, &before).cpu, Some((50_000, 100_000)));
        let with_cpus = cpus.apply(&before).expect("it makes sense");
        let quota = Update { cpu_quota: Some(20_000), ..Update::default() };
        assert_eq!(changed(&quota, &with_cpus).cpu, Some((20_000, 100_000)));
        let none = Update { cpu_quota: Some(-1), ..Update::default() };
        assert_eq!(changed(&none, &with_cpus).cpu, Some((-1, 100_000)));
    }

    #[test]
    fn pids_have_a_default_and_no_limit_is_another_thing() {
        let before = ContainerConfig::default();
        let pids = |pids| changed(&Update { pids: Some(pids), ..Update::default() }, &before).pids;
        assert_eq!((pids(0), pids(-1), pids(50)), (None, Some(-1), Some(50)));
        assert!(Update { pids: Some(-2), ..Update::default() }.apply(&before).is_err());
        assert!(Update { cpuset_cpus: Some(String::new()), ..Update::default() }.apply(&before).is_err());
    }
}
