//! `--publish`, in Docker's notation.

use std::ops::RangeInclusive;

use proto::v1::{Protocol, PublishedPort};

/// Most ports of one option.
const MOST: usize = 256;

/// What one option publishes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Publish {
    /// On these ports of the host.
    pub(super) fixed: Vec<PublishedPort>,
    /// On ports of the host that are free, as `80/tcp`.
    pub(super) free: Vec<String>,
}

/// Reads `TARGET`, `PUBLISHED:TARGET` or `0.0.0.0:PUBLISHED:TARGET`, with `/tcp` or `/udp`; ports may be ranges.
pub(super) fn read(text: &str) -> Result<Publish, String> {
    let (numbers, protocol, word) = match text.rsplit_once('/') {
        None => (text, Protocol::Tcp, "tcp"),
        Some((numbers, "tcp")) => (numbers, Protocol::Tcp, "tcp"),
        Some((numbers, "udp")) => (numbers, Protocol::Udp, "udp"),
        Some((_, other)) => return Err(format!("protocol {other:?} is neither tcp nor udp")),
    };
    let (rest, target) = numbers.rsplit_once(':').unwrap_or(("", numbers));
    let (address, published) = rest.rsplit_once(':').unwrap_or(("", rest));
    if !matches!(address, "" | "0.0.0.0") {
        return Err(format!(
            "a port is published on all addresses of the host, not on {address} alone; leave the address out"
        ));
    }
    let targets = range(target)?;
    if published.is_empty() {
        return Ok(Publish {
            free: targets.map(|port| format!("{port}/{word}")).collect(),
            ..Publish::default()
        });
    }
    let published = range(published)?;
    if published.len() != targets.len() {
        return Err(format!(
            "{text:?} has {} ports on one side and {} on the other",
            published.len(),
            targets.len()
        ));
    }
    let port = |(published, target): (u16, u16)| PublishedPort {
        protocol: protocol.into(),
        published: published.into(),
        target: target.into(),
    };
    Ok(Publish { fixed: published.zip(targets).map(port).collect(), ..Publish::default() })
}

fn range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let wrong =
        || format!("{text:?} is no port; expected [PUBLISHED:]TARGET[/udp] with ports from 1 to 65535");
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(wrong);
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = number(first)?..=number(last)?;
    match range.len() {
        0 => Err(wrong()),
        count if count > MOST => Err(format!("{text:?} has {count} ports, at most {MOST} are taken")),
        _ => Ok(range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_written_as_in_docker() {
        let fixed = |text: &str| {
            let ports = read(text).expect("it is well formed").fixed;
            ports.iter().map(|port| (port.published, port.target)).collect::<Vec<_>>()
        };
        assert_eq!(fixed("8080:80"), [(8080, 80)]);
        assert_eq!(fixed("0.0.0.0:8080:80/udp"), [(8080, 80)]);
        assert_eq!(fixed("8080-8081:80-81"), [(8080, 80), (8081, 81)]);
        let free = |text: &str| read(text).expect("it is well formed").free;
        assert_eq!(free("80"), ["80/tcp"]);
        assert_eq!(free("80-81/udp"), ["80/udp", "81/udp"]);
        assert_eq!(free("0.0.0.0::80"), ["80/tcp"]);
        for bad in ["", "0", "x", "80:", "1:2:3:4", "80/sctp", "8080-8090:80", "9-8", "70000", "1-60000"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(read("127.0.0.1:8080:80").expect_err("an address").contains("leave the address out"));
    }
}
