//! Changing the limits of a cgroup whose processes live: all that is asked for, or nothing. What is most likely to be
//! refused, memory, comes last, and what was written before it is written back.

use std::io;

use super::{Cgroup, CgroupError, files};

/// What is changed of a cgroup's limits. `None` stays as it is; -1 is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Bytes of memory, and of memory and swap together.
    pub memory: Option<(i64, i64)>,
    /// What is kept when memory is short, in bytes; 0 for nothing.
    pub memory_reservation: Option<i64>,
    /// Microseconds of processor time in each period, and the period in microseconds.
    pub cpu: Option<(i64, u64)>,
    /// 2 to 262144, beside those of others.
    pub cpu_shares: Option<u64>,
    /// Processors, as `0-3,7`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes, as `0-1`.
    pub cpuset_mems: Option<String>,
    /// Processes and threads.
    pub pids: Option<i64>,
    /// Microseconds for processes of real-time priority in each period, and the period in microseconds.
    pub real_time: Option<(u64, u64)>,
    /// 10 to 1000, beside those of others; `None` within is as the kernel has it.
    pub disk_weight: Option<Option<u16>>,
}

/// One file of a controller and what is written to it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Write {
    controller: &'static str,
    file: &'static str,
    value: String,
    /// Where the kernel has another file instead: that one and its value.
    instead: Option<(&'static str, String)>,
    /// Kernels without swap accounting lack it.
    optional: bool,
}

const SWAP_V1: &str = "memory.memsw.limit_in_bytes";
const RT_PERIOD: &str = "cpu.rt_period_us";

/// What version 1 has at present, where the order of writes depends on it.
#[derive(Debug, Clone, Copy, Default)]
struct Now {
    /// The limit of memory and swap together, which must never be less than that of memory alone.
    swap: Option<i64>,
    /// Microseconds.
    rt_period: Option<u64>,
}

impl Cgroup {
    /// Changes limits, in an order the kernel accepts.
    ///
    /// # Errors
    /// When the kernel refuses one, or more memory is in use than is to be allowed; then nothing has changed.
    pub fn change(&self, change: &Change) -> Result<(), CgroupError> {
        self.check_memory(change)?;
        let v1 = self.layout.is_v1();
        let number = |controller, file| match v1 {
            true => self.value(controller, file).ok().and_then(|text| text.parse::<i64>().ok()),
            false => None,
        };
        let rt_period = number("cpu", RT_PERIOD).and_then(|period| u64::try_from(period).ok());
        let now = Now { swap: number("memory", SWAP_V1), rt_period };
        let mut undo: Vec<(Write, String)> = Vec::new();
        for mut write in writes(change, v1, now) {
            let mut exchanged = self.exchange(&write);
            if let (Err(error), Some((file, value))) = (&exchanged, write.instead.take())
                && error.kind() == io::ErrorKind::NotFound
            {
                (write.file, write.value) = (file, value);
                exchanged = self.exchange(&write);
            }
            match exchanged {
                Ok(before) => undo.push((write, before)),
                Err(error) if write.optional && error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    for (write, before) in undo.iter().rev() {
                        // It was so a moment ago; if that is refused now nothing better is known.
                        let _ = self.set(write.controller, write.file, before);
                    }
                    return Err(CgroupError::Limit { file: write.file, value: write.value, source });
                }
            }
        }
        Ok(())
    }

    /// Version 2 would kill what does not fit; version 1 refuses by itself.
    fn check_memory(&self, change: &Change) -> Result<(), CgroupError> {
        let Some(limit) = change.memory.and_then(|(limit, _)| u64::try_from(limit).ok()) else {
            return Ok(());
        };
        let used = self.usage()?.memory_bytes;
        if used <= limit {
            return Ok(());
        }
        let source = io::Error::other(format!("{used} bytes are in use"));
        Err(CgroupError::Limit { file: "the memory limit", value: limit.to_string(), source })
    }

    /// Writes a value and answers the one before.
    fn exchange(&self, write: &Write) -> io::Result<String> {
        let before = self.value(write.controller, write.file)?;
        self.set(write.controller, write.file, &write.value)?;
        // An empty list is inherited; to write nothing is no write.
        Ok(if before.is_empty() { "\n".to_owned() } else { before })
    }

    fn value(&self, controller: &str, file: &str) -> io::Result<String> {
        let hierarchy = self.layout.of(controller).ok_or(io::ErrorKind::Unsupported)?;
        Ok(files::read(hierarchy, &format!("{}/{file}", self.path))?.trim().to_owned())
    }
}

