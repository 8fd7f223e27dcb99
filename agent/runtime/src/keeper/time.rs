//! Wall-clock time as logs and records carry it. Nothing here keeps a clock.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since 1970.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0))
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    now_ns() / 1_000_000
}

/// RFC 3339 in UTC with as many digits of a second as it has, as Docker's log files have it.
pub(crate) fn rfc3339_short(ns: u64) -> String {
    let full = rfc3339(ns);
    format!("{}Z", full.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.'))
}

/// RFC 3339 in UTC with nine digits of a second.
pub(crate) fn rfc3339(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    let (year, month, day) = date(seconds / 86_400);
    let of_day = seconds % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60,
        ns % 1_000_000_000
    )
}

/// Year, month and day of the so many-th day since 1970, in the Gregorian
/// calendar counted in eras of 400 years that begin on the first of March.
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_as_docker_writes_them() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339_short(1_795_230_000_000_000_000), "2026-11-21T03:00:00Z");
        assert_eq!(rfc3339_short(1_795_230_000_120_000_000), "2026-11-21T03:00:00.12Z");
        assert_eq!(rfc3339(951_782_400_000_000_007), "2000-02-29T00:00:00.000000007Z");
        assert_eq!(rfc3339(1_795_230_000_123_456_789), "2026-11-21T03:00:00.123456789Z");
        assert_eq!(rfc3339(4_107_542_399_999_999_999), "2100-02-28T23:59:59.999999999Z");
    }
}
