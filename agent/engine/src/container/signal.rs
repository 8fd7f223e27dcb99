//! Signals as images and people name them.

/// The real-time signals as programs count them: the C library keeps the first two for itself.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

const NAMES: [(&str, i32); 35] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("UNUSED", 31),
];

/// A signal by number or by name, with or without `SIG`, the real-time ones as `RTMIN+3` or `RTMAX-1`.
pub fn parse(text: &str) -> Option<i32> {
    let upper = text.trim().to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let by_name = NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    let by_number = || name.parse().ok().filter(|number| (1..=RTMAX).contains(number));
    by_name.or_else(|| real_time(name)).or_else(by_number)
}

fn real_time(name: &str) -> Option<i32> {
    let (base, offset) = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(offset), _) => (RTMIN, offset),
        (_, Some(offset)) => (RTMAX, offset),
        _ => return None,
    };
    let number = match (offset, offset.chars().next()) {
        ("", _) => base,
        (_, Some('+' | '-')) => base.checked_add(offset.parse().ok()?)?,
        _ => return None,
    };
    (RTMIN..=RTMAX).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_signals_are_names_or_numbers() {
        assert_eq!(parse("SIGQUIT"), Some(3));
        assert_eq!(parse("usr1"), Some(10));
        assert_eq!(parse("9"), Some(9));
        assert_eq!(parse(""), None);
        assert_eq!(parse("65"), None);
    }

    #[test]
    fn real_time_signals_count_from_either_end() {
        assert_eq!(parse("SIGRTMIN+3"), Some(37), "what systemd images ask for");
        assert_eq!(parse("RTMIN"), Some(34));
        assert_eq!(parse("SIGRTMAX-1"), Some(63));
        assert_eq!(parse("37"), Some(37));
        for text in ["RTMIN-1", "RTMAX+1", "RTMIN3", "RTMIN+x", "RTMIN+99999999999"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