/// The files to write.
fn writes(change: &Change, v1: bool, now: Now) -> Vec<Write> {
    let write =
        |controller, file, value: String| Write { controller, file, value, instead: None, optional: false };
    let or_max = |value: i64| if value < 0 { "max".to_owned() } else { value.to_string() };
    let mut writes = Vec::new();
    if let Some(pids) = change.pids {
        writes.push(write("pids", "pids.max", or_max(pids)));
    }
    if let Some(shares) = change.cpu_shares {
        let shares = shares.clamp(2, 262_144);
        writes.push(match v1 {
            true => write("cpu", "cpu.shares", shares.to_string()),
            false => write("cpu", "cpu.weight", (1 + (shares - 2) * 9999 / 262_142).to_string()),
        });
    }
    match change.cpu {
        Some((quota, period)) if v1 => {
            writes.push(write("cpu", "cpu.cfs_period_us", period.to_string()));
            writes.push(write("cpu", "cpu.cfs_quota_us", quota.max(-1).to_string()));
        }
        Some((quota, period)) => writes.push(write("cpu", "cpu.max", format!("{} {period}", or_max(quota)))),
        None => {}
    }
    if let Some((runtime, period)) = change.real_time {
        let runtime = write("cpu", "cpu.rt_runtime_us", runtime.to_string());
        let longer = now.rt_period.is_none_or(|now| now <= period);
        let period = write("cpu", RT_PERIOD, period.to_string());
        // In between the part is less than before and after, never more than there is.
        writes.extend(if longer { [period, runtime] } else { [runtime, period] });
    }
    writes.extend(change.disk_weight.map(|weight| disk_weight(weight, v1)));
    for (file, list) in [("cpuset.cpus", &change.cpuset_cpus), ("cpuset.mems", &change.cpuset_mems)] {
        writes.extend(list.iter().map(|list| write("cpuset", file, list.clone())));
    }
    if let Some(bytes) = change.memory_reservation {
        writes.push(match v1 {
            // What is without a soft limit has one of everything.
            true => {
                write("memory", "memory.soft_limit_in_bytes", if bytes <= 0 { -1 } else { bytes }.to_string())
            }
            false => write("memory", "memory.low", bytes.max(0).to_string()),
        });
    }
    if let Some((limit, total)) = change.memory {
        writes.extend(memory(limit, total, v1, now.swap));
    }
    writes
}

fn memory(limit: i64, total: i64, v1: bool, swap_now: Option<i64>) -> [Write; 2] {
    let write =
        |file, value: String, optional| Write { controller: "memory", file, value, instead: None, optional };
    if !v1 {
        let swap = if total < 0 || limit < 0 { "max".to_owned() } else { (total - limit).to_string() };
        let limit = if limit < 0 { "max".to_owned() } else { limit.to_string() };
        return [write("memory.swap.max", swap, true), write("memory.max", limit, false)];
    }
    let alone = write("memory.limit_in_bytes", limit.max(-1).to_string(), false);
    let both = write(SWAP_V1, total.max(-1).to_string(), true);
    let grows = total < 0 || swap_now.is_some_and(|now| total > now);
    if grows { [both, alone] } else { [alone, both] }
}

/// The same files and numbers as in the plan of a container; 100 is what the kernel begins with.
fn disk_weight(weight: Option<u16>, v1: bool) -> Write {
    let same = weight.unwrap_or(100).to_string();
    let wide = weight.map_or(100, |weight| 1 + (u32::from(weight).max(10) - 10) * 9999 / 990);
    let (controller, file, instead) = match v1 {
        true => ("blkio", "blkio.bfq.weight", ("blkio.weight", weight.unwrap_or(500).to_string())),
        false => ("io", "io.bfq.weight", ("io.weight", wide.to_string())),
    };
    Write { controller, file, value: same, instead: Some(instead), optional: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(change: &Change, v1: bool, swap: Option<i64>) -> Vec<String> {
        let now = Now { swap, rt_period: Some(1_000) };
        writes(change, v1, now).iter().map(|write| format!("{} {}", write.file, write.value)).collect()
    }

    #[test]
    fn memory_alone_is_never_more_than_memory_and_swap_while_it_is_changed() {
        let change = Change { memory: Some((100, 200)), ..Change::default() };
        let (alone, both) =
            ("memory.limit_in_bytes 100".to_owned(), "memory.memsw.limit_in_bytes 200".to_owned());
        assert_eq!(shown(&change, true, Some(50)), [both.clone(), alone.clone()]);
        assert_eq!(shown(&change, true, Some(500)), [alone, both]);
        let unlimited = Change { memory: Some((-1, -1)), ..Change::default() };
        assert_eq!(shown(&unlimited, true, Some(50))[0], "memory.memsw.limit_in_bytes -1");
    }

    #[test]
    fn version_2_counts_swap_alone_and_says_max() {
        let change = Change {
            memory: Some((100, 300)),
            cpu: Some((-1, 100_000)),
            pids: Some(-1),
            cpu_shares: Some(1024),
            ..Change::default()
        };
        let expected =
            ["pids.max max", "cpu.weight 39", "cpu.max max 100000", "memory.swap.max 200", "memory.max 100"];
        assert_eq!(shown(&change, false, None), expected);
    }

    #[test]
    fn weights_and_real_time_have_the_files_of_the_hosts_version() {
        let change = Change { disk_weight: Some(Some(505)), ..Change::default() };
        assert_eq!(shown(&change, true, None), ["blkio.bfq.weight 505"]);
        let write = writes(&change, false, Now::default()).remove(0);
        assert_eq!((write.file, write.instead), ("io.bfq.weight", Some(("io.weight", "5000".to_owned()))));
        let usual = Change { disk_weight: Some(None), ..Change::default() };
        assert_eq!(shown(&usual, true, None), ["blkio.bfq.weight 100"]);
        let real_time = |period| Change { real_time: Some((500, period)), ..Change::default() };
        assert_eq!(shown(&real_time(2_000), true, None), ["cpu.rt_period_us 2000", "cpu.rt_runtime_us 500"]);
        assert_eq!(shown(&real_time(900), true, None), ["cpu.rt_runtime_us 500", "cpu.rt_period_us 900"]);
    }

    #[test]
    fn what_is_not_asked_for_is_not_touched() {
        assert_eq!(shown(&Change::default(), true, None), Vec::<String>::new());
    }
}
