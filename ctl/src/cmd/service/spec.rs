//! The flags that describe containers, as Docker's users know them, and their
//! parsers. The controller checks the values; here only the notation is read.

use proto::v1::{Protocol, PublishedPort, Resources};

/// Reads `8080:80`, `8080:80/udp` or `80` (the same port on both sides).
///
/// # Errors
/// With the notation that is expected.
pub fn port(text: &str) -> Result<PublishedPort, String> {
    let (numbers, protocol) = match text.rsplit_once('/') {
        None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), Protocol::Tcp),
        Some((numbers, "udp")) => (numbers, Protocol::Udp),
        Some((_, other)) => return Err(format!("protocol {other:?} is neither tcp nor udp")),
    };
    let (published, target) = numbers.split_once(':').unwrap_or((numbers, numbers));
    let number = |text: &str| match text.parse::<u16>() {
        Ok(number) if number > 0 => Ok(u32::from(number)),
        _ => Err(format!("{text:?} is no port; expected PUBLISHED:TARGET[/udp] with ports from 1 to 65535")),
    };
    Ok(PublishedPort { protocol: protocol.into(), published: number(published)?, target: number(target)? })
}

/// Reads a size such as `512m`, `1g`, `64MiB` or plain bytes.
///
/// # Errors
/// With the notation that is expected.
pub fn size(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let shift = match &lower[digits..] {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(format!("{text:?} is no size; expected for example 64m or 2g")),
    };
    let count: u64 = lower[..digits]
        .parse()
        .map_err(|_| format!("{text:?} is no size; expected for example 64m or 2g"))?;
    count.checked_mul(1 << shift).ok_or_else(|| format!("{text} is more than any machine has"))
}

/// Reads a number of cores such as `0.5` into billionths of a core.
///
/// # Errors
/// When it is no number between 0.001 and 100,000.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was just checked")]
pub fn cpus(text: &str) -> Result<u64, String> {
    match text.parse::<f64>() {
        Ok(cores) if (0.001..=100_000.0).contains(&cores) => Ok((cores * 1e9).round() as u64),
        _ => Err(format!("{text:?} is no number of cores; expected for example 0.5 or 2")),
    }
}

/// Reads `KEY=VALUE`, or `KEY` alone, which takes its value from here.
///
/// # Errors
/// When the name is empty or the variable is not set here.
pub fn env(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some(("", _)) => Err(format!("{text:?} has no name; expected NAME=VALUE")),
        Some(_) => Ok(text.to_owned()),
        None => std::env::var(text)
            .map(|value| format!("{text}={value}"))
            .map_err(|_| format!("{text} is not set here; expected NAME=VALUE")),
    }
}

/// Reads a label, `KEY=VALUE` or `KEY`.
///
/// # Errors
/// When the key is empty.
pub fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() { Err(format!("{text:?} has no key")) } else { Ok((key.to_owned(), value.to_owned())) }
}

/// Limits of one container.
#[derive(Debug, Default, Clone, clap::Args)]
pub struct Limits {
    /// Memory limit of a container, such as 64m
    #[arg(long = "memory", short = 'm', value_name = "SIZE", value_parser = size)]
    pub memory: Option<u64>,
    /// CPU limit of a container, in cores, such as 0.5
    #[arg(long, value_name = "CORES", value_parser = cpus)]
    pub cpus: Option<u64>,
    /// Most processes of a container (default 1024)
    #[arg(long, value_name = "COUNT")]
    pub pids_limit: Option<u64>,
}

impl Limits {
    /// As the wire wants it.
    pub fn to_resources(&self) -> Resources {
        Resources {
            nano_cpus: self.cpus.unwrap_or(0),
            memory_bytes: self.memory.unwrap_or(0),
            pids: self.pids_limit.unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_docker_writes_them() {
        let read = port("8080:80").expect("port");
        assert_eq!((read.published, read.target, read.protocol), (8080, 80, Protocol::Tcp as i32));
        assert_eq!(port("53:5353/udp").expect("port").protocol, Protocol::Udp as i32);
        assert_eq!(port("80").expect("port").published, 80);
    }

    #[test]
    fn what_is_no_port_is_refused_with_the_notation() {
        for text in ["0:80", "80:0", "65536:1", "a:1", "", ":", "80/sctp", "1:2:3"] {
            assert!(port(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_have_binary_units() {
        let cases = [("1024", 1024), ("64m", 64 << 20), ("2GiB", 2 << 30), ("1k", 1024)];
        for (text, expected) in cases {
            assert_eq!(size(text), Ok(expected));
        }
        for text in ["", "m", "-1", "1x", "99999999999999999999", "99999999t"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cores_are_billionths() {
        assert_eq!(cpus("0.5"), Ok(500_000_000));
        for text in ["0", "-1", "nan", "inf", "x"] {
            assert!(cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_variable_needs_a_name() {
        assert!(env("=x").is_err());
        assert_eq!(env("A=b=c"), Ok("A=b=c".into()));
    }
}
