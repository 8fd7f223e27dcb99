//! What a container uses, as the kernel counts it.
//!
//! The one file that sees cgroups-rs: it knows which file of which version counts what, and how those files read.
//! The hierarchies are those [`super::layout`] found, since cgroups-rs looks for version 2 in one place only.
//! Deliberately not left to it: making, limiting and removing cgroups, which it does by path and with `unwrap`.

use std::io;
use std::path::Path;

use cgroups_rs::MaxValue;
use cgroups_rs::cpu::CpuController;
use cgroups_rs::cpuacct::CpuAcctController;
use cgroups_rs::memory::MemController;
use cgroups_rs::pid::PidController;

use super::layout::Hierarchy;
use super::{Cgroup, CgroupError, files};

/// Version 1 says "no limit" with the largest whole page.
const UNLIMITED: u64 = i64::MAX.unsigned_abs() & !0xfff;

/// What the processes of a cgroup use at this moment, and what they may.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time since the cgroup was made, in nanoseconds.
    pub cpu_ns: u64,
    /// Memory in bytes, without the page cache that the kernel would drop first.
    pub memory_bytes: u64,
    /// Limit of memory in bytes, if there is one.
    pub memory_limit_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: u64,
    /// Limit of processes and threads, if there is one.
    pub pids_limit: Option<u64>,
    /// What was read from and written to block devices since the cgroup was made; `None` where the kernel does not
    /// count it.
    pub block_io: Option<BlockIo>,
}

/// Bytes to and from block devices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BlockIo {
    /// Read from them.
    pub read_bytes: u64,
    /// Written to them.
    pub written_bytes: u64,
}

impl Cgroup {
    /// What is used in it. The caller sees to it that nobody removes it meanwhile.
    pub fn usage(&self) -> Result<Usage, CgroupError> {
        let (memory_bytes, memory_limit_bytes) = self.counted("memory", memory)?;
        let (pids, pids_limit) = self.counted("pids", pids)?;
        Ok(Usage {
            cpu_ns: self.counted("cpuacct", cpu_ns)?,
            memory_bytes,
            memory_limit_bytes,
            pids,
            pids_limit,
            block_io: self.block_io(),
        })
    }

    fn block_io(&self) -> Option<BlockIo> {
        let hierarchy = self.layout.of("blkio").or_else(|| self.layout.of("io"))?;
        let text = |file: &str| files::read(hierarchy, &format!("{}/{file}", self.path)).ok();
        if hierarchy.is_v2() {
            return Some(io_stat(&text("io.stat")?));
        }
        // The first also counts cgroups that the container made below its own; older kernels do not have it.
        let recursive = text("blkio.throttle.io_service_bytes_recursive");
        Some(io_service_bytes(&recursive.or_else(|| text("blkio.throttle.io_service_bytes"))?))
    }

    /// Asks the hierarchy `controller` is in.
    fn counted<T>(
        &self,
        controller: &str,
        ask: impl FnOnce(&Path, bool) -> io::Result<T>,
    ) -> Result<T, CgroupError> {
        let hierarchy: &Hierarchy = self.layout.of(controller).ok_or(CgroupError::None)?;
        let directory = Path::new(hierarchy.mount_point()).join(&self.path);
        ask(&directory, hierarchy.is_v2()).map_err(|source| self.failed("read", hierarchy, source))
    }
}

fn memory(directory: &Path, v2: bool) -> io::Result<(u64, Option<u64>)> {
    let controller = MemController::new(directory.to_owned(), v2);
    if v2 {
        // `memory_stat` takes it for granted that the limits can be read.
        controller.get_mem().map_err(io::Error::other)?;
    } else {
        // It answers zeros for a cgroup that is not there.
        rustix::fs::stat(directory.join("memory.usage_in_bytes"))?;
    }
    let memory = controller.memory_stat();
    let droppable = if v2 { memory.stat.inactive_file } else { memory.stat.total_inactive_file };
    let limit = u64::try_from(memory.limit_in_bytes).ok().filter(|limit| *limit < UNLIMITED);
    Ok((memory.usage_in_bytes.saturating_sub(droppable), limit))
}

fn pids(directory: &Path, v2: bool) -> io::Result<(u64, Option<u64>)> {
    let controller = PidController::new(directory.to_owned(), v2);
    let limit = match controller.get_pid_max().map_err(io::Error::other)? {
        MaxValue::Max => None,
        MaxValue::Value(limit) => u64::try_from(limit).ok(),
    };
    Ok((controller.get_pid_current().map_err(io::Error::other)?, limit))
}

