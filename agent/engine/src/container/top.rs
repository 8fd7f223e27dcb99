//! The processes of a container, as the host sees them. What they say of
//! themselves, their names and arguments, is theirs to choose, so it is cut
//! short and whatever could steer a terminal is escaped; nothing of the
//! container is executed to find any of it out.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use agent_runtime::cgroup::Cgroup;

use super::ContainerEventKind;
use super::create::blocking;
use super::record::Entry;
use crate::EngineError;
use crate::engine::Inner;

/// Most bytes of a process's arguments that are shown.
const COMMAND: u64 = 4096;
/// Most processes that are looked at.
const MOST: usize = 32_768;
/// Bytes of a page, and the ticks of a second that the kernel shows whatever its own clock does.
const PAGE: u64 = 4096;
const TICKS: u64 = 100;

/// One process of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// On the host.
    pub pid: i32,
    /// On the host.
    pub parent: i32,
    /// As the container numbers it.
    pub container_pid: i32,
    /// On the host.
    pub user: u32,
    /// The kernel's letter.
    pub state: char,
    /// Milliseconds since 1970.
    pub started_at_ms: u64,
    /// Processor time so far, in milliseconds.
    pub cpu_ms: u64,
    /// Resident, in bytes.
    pub memory_bytes: u64,
    /// Threads.
    pub threads: u32,
    /// Program and arguments, or its name in brackets when it has none.
    pub command: String,
}

impl Inner {
    pub(crate) async fn top(&self, entry: &Arc<Entry>) -> Result<Vec<Process>, EngineError> {
        // Whoever holds this keeps the cgroup from being removed.
        let _work = entry.work.lock().await;
        if !entry.state().is_alive() {
            return Err(self.wrong_state(entry, "only a running one has processes"));
        }
        let path = entry.live().record.cgroup(&self.config);
        let processes = blocking(move || Ok(processes(&Cgroup::open(&path)?))).await?;
        self.tell(entry, ContainerEventKind::Used { action: "top", attributes: Vec::new() });
        Ok(processes)
    }
}

fn processes(cgroup: &Cgroup) -> Vec<Process> {
    let boot_ms = boot_ms();
    let listed = cgroup.all_processes();
    let found: Vec<Process> =
        listed.into_iter().take(MOST).filter_map(|pid| Process::read(pid, boot_ms)).collect();
    // A number may have become somebody else's while it was looked at.
    let still: std::collections::BTreeSet<i32> = cgroup.all_processes().into_iter().collect();
    found.into_iter().filter(|process| still.contains(&process.pid)).collect()
}

impl Process {
    /// Reads what the kernel says of a process; `None` when it has gone.
    fn read(pid: i32, boot_ms: u64) -> Option<Process> {
        let stat = read(pid, "stat")?;
        let status = read(pid, "status")?;
        let cmdline = read(pid, "cmdline")?;
        parse(pid, boot_ms, &stat, &status, &cmdline)
    }
}

fn read(pid: i32, file: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(format!("/proc/{pid}/{file}")).ok()?;
    file.take(COMMAND).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn parse(pid: i32, boot_ms: u64, stat: &[u8], status: &[u8], cmdline: &[u8]) -> Option<Process> {
    let stat = String::from_utf8_lossy(stat);
    // The name stands in parentheses and may have some itself; what follows the last one is the kernel's.
    let (name, fields) = stat.rsplit_once(") ")?;
    let name = name.split_once(" (").map_or("", |(_, name)| name);
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    // Numbered from 3 in proc(5).
    let number = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok());
    let status = String::from_utf8_lossy(status);
    let of_status: BTreeMap<&str, &str> = status
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key, value.trim()))
        .collect();
    let last = |key| of_status.get(key).and_then(|text| text.split_ascii_whitespace().last());
    let ms = |ticks: u64| ticks.saturating_mul(1000) / TICKS;
    Some(Process {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        container_pid: last("NSpid").and_then(|text| text.parse().ok()).unwrap_or(pid),
        user: of_status.get("Uid").and_then(|text| text.split_ascii_whitespace().nth(1))?.parse().ok()?,
        state: fields.first()?.chars().next()?,
        started_at_ms: boot_ms.saturating_add(ms(number(22)?)),
        cpu_ms: ms(number(14)?.saturating_add(number(15)?)),
        memory_bytes: number(24)?.saturating_mul(PAGE),
        threads: number(20).and_then(|count| u32::try_from(count).ok())?,
        command: command(name, cmdline),
    })
}

fn command(name: &str, cmdline: &[u8]) -> String {
    let arguments = cmdline.strip_suffix(&[0]).unwrap_or(cmdline);
    if arguments.is_empty() {
        return format!("[{}]", escaped(name));
    }
    let words = arguments.split(|byte| *byte == 0).map(|word| escaped(&String::from_utf8_lossy(word)));
    words.collect::<Vec<_>>().join(" ")
}

/// The text without anything that could steer a terminal or turn its lines around.
fn escaped(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// When the host was started, in milliseconds since 1970.
fn boot_ms() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let seconds = text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<u64>().ok());
    seconds.unwrap_or_default().saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &[u8] = b"Name:\tx\nUid:\t1048576\t1048577\t0\t0\nNSpid:\t4242\t7\n";

    fn stat(name: &str) -> Vec<u8> {
        let fields = "S 4000 1 1 0 -1 4194304 1 2 3 4 250 50 0 0 20 0 3 0 1000 9000 25 0";
        format!("4242 ({name}) {fields}").into_bytes()
    }

    #[test]
    fn a_process_is_what_the_kernel_says() {
        let process = parse(4242, 5_000, &stat("sleep"), STATUS, b"sleep\x00100\x00").expect("it is whole");
        let ids = (process.pid, process.parent, process.container_pid, process.user);
        assert_eq!(ids, (4242, 4000, 7, 1_048_577));
        assert_eq!((process.state, process.threads, process.memory_bytes), ('S', 3, 25 * 4096));
        assert_eq!(process.command, "sleep 100");
        assert_eq!((process.cpu_ms, process.started_at_ms), (3_000, 15_000));
    }

    #[test]
    fn a_name_cannot_pretend_to_be_other_fields_or_steer_a_terminal() {
        let process = parse(1, 0, &stat("x) R 1 (y\n"), STATUS, b"").expect("it is whole");
        assert_eq!((process.state, process.parent), ('S', 4000));
        assert_eq!(process.command, "[x) R 1 (y\\n]");
        let shown = command("x", b"a\x1b[2J\x00\xff\xe2\x80\xaeb\x00");
        assert_eq!(shown, "a\\u{1b}[2J \u{fffd}\\u{202e}b");
    }

    #[test]
    fn what_is_cut_short_is_no_process() {
        assert_eq!(parse(1, 0, b"1 (x", STATUS, b""), None);
        assert_eq!(parse(1, 0, &stat("x"), b"", b""), None);
    }
}
