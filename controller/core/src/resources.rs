//! Amounts of processor, memory and processes: arithmetic that cannot overflow, and words for people.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a node has, or a task reserves or is limited to. 0 means none was stated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Billionths of a core: 1,000,000,000 is one core.
    pub nano_cpus: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Processes and threads. Not scheduled, only enforced.
    pub pids: u64,
}

impl Resources {
    /// The sum, capped instead of overflowing.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            nano_cpus: self.nano_cpus.saturating_add(other.nano_cpus),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
            pids: self.pids.saturating_add(other.pids),
        }
    }

    /// The difference, never below zero.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            nano_cpus: self.nano_cpus.saturating_sub(other.nano_cpus),
            memory_bytes: self.memory_bytes.saturating_sub(other.memory_bytes),
            pids: self.pids.saturating_sub(other.pids),
        }
    }

    /// Whether a reservation of this size fits into `free`. Processes are not counted.
    #[must_use]
    pub fn fits(self, free: Self) -> bool {
        self.nano_cpus <= free.nano_cpus && self.memory_bytes <= free.memory_bytes
    }
}

/// Bytes in the largest binary unit that shows them without a fraction, or with one digit of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 4] =
            [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        for (unit, size) in UNITS {
            if self.0 >= size {
                let tenths = (self.0 % size) * 10 / size;
                return if tenths == 0 {
                    write!(f, "{} {unit}", self.0 / size)
                } else {
                    write!(f, "{}.{tenths} {unit}", self.0 / size)
                };
            }
        }
        write!(f, "{} B", self.0)
    }
}

/// Billionths of a core, shown as cores with up to three digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores(pub u64);

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, milli) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000 / 1_000_000);
        let digits = format!("{milli:03}");
        match digits.trim_end_matches('0') {
            "" => write!(f, "{whole} cores"),
            digits => write!(f, "{whole}.{digits} cores"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_as_people_write_them() {
        assert_eq!(Bytes(6 << 20).to_string(), "6 MiB");
        assert_eq!(Bytes(3 << 29).to_string(), "1.5 GiB");
        assert_eq!(Bytes(17).to_string(), "17 B");
        assert_eq!(Cores(1_500_000_000).to_string(), "1.5 cores");
        assert_eq!(Cores(250_000_000).to_string(), "0.25 cores");
        assert_eq!(Cores(2_000_000_000).to_string(), "2 cores");
    }

    #[test]
    fn arithmetic_never_leaves_the_range() {
        let most = Resources { nano_cpus: u64::MAX, memory_bytes: u64::MAX, pids: u64::MAX };
        assert_eq!(most.plus(most), most);
        assert_eq!(Resources::default().minus(most), Resources::default());
    }
}
