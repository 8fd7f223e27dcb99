//! What running containers use. Asked of the kernel each time; nothing is kept, so rates are the caller's to make of
//! two answers.

use std::sync::Arc;

use agent_runtime::cgroup::{self, Cgroup};
use rustix::time::{ClockId, clock_gettime};

use super::create::blocking;
use super::isolation::NetworkMode;
use super::record::Entry;
use crate::EngineError;
use crate::engine::Inner;

/// What a container uses at a moment.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// When it was asked, by a clock that only goes forward, in nanoseconds.
    pub at_ns: u64,
    /// What its cgroup counts.
    pub counted: cgroup::Usage,
    /// Memory of the host in bytes: the limit of who has none.
    pub host_memory_bytes: u64,
    /// What went over its network interfaces since they were made; `None` where it has the host's.
    pub traffic: Option<Traffic>,
}

/// Bytes over network interfaces, loopback left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Received.
    pub received: u64,
    /// Sent.
    pub sent: u64,
}

impl Inner {
    pub(crate) async fn usage(&self, entry: &Arc<Entry>) -> Result<Usage, EngineError> {
        if let Ok(usage) = self.usage_now(entry).await {
            return Ok(usage);
        }
        // Whoever holds this keeps the cgroup from being removed.
        let _work = entry.work.lock().await;
        self.usage_now(entry).await
    }

    /// As it is now, without waiting for anybody: one that is just ending is an error.
    pub(crate) async fn usage_now(&self, entry: &Arc<Entry>) -> Result<Usage, EngineError> {
        let (path, pid, has_own_network) = {
            let live = entry.live();
            let network = &live.record.config.isolation.namespaces.network;
            (live.record.cgroup(&self.config), live.pid, *network != NetworkMode::Host)
        };
        let pid = pid.filter(|_| entry.state().is_alive() && has_own_network);
        let refused = || self.wrong_state(entry, "only a running one uses anything");
        if !entry.state().is_alive() {
            return Err(refused());
        }
        let id = entry.id.clone();
        let read = blocking(move || {
            let now = clock_gettime(ClockId::Monotonic);
            let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
            let at_ns = seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0);
            let counted = Cgroup::open(&path)?.usage()?;
            let devices = pid.and_then(|pid| devices_of(pid, &id));
            let host = rustix::system::sysinfo();
            let host_memory_bytes = host.totalram.saturating_mul(host.mem_unit.into());
            Ok(Usage { at_ns, counted, host_memory_bytes, traffic: devices.as_deref().map(traffic) })
        });
        let usage = read.await?;
        // What is read of a cgroup that goes away are zeros.
        if entry.state().is_alive() { Ok(usage) } else { Err(refused()) }
    }
}

/// What `/proc/PID/net/dev` says of the container `id`'s first process.
fn devices_of(pid: i32, id: &str) -> Option<String> {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    let devices = read("net/dev")?;
    // Read last: a number that is another process's by now is not the container's.
    read("cgroup")?.contains(id).then_some(devices)
}

/// The sum of `/proc/PID/net/dev`: after two lines of headings, a line for each interface with eight numbers of what
/// was received and eight of what was sent, bytes first.
fn traffic(devices: &str) -> Traffic {
    let mut sum = Traffic::default();
    for (name, numbers) in devices.lines().filter_map(|line| line.split_once(':')) {
        let mut numbers = numbers.split_ascii_whitespace().map(|number| number.parse::<u64>().unwrap_or(0));
        let received = numbers.next().unwrap_or(0);
        let sent = numbers.nth(7).unwrap_or(0);
        if name.trim() != "lo" {
            sum.received = sum.received.saturating_add(received);
            sum.sent = sum.sent.saturating_add(sent);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_summed_up_without_loopback() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
                    face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
                    lo:    9000      10    0    0    0     0          0         0     9000      10    0    0    0     0       0          0\n  \
                    eth0: 1234567    1000    0    1    0     0          0         0   765432     900    0    0    0     0       0          0\n  \
                    eth1:       1       1    0    0    0     0          0         0        2       1    0    0    0     0       0          0\n";
        assert_eq!(traffic(text), Traffic { received: 1_234_568, sent: 765_434 });
        assert_eq!(traffic(""), Traffic::default());
        assert_eq!(traffic("eth0: 5"), Traffic { received: 5, sent: 0 });
    }
}
