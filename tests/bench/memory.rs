//! What a running container costs beside its own processes: private memory of the
//! engine's programs, memory of the kernel, and processes; as the slope over many
//! containers that only wait.

use std::collections::BTreeMap;

use itest::dev;

/// What is there at a moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sum {
    private_kib: i64,
    proportional_kib: i64,
    kernel_kib: i64,
    processes: i64,
}

/// Per container.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slope {
    /// Private and changed memory of the engine's programs.
    pub(crate) private_kib: f64,
    /// Their part of all memory, shared pages divided among those who share them.
    pub(crate) proportional_kib: f64,
    /// Slab, stacks, page tables and per-processor memory of the whole kernel, which has others' as well.
    pub(crate) kernel_kib: f64,
    /// Processes of the engine.
    pub(crate) processes: f64,
}

impl Sum {
    /// Of the processes whose command line `is_engine` knows.
    pub(crate) fn of(is_engine: impl Fn(&[String]) -> bool) -> Self {
        let mut sum = Self { kernel_kib: kernel(), ..Self::default() };
        for (pid, _) in dev::processes().filter(|(_, line)| is_engine(line)) {
            let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let fields = fields(&rollup);
            let field = |name: &str| fields.get(name).copied().unwrap_or(0);
            sum.private_kib += field("Private_Dirty");
            sum.proportional_kib += field("Pss");
            sum.processes += 1;
        }
        sum
    }

    /// What `count` containers added since `before`.
    pub(crate) fn since(self, before: Self, count: u32) -> Slope {
        let per = |now: i64, then: i64| (now - then) as f64 / f64::from(count);
        Slope {
            private_kib: per(self.private_kib, before.private_kib),
            proportional_kib: per(self.proportional_kib, before.proportional_kib),
            kernel_kib: per(self.kernel_kib, before.kernel_kib),
            processes: per(self.processes, before.processes),
        }
    }
}

fn kernel() -> i64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let fields = fields(&text);
    ["Slab", "KernelStack", "PageTables", "Percpu"].iter().filter_map(|name| fields.get(*name)).sum()
}

/// `Name:  123 kB` by name.
fn fields(text: &str) -> BTreeMap<&str, i64> {
    let field = |line: &'_ str| -> Option<(usize, i64)> {
        let colon = line.find(':')?;
        Some((colon, line[colon + 1..].split_whitespace().next()?.parse().ok()?))
    };
    text.lines().filter_map(|line| field(line).map(|(colon, value)| (&line[..colon], value))).collect()
}
