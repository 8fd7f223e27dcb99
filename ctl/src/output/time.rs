//! Times for people ("3m ago") and for programs (RFC 3339).

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch, now.
pub fn now_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// The age of a moment, for people: "12s", "3m", "5h", "2d".
pub fn age(at_ms: u64, now_ms: u64) -> String {
    if at_ms == 0 {
        return "-".into();
    }
    let seconds = now_ms.saturating_sub(at_ms) / 1000;
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        7200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A time that has passed, in words and one unit, as Docker says it.
pub fn words(elapsed_ms: u64) -> String {
    let seconds = elapsed_ms / 1000;
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, ..60, _) => format!("{minutes} minutes"),
        (.., 1) => "About an hour".to_owned(),
        (.., ..48) => format!("{hours} hours"),
        (.., ..336) => format!("{} days", hours / 24),
        (.., ..1440) => format!("{} weeks", hours / 24 / 7),
        (.., ..17520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// How long until a moment, for people, rounded up; empty when it has passed or is none.
pub fn until(at_ms: u64, now_ms: u64) -> String {
    match at_ms.saturating_sub(now_ms) {
        0 => String::new(),
        left => age(1, 1 + left.next_multiple_of(1000)),
    }
}

/// A moment as RFC 3339 in UTC; empty for 0.
pub fn rfc3339(at_ms: u64) -> String {
    let moment = i64::try_from(at_ms).ok().filter(|ms| *ms > 0).map(jiff::Timestamp::from_millisecond);
    match moment {
        Some(Ok(moment)) => moment.to_string(),
        _ => String::new(),
    }
}

/// A moment in nanoseconds as RFC 3339 in UTC, with all nine digits of the second so that columns stay straight.
pub fn rfc3339_ns(at_ns: u64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(at_ns))
        .map(|moment| format!("{moment:.9}"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_use_the_largest_unit_that_still_tells_something() {
        let cases = [(1_000, "119s", 120_000), (1_000, "2m", 121_000), (1_000, "2h", 7_201_000), (0, "-", 5)];
        for (at, expected, now) in cases {
            assert_eq!(age(at, now), expected);
        }
    }

    #[test]
    fn times_in_words_read_as_dockers() {
        let minute = 60_000;
        for (elapsed, expected) in [
            (999, "Less than a second"),
            (59_999, "59 seconds"),
            (minute, "About a minute"),
            (3 * minute, "3 minutes"),
            (90 * minute, "2 hours"),
            (48 * 60 * minute, "2 days"),
        ] {
            assert_eq!(words(elapsed), expected);
        }
    }

    #[test]
    fn what_has_passed_is_not_waited_for() {
        assert_eq!(until(5_000, 3_500), "2s");
        assert_eq!(until(5_000, 5_000), "");
        assert_eq!(until(0, 5_000), "");
    }

    #[test]
    fn times_of_lines_have_all_their_digits() {
        assert_eq!(rfc3339_ns(1_795_230_000_120_000_000), "2026-11-21T03:00:00.120000000Z");
        assert_eq!(rfc3339_ns(0), "1970-01-01T00:00:00.000000000Z");
    }

    #[test]
    fn a_clock_that_runs_behind_gives_no_negative_age() {
        assert_eq!(age(5_000, 1_000), "0s");
    }
}
