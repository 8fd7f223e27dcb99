//! Real-time budgets (cgroups of version 1, kernels with `CONFIG_RT_GROUP_SCHED`): so many microseconds of each period
//! for processes of real-time priority. A cgroup begins with none and cannot have more than the one above hands down,
//! so those above get what is asked for first. What they have stays with them.

use std::io;

use super::layout::{Hierarchy, Layout};
use super::{Cgroup, CgroupError, files};

const RUNTIME: &str = "cpu.rt_runtime_us";
const PERIOD: &str = "cpu.rt_period_us";

/// Parts of all time; the kernel counts in 2^20 of them.
const WHOLE: u128 = 1 << 40;

impl Layout {
    /// Whether real-time is shared out among cgroups at all.
    pub fn has_real_time(&self) -> bool {
        self.of_v1("cpu").is_some_and(|hierarchy| files::read(hierarchy, RUNTIME).is_ok())
    }
}

impl Cgroup {
    /// Gives the cgroups above this one what they need to hand down `runtime` of each `period`, in microseconds.
    /// Nobody else may do so at the same time.
    ///
    /// # Errors
    /// When the host has less than that left, or shares none out.
    pub fn make_room_for_real_time(&self, runtime: u64, period: u64) -> Result<(), CgroupError> {
        let hierarchy = self.layout.of_v1("cpu").ok_or(CgroupError::None)?;
        let failed = |source| self.failed("make room above", hierarchy, source);
        files::make_parents(hierarchy, &self.path).map_err(failed)?;
        let mut raised = Vec::new();
        let (mut below, mut needed) = (self.path.as_str(), part(runtime, period));
        while let Some((above, name)) = below.rsplit_once('/') {
            needed = needed.saturating_add(handed_down(hierarchy, above, name).map_err(failed)?);
            let (has, period) = budget(hierarchy, above).map_err(failed)?;
            let runtime = u64::try_from((needed * u128::from(period)).div_ceil(WHOLE)).unwrap_or(u64::MAX);
            if runtime <= has {
                break;
            }
            raised.push((above, runtime));
            (below, needed) = (above, part(runtime, period));
        }
        // From above, since each has to have it first.
        for (path, runtime) in raised.into_iter().rev() {
            let value = runtime.to_string();
            files::write(hierarchy, &format!("{path}/{RUNTIME}"), &value).map_err(|error| {
                let all = files::read(hierarchy, RUNTIME).unwrap_or_default();
                let said =
                    format!("{error}; all of the host share {} microseconds of each second", all.trim());
                CgroupError::Limit { file: RUNTIME, value, source: io::Error::other(said) }
            })?;
        }
        Ok(())
    }
}

/// Rounded down, as the kernel does: parts of several together are never more than the part of all.
fn part(runtime: u64, period: u64) -> u128 {
    u128::from(runtime) * WHOLE / u128::from(period.max(1))
}

/// Runtime and period of a cgroup.
fn budget(hierarchy: &Hierarchy, path: &str) -> io::Result<(u64, u64)> {
    let number = |file: &str| {
        let text = files::read(hierarchy, &format!("{path}/{file}"))?;
        // -1 is no limit, which only the root can have.
        Ok::<u64, io::Error>(text.trim().parse().unwrap_or(u64::MAX))
    };
    Ok((number(RUNTIME)?, number(PERIOD)?))
}

/// What the children of a cgroup have, but for one.
fn handed_down(hierarchy: &Hierarchy, path: &str, without: &str) -> io::Result<u128> {
    let mut sum = 0_u128;
    for name in files::children(hierarchy, path)?.into_iter().filter(|name| name != without) {
        // One that goes away meanwhile has nothing.
        if let Ok((runtime, period)) = budget(hierarchy, &format!("{path}/{name}")) {
            sum = sum.saturating_add(part(runtime, period));
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_above_hand_down_what_all_below_have() {
        let top = format!("/real-time-{}", std::process::id());
        let open = |path: &str| Cgroup::open(&format!("{top}{path}")).expect("a cgroup");
        let (one, two) = (open("/a/one"), open("/a/two"));
        if !one.layout.has_real_time() {
            assert!(one.make_room_for_real_time(1_000, 1_000_000).is_err());
            return;
        }
        for (cgroup, runtime) in [(&one, 3_000), (&two, 4_000)] {
            cgroup.make_room_for_real_time(runtime, 1_000_000).expect("there is room");
            cgroup.create().expect("made");
            cgroup.set("cpu", RUNTIME, &runtime.to_string()).expect("it has been handed down");
        }
        one.make_room_for_real_time(3_000, 1_000_000).expect("it has it already");
        let above = |path: &str| open(path).get("cpu", RUNTIME).expect("read").trim().to_owned();
        assert_eq!((above("/a").as_str(), above("").as_str()), ("7000", "7000"));
        let refused = two.make_room_for_real_time(1_000_000, 1_000_000).expect_err("more than there is");
        assert!(refused.to_string().contains("of the host"), "{refused}");
        for path in ["/a/one", "/a/two", "/a", ""] {
            open(path).remove().expect("removed");
        }
    }
}
