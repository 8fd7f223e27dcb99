//! Moments as people give them: how long ago, a date, or seconds since 1970.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

const NOTATION: &str =
    "expected how long ago (10m, 2h30m), a time (2026-01-31T12:00:00Z), or seconds since 1970";

/// Reads a moment into nanoseconds since 1970, as [`parse`] does, counting back from now.
///
/// # Errors
/// With the notations there are.
pub fn when(text: &str) -> Result<u64, String> {
    parse(text, crate::output::time::now_ms().saturating_mul(1_000_000))
}

/// Reads a moment into nanoseconds since 1970. `now_ns` is what durations count back from.
///
/// # Errors
/// With the notations there are.
pub fn parse(text: &str, now_ns: u64) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no moment; {NOTATION}");
    let since_epoch = |moment: Timestamp| u64::try_from(moment.as_nanosecond()).map_err(|_| wrong());
    if let Some(seconds) = seconds(text) {
        return seconds.ok_or_else(wrong);
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        return since_epoch(moment);
    }
    // Without a zone it is the user's own.
    if let Ok(local) = text.parse::<DateTime>() {
        return since_epoch(local.to_zoned(TimeZone::system()).map_err(|_| wrong())?.timestamp());
    }
    let ago: SignedDuration = text.parse().map_err(|_| wrong())?;
    let ago = u64::try_from(ago.as_nanos()).map_err(|_| wrong())?;
    now_ns.checked_sub(ago).ok_or_else(wrong)
}

/// `1700000000` or `1700000000.123456789`; the inner `None` is too much.
fn seconds(text: &str) -> Option<Option<u64>> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(part) || part.len() > 9 {
        return None;
    }
    let nanos = format!("{part:0<9}").parse::<u64>().ok();
    let whole = whole.parse::<u64>().ok().and_then(|whole| whole.checked_mul(1_000_000_000));
    Some(whole.zip(nanos).and_then(|(whole, nanos)| whole.checked_add(nanos)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000_000_000;

    #[test]
    fn moments_are_durations_dates_or_seconds() {
        assert_eq!(parse("10m", NOW), Ok(NOW - 600_000_000_000));
        assert_eq!(parse("2h30m", NOW), Ok(NOW - 9_000_000_000_000));
        assert_eq!(parse("1700000000", 0), Ok(NOW));
        assert_eq!(parse("1700000000.5", 0), Ok(NOW + 500_000_000));
        assert_eq!(parse("2023-11-14T22:13:20Z", 0), Ok(NOW));
        assert_eq!(parse("2023-11-14T23:13:20+01:00", 0), Ok(NOW));
        assert!(parse("2023-11-14", NOW).is_ok());
    }

    #[test]
    fn what_is_no_moment_is_refused_with_the_notation() {
        for text in ["", "soon", "-1", "1.2.3", "99999999999999999999", "10x", "-5m"] {
            assert!(parse(text, NOW).unwrap_err().contains("expected"), "{text}");
        }
    }
}
