//! How values of options are written, as Docker's users know it. Only the notation is read here; whether the
//! value makes sense, the agent knows.

use proto::v1::{DeviceValue, Ulimit};

use crate::cmd::service::spec;

/// Reads a size, or -1 for no limit.
pub(in crate::cmd::container) fn size_or_unlimited(text: &str) -> Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    i64::try_from(spec::size(text)?).map_err(|_| format!("{text} is more than any machine has"))
}

/// Reads `PATH:NUMBER`.
pub(super) fn device_number(text: &str) -> Result<DeviceValue, String> {
    let (path, value) = device(text)?;
    let value =
        value.parse().map_err(|_| format!("{value:?} is no number; expected for example /dev/sda:100"))?;
    Ok(DeviceValue { path, value })
}

/// Reads `PATH:SIZE`, bytes per second.
pub(super) fn device_rate(text: &str) -> Result<DeviceValue, String> {
    let (path, value) = device(text)?;
    Ok(DeviceValue { path, value: spec::size(value)? })
}

fn device(text: &str) -> Result<(String, &str), String> {
    match text.rsplit_once(':') {
        Some((path, value)) if path.starts_with('/') => Ok((path.to_owned(), value)),
        _ => Err(format!("{text:?} is not a device and a number; expected for example /dev/sda:1mb")),
    }
}

/// Reads a time as Docker writes it: numbers with units, one after the other.
pub(super) fn duration(text: &str) -> Result<std::time::Duration, String> {
    let wrong = || format!("{text:?} is no time: write for example 30s, 500ms or 1m30s");
    let (mut rest, mut nanoseconds) = (text, 0_u64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let unit = &tail[..tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len())];
        let scale: u64 = match unit {
            "ns" => 1,
            "us" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let part = number.checked_mul(scale).ok_or_else(wrong)?;
        nanoseconds = nanoseconds.checked_add(part).ok_or_else(wrong)?;
        rest = &tail[unit.len()..];
    }
    if text.is_empty() { Err(wrong()) } else { Ok(std::time::Duration::from_nanos(nanoseconds)) }
}

/// Reads a number of seconds; -1 is more than anybody waits for.
pub(super) fn grace(text: &str) -> Result<u32, String> {
    match text {
        "-1" => Ok(u32::MAX),
        _ => text.parse().map_err(|_| format!("{text:?} is no number of seconds; -1 never kills")),
    }
}

/// Reads `size=SIZE`, the only option of storage there is.
pub(super) fn storage(text: &str) -> Result<u64, String> {
    match text.split_once('=') {
        Some(("size", size)) => spec::size(size),
        _ => Err(format!("{text:?} is not known; only size=SIZE is, for example size=2g")),
    }
}

/// Reads `NAME=SOFT[:HARD]`; one number is both, -1 or `unlimited` is no limit.
pub(super) fn ulimit(text: &str) -> Result<Ulimit, String> {
    let expected =
        || format!("{text:?} is no limit; expected NAME=SOFT[:HARD], for example nofile=1024:4096");
    let (name, numbers) = text.split_once('=').ok_or_else(expected)?;
    let (soft, hard) = numbers.split_once(':').unwrap_or((numbers, numbers));
    let number = |text: &str| match text {
        "-1" | "unlimited" => Ok(-1),
        _ => text.parse().ok().filter(|number| *number >= 0).ok_or_else(expected),
    };
    if name.is_empty() {
        return Err(expected());
    }
    Ok(Ulimit { name: name.to_owned(), soft: number(soft)?, hard: number(hard)? })
}

/// Reads `NAME:ADDRESS` or `NAME=ADDRESS`; an address of version 6 may stand in brackets.
pub(super) fn extra_host(text: &str) -> Result<String, String> {
    let at = text.find([':', '=']).filter(|at| *at > 0);
    let (name, address) = at.map(|at| (&text[..at], &text[at + 1..])).unwrap_or_default();
    let address = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if name.is_empty() || address.is_empty() {
        return Err(format!("{text:?} is no name and address; expected for example db:10.0.0.5"));
    }
    Ok(format!("{name}:{address}"))
}

/// The lines of a file of variables or labels: blank ones and those that start with `#` are left out.
pub(super) fn lines_of(path: &std::path::Path) -> Result<Vec<String>, String> {
    const MOST: u64 = 4 << 20;
    let shown = path.display();
    let size = std::fs::metadata(path).map_err(|error| format!("cannot read {shown}: {error}"))?.len();
    if size > MOST {
        return Err(format!("{shown} has more than {MOST} bytes"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let lines = text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_numbers_with_units() {
        let time = |text: &str| duration(text).map(|time| time.as_millis());
        assert_eq!(time("30s"), Ok(30_000));
        assert_eq!(time("1m30s5ms"), Ok(90_005));
        assert_eq!(time("0s"), Ok(0));
        for bad in ["", "5", "s", "5x", "-1s", "1.5s", "99999999999999h"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn storage_has_a_size_and_nothing_else() {
        assert_eq!(storage("size=2g"), Ok(2 << 30));
        assert!(storage("size=").is_err() && storage("dm.basesize=1g").is_err() && storage("2g").is_err());
    }

    #[test]
    fn a_grace_period_may_have_no_end() {
        assert_eq!((grace("7"), grace("-1")), (Ok(7), Ok(u32::MAX)));
        assert!(grace("-2").is_err() && grace("").is_err() && grace("1s").is_err());
    }

    #[test]
    fn limits_are_one_number_or_two() {
        let read = |text| ulimit(text).map(|limit| (limit.name, limit.soft, limit.hard));
        assert_eq!(read("nofile=10"), Ok(("nofile".to_owned(), 10, 10)));
        assert_eq!(read("core=0:unlimited"), Ok(("core".to_owned(), 0, -1)));
        assert_eq!(read("memlock=-1:-1"), Ok(("memlock".to_owned(), -1, -1)));
        for bad in ["nofile", "=1", "nofile=", "nofile=a", "nofile=1:", "nofile=-5"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_may_have_addresses_of_version_6() {
        assert_eq!(extra_host("db:10.0.0.5"), Ok("db:10.0.0.5".into()));
        assert_eq!(extra_host("db=::1"), Ok("db:::1".into()));
        assert_eq!(extra_host("db:[fe80::1]"), Ok("db:fe80::1".into()));
        for bad in ["db", ":1.2.3.4", "db:", ""] {
            assert!(extra_host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn devices_have_sizes_or_numbers() {
        assert_eq!(device_rate("/dev/sda:1mb").map(|d| (d.path, d.value)), Ok(("/dev/sda".into(), 1 << 20)));
        assert_eq!(device_number("/dev/sda:7").map(|d| d.value), Ok(7));
        for bad in ["sda:1", "/dev/sda", "/dev/sda:", "/dev/sda:x"] {
            assert!(device_number(bad).is_err() && device_rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn comments_and_blank_lines_of_files_are_left_out() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "\u{feff}# comment\nA=1\n\n  B=x y \n").unwrap();
        assert_eq!(lines_of(file.path()), Ok(vec!["A=1".to_owned(), "B=x y ".to_owned()]));
        assert!(lines_of(std::path::Path::new("/no/such/file")).is_err());
    }
}
