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
}

/// One file of a controller and what is written to it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Write {
    controller: &'static str,
    file: &'static str,
    value: String,
    /// Kernels without swap accounting lack it.
    optional: bool,
}

const SWAP_V1: &str = "memory.memsw.limit_in_bytes";

impl Cgroup {
    /// Changes limits, in an order the kernel accepts.
    ///
    /// # Errors
    /// When the kernel refuses one, or more memory is in use than is to be allowed; then nothing has changed.
    pub fn change(&self, change: &Change) -> Result<(), CgroupError> {
        self.check_memory(change)?;
        let v1 = self.layout.is_v1();
        let swap_now = if v1 { self.value("memory", SWAP_V1).ok() } else { None };
        let mut undo: Vec<(Write, String)> = Vec::new();
        for write in writes(change, v1, swap_now.and_then(|text| text.parse().ok())) {
            match self.exchange(&write) {
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

/// The files to write. `swap_now` is the present limit of memory and swap of version 1, which must never be less
/// than that of memory alone.
fn writes(change: &Change, v1: bool, swap_now: Option<i64>) -> Vec<Write> {
    let write = |controller, file, value: String| Write { controller, file, value, optional: false };
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
        writes.extend(memory(limit, total, v1, swap_now));
    }
    writes
}

fn memory(limit: i64, total: i64, v1: bool, swap_now: Option<i64>) -> [Write; 2] {
    let write = |file, value: String, optional| Write { controller: "memory", file, value, optional };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(change: &Change, v1: bool, swap_now: Option<i64>) -> Vec<String> {
        writes(change, v1, swap_now).iter().map(|write| format!("{} {}", write.file, write.value)).collect()
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
    fn what_is_not_asked_for_is_not_touched() {
        assert_eq!(shown(&Change::default(), true, None), Vec::<String>::new());
    }
}
