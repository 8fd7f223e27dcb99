//! A container's state directory and the three files bound into it:
//! `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`. They belong to the
//! container's own range of ids, so its root may change them.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::Path;

use super::isolation::Names;
use crate::EngineError;
use crate::snapshot::IdRange;

/// The files and where they appear in the container.
pub(crate) const BOUND: [(&str, &str); 3] =
    [("hosts", "/etc/hosts"), ("hostname", "/etc/hostname"), ("resolv.conf", "/etc/resolv.conf")];

/// Makes the state directory, which only root may enter.
pub(crate) fn make_dir(dir: &Path) -> Result<(), EngineError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| EngineError::file("create", dir, error))
}

/// Removes it with all that is in it; absent is fine.
pub(crate) fn remove_dir(dir: &Path) -> Result<(), EngineError> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(EngineError::file("remove", dir, error))
        }
        _ => Ok(()),
    }
}

/// What a container's files say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named<'a> {
    /// Its own name.
    pub(crate) hostname: &'a str,
    /// Its own address.
    pub(crate) address: Option<Ipv4Addr>,
    /// Where it reaches this host.
    pub(crate) gateway: Option<IpAddr>,
    /// Its network is the host's.
    pub(crate) shares_host: bool,
    /// What was asked for beyond that.
    pub(crate) names: &'a Names,
}

/// Writes the bound files anew.
pub(crate) fn write(dir: &Path, named: &Named<'_>, ids: IdRange) -> Result<(), EngineError> {
    let host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let Named { hostname, address, gateway, shares_host, names } = *named;
    let hosts = hosts(hostname, address) + &names.hosts_lines(gateway);
    // With the host's own network all of its name servers are in reach.
    let resolv = if shares_host { host } else { resolv_conf(&host) };
    let texts = [hosts, format!("{hostname}\n"), names.resolv_conf(&resolv)];
    for ((name, _), text) in BOUND.iter().zip(texts) {
        let path = dir.join(name);
        let failed = |error| EngineError::file("write", &path, error);
        std::fs::write(&path, text).map_err(failed)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).map_err(failed)?;
        chown(&path, Some(ids.base), Some(ids.base)).map_err(failed)?;
    }
    Ok(())
}

/// One without an address finds itself on its loopback interface.
fn hosts(hostname: &str, address: Option<Ipv4Addr>) -> String {
    let address = address.unwrap_or(Ipv4Addr::new(127, 0, 1, 1));
    format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{address}\t{hostname}\n")
}

/// The host's, without name servers that only the host itself can reach.
fn resolv_conf(host: &str) -> String {
    let is_useful = |line: &&str| {
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next()) {
            (Some("nameserver"), Some(address)) => {
                address.parse::<std::net::IpAddr>().is_ok_and(|address| !address.is_loopback())
            }
            (Some(first), _) => !first.starts_with(['#', ';']),
            (None, _) => false,
        }
    };
    host.lines().filter(is_useful).take(64).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_on_the_hosts_loopback_are_left_out() {
        let host =
            "# comment\nnameserver 127.0.0.53\nnameserver 10.0.0.1\n\nsearch example.org\nnameserver ::1\n";
        assert_eq!(resolv_conf(host), "nameserver 10.0.0.1\nsearch example.org\n");
    }

    #[test]
    fn a_container_finds_itself_by_name() {
        assert!(hosts("web", Some(Ipv4Addr::new(10, 1, 2, 3))).contains("10.1.2.3\tweb\n"));
        assert!(hosts("web", None).contains("127.0.1.1\tweb\n"));
    }
}
