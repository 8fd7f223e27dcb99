//! Budgets of processor time for processes of real-time priority, where cgroups have them: a container's own, and what
//! the cgroups above it must have to hand it down.

use agent_runtime::cgroup::Cgroup;
use tokio::sync::{Mutex, MutexGuard};

use super::Resources;
use crate::EngineError;
use crate::container::create::blocking;
use crate::container::record::Record;
use crate::engine::Inner;

/// Microseconds; the kernel's own default.
const PERIOD: u64 = 1_000_000;

/// Room is made by one at a time, who holds it until the container has taken it.
static ROOM: Mutex<()> = Mutex::const_new(());

/// Runtime and period in microseconds, if asked for.
pub(super) fn budget(resources: &Resources) -> Option<(u64, u64)> {
    resources.cpu_rt_runtime.map(|runtime| (runtime, resources.cpu_rt_period.unwrap_or(PERIOD)))
}

pub(super) fn check(resources: &Resources) -> Result<(), EngineError> {
    let period = resources.cpu_rt_period.unwrap_or(PERIOD);
    if !(1_000..=PERIOD).contains(&period) {
        return Err(EngineError::invalid("cpu-rt-period", "must be from 1000 to 1000000 microseconds"));
    }
    match resources.cpu_rt_runtime {
        Some(runtime) if !(1_000..=period).contains(&runtime) => {
            let rule = format!("{runtime} is not from 1000 to the period, {period} microseconds");
            Err(EngineError::invalid("cpu-rt-runtime", rule))
        }
        None if resources.cpu_rt_period.is_some() => {
            Err(EngineError::invalid("cpu-rt-period", "says of what cpu-rt-runtime is a part; give that too"))
        }
        _ => Ok(()),
    }
}

/// Makes room for a container with these resources in the cgroup `path`. What is answered is held until its own
/// cgroup has the budget.
///
/// # Errors
/// When the host has less left.
pub(crate) async fn make_room(
    resources: &Resources,
    path: &str,
) -> Result<Option<MutexGuard<'static, ()>>, EngineError> {
    let Some((runtime, period)) = budget(resources) else { return Ok(None) };
    let held = ROOM.lock().await;
    let path = path.to_owned();
    blocking(move || Ok(Cgroup::open(&path)?.make_room_for_real_time(runtime, period)?)).await?;
    Ok(Some(held))
}

impl Inner {
    /// As [`make_room`], for a container about to start.
    pub(crate) async fn real_time_room(
        &self,
        record: &Record,
    ) -> Result<Option<MutexGuard<'static, ()>>, EngineError> {
        make_room(&record.config.isolation.resources, &record.cgroup(&self.config)).await
    }
}

/// What leads from one to the other.
pub(crate) fn change(before: &Resources, after: &Resources) -> Option<(u64, u64)> {
    (budget(before) != budget(after)).then(|| budget(after).unwrap_or((0, PERIOD)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(runtime: Option<u64>, period: Option<u64>) -> Resources {
        Resources { cpu_rt_runtime: runtime, cpu_rt_period: period, ..Resources::default() }
    }

    #[test]
    fn a_budget_is_a_part_of_its_period() {
        for good in [asked(None, None), asked(Some(1_000), None), asked(Some(5_000), Some(5_000))] {
            assert!(check(&good).is_ok(), "{good:?}");
        }
        for bad in [asked(Some(999), None), asked(Some(6_000), Some(5_000)), asked(None, Some(5_000))] {
            assert!(check(&bad).is_err(), "{bad:?}");
        }
        assert!(check(&asked(Some(1_000), Some(2_000_000))).is_err());
    }

    #[test]
    fn what_is_no_longer_asked_for_is_taken_back() {
        let some = asked(Some(5_000), Some(10_000));
        assert_eq!(change(&asked(None, None), &some), Some((5_000, 10_000)));
        assert_eq!(change(&some, &asked(None, None)), Some((0, PERIOD)));
        assert_eq!(change(&some, &some), None);
    }
}