fn cpu_ns(directory: &Path, v2: bool) -> io::Result<u64> {
    if !v2 {
        return Ok(CpuAcctController::new(directory.to_owned()).cpuacct().usage);
    }
    let stat = CpuController::new(directory.to_owned(), true).cpu().stat;
    let microseconds = stat.lines().find_map(|line| line.strip_prefix("usage_usec "));
    let microseconds = microseconds.and_then(|text| text.trim().parse::<u64>().ok());
    microseconds.map(|count| count.saturating_mul(1000)).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Version 2: `254:0 rbytes=1 wbytes=2 rios=3 ...`, a line for each device.
fn io_stat(text: &str) -> BlockIo {
    let sum = |name: &str| {
        let values = text.split_ascii_whitespace().filter_map(|word| word.strip_prefix(name));
        values.filter_map(|value| value.parse::<u64>().ok()).fold(0, u64::saturating_add)
    };
    BlockIo { read_bytes: sum("rbytes="), written_bytes: sum("wbytes=") }
}

/// Version 1: `254:0 Read 1`, a line for each device and operation, and a last line without a device.
fn io_service_bytes(text: &str) -> BlockIo {
    let sum = |operation: &str| {
        let value = |line: &str| {
            let mut words = line.split_ascii_whitespace();
            let is_device = words.next()?.contains(':');
            (is_device && words.next()? == operation).then(|| words.next()?.parse::<u64>().ok())?
        };
        text.lines().filter_map(value).fold(0, u64::saturating_add)
    };
    BlockIo { read_bytes: sum("Read"), written_bytes: sum("Write") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn block_devices_are_summed_up_in_both_versions() {
        let v1 = "254:16 Read 4096\n254:16 Write 8192\n254:16 Sync 8192\n254:16 Async 4096\n254:16 Discard 0\n\
                  254:16 Total 12288\n254:0 Read 1000\n254:0 Write 0\n254:0 Total 1000\nTotal 13288\n";
        assert_eq!(io_service_bytes(v1), BlockIo { read_bytes: 5096, written_bytes: 8192 });
        let v2 = "254:16 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=77 dios=0\n\
                  8:0 rbytes=1000 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n7:0 \n";
        assert_eq!(io_stat(v2), BlockIo { read_bytes: 5096, written_bytes: 8192 });
        for nothing in ["", "Total 0\n", "254:0 Read\n", "garbage"] {
            assert_eq!((io_stat(nothing), io_service_bytes(nothing)), Default::default(), "{nothing:?}");
        }
    }

    #[test]
    fn version_1_says_no_limit_with_a_number() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |file: &str, text: &str| fs::write(directory.path().join(file), text).expect("a file");
        write("memory.usage_in_bytes", "5000\n");
        write("memory.limit_in_bytes", "9223372036854771712\n");
        write("memory.stat", "inactive_file 7\ntotal_inactive_file 1000\n");
        assert_eq!(memory(directory.path(), false).expect("memory"), (4000, None));
        write("memory.limit_in_bytes", "8192\n");
        assert_eq!(memory(directory.path(), false).expect("memory"), (4000, Some(8192)));
    }

    #[test]
    fn version_2_says_no_limit_with_a_word() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |file: &str, text: &str| fs::write(directory.path().join(file), text).expect("a file");
        for file in ["memory.high", "memory.max", "pids.max"] {
            write(file, "max\n");
        }
        write("memory.low", "0\n");
        write("memory.min", "0\n");
        write("memory.current", "5000\n");
        write("memory.stat", "anon 1\ninactive_file 1000\n");
        write("pids.current", "3\n");
        write("cpu.stat", "usage_usec 12\nuser_usec 5\n");
        assert_eq!(memory(directory.path(), true).expect("memory"), (4000, None));
        assert_eq!(pids(directory.path(), true).expect("pids"), (3, None));
        assert_eq!(cpu_ns(directory.path(), true).expect("cpu"), 12_000);
    }

    #[test]
    fn a_cgroup_that_is_gone_is_an_error_and_no_zero() {
        for v2 in [false, true] {
            assert!(memory(Path::new("/nonexistent"), v2).is_err(), "memory, {v2}");
            assert!(pids(Path::new("/nonexistent"), v2).is_err(), "pids, {v2}");
        }
        assert!(cpu_ns(Path::new("/nonexistent"), true).is_err());
    }
}
