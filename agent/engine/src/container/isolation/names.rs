//! Names a container finds in its files: `/etc/hosts`, `/etc/resolv.conf`, and its NIS domain.

use std::net::IpAddr;

use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use super::bounded;
use crate::EngineError;

/// Stands for an address of this host that the container reaches.
pub(crate) const HOST_GATEWAY: &str = "host-gateway";

/// What is written for it; all empty: what the host has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Names {
    /// NIS domain name.
    pub domainname: String,
    /// Names and addresses for `/etc/hosts`; `host-gateway` as an address is this host.
    pub hosts: Vec<(String, String)>,
    /// Name servers instead of the host's.
    pub dns: Vec<IpAddr>,
    /// Domains searched instead of the host's; `.` alone is none.
    pub dns_search: Vec<String>,
    /// Options of the resolver instead of the host's.
    pub dns_options: Vec<String>,
}

impl Names {
    pub(super) fn check(&self) -> Result<(), EngineError> {
        for (field, count) in [
            ("add-host", self.hosts.len()),
            ("dns", self.dns.len()),
            ("dns-search", self.dns_search.len()),
            ("dns-option", self.dns_options.len()),
        ] {
            bounded(field, count)?;
        }
        if !is_name(&self.domainname, 64) && !self.domainname.is_empty() {
            return Err(EngineError::invalid("domainname", format!("{:?} is not one", self.domainname)));
        }
        for (name, address) in &self.hosts {
            if !is_name(name, 253) {
                return Err(EngineError::invalid("add-host", format!("{name:?} is not a host name")));
            }
            if address != HOST_GATEWAY && address.parse::<IpAddr>().is_err() {
                let rule = format!("{address:?} is neither an address nor {HOST_GATEWAY}");
                return Err(EngineError::invalid("add-host", rule));
            }
        }
        if let Some(bad) = self.dns_search.iter().find(|name| *name != "." && !is_name(name, 253)) {
            return Err(EngineError::invalid("dns-search", format!("{bad:?} is not a domain")));
        }
        let is_option = |text: &String| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_:.".contains(&byte))
        };
        match self.dns_options.iter().find(|option| !is_option(option)) {
            Some(bad) => {
                Err(EngineError::invalid("dns-option", format!("{bad:?} is not an option of a resolver")))
            }
            None => Ok(()),
        }
    }

    pub(super) fn apply(&self, oci: &mut Spec) {
        if !self.domainname.is_empty() {
            oci.set_domainname(Some(self.domainname.clone()));
        }
    }

    /// Lines to add to `/etc/hosts`.
    pub(crate) fn hosts_lines(&self, gateway: Option<IpAddr>) -> String {
        let line = |(name, address): &(String, String)| {
            let address = if address == HOST_GATEWAY { gateway?.to_string() } else { address.clone() };
            Some(format!("{address}\t{name}\n"))
        };
        self.hosts.iter().filter_map(line).collect()
    }

    /// `/etc/resolv.conf`, made of the host's where nothing is said.
    pub(crate) fn resolv_conf(&self, host: &str) -> String {
        let given = [
            ("nameserver", !self.dns.is_empty()),
            ("search", !self.dns_search.is_empty()),
            ("domain", !self.dns_search.is_empty()),
            ("options", !self.dns_options.is_empty()),
        ];
        let replaced = |line: &&str| {
            let first = line.split_ascii_whitespace().next().unwrap_or_default();
            given.iter().any(|(key, given)| *given && *key == first)
        };
        let mut text: String =
            host.lines().filter(|line| !replaced(line)).map(|line| format!("{line}\n")).collect();
        for server in &self.dns {
            text.push_str(&format!("nameserver {server}\n"));
        }
        let search: Vec<&str> =
            self.dns_search.iter().map(String::as_str).filter(|name| *name != ".").collect();
        if !search.is_empty() {
            text.push_str(&format!("search {}\n", search.join(" ")));
        }
        if !self.dns_options.is_empty() {
            text.push_str(&format!("options {}\n", self.dns_options.join(" ")));
        }
        text
    }
}

/// Letters, digits and what host names have between them; nothing that could start another field or line.
fn is_name(text: &str, most: usize) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !text.is_empty() && text.len() <= most && text.bytes().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn what_is_given_replaces_the_hosts_and_the_rest_stays() {
        let host = "nameserver 10.0.0.1\nsearch example.org\noptions ndots:2\n";
        let names = Names { dns: vec!["1.1.1.1".parse().unwrap()], ..Names::default() };
        assert_eq!(names.resolv_conf(host), "search example.org\noptions ndots:2\nnameserver 1.1.1.1\n");
        let names =
            Names { dns_search: strings(&["."]), dns_options: strings(&["rotate"]), ..Names::default() };
        assert_eq!(names.resolv_conf(host), "nameserver 10.0.0.1\noptions rotate\n");
        assert_eq!(Names::default().resolv_conf(host), host);
    }

    #[test]
    fn a_line_cannot_be_smuggled_into_a_file() {
        let host = |name: &str, address: &str| Names {
            hosts: vec![(name.to_owned(), address.to_owned())],
            ..Names::default()
        };
        for (name, address) in
            [("a b", "10.0.0.1"), ("a\n10.0.0.1 b", "10.0.0.1"), ("", "10.0.0.1"), ("a", "x"), ("a", "")]
        {
            assert!(host(name, address).check().is_err(), "{name:?} {address:?}");
        }
        host("db", HOST_GATEWAY).check().expect("a name of the host");
        assert!(
            Names { dns_options: strings(&["a\nnameserver 1.2.3.4"]), ..Names::default() }.check().is_err()
        );
        assert!(Names { dns_search: strings(&["a b"]), ..Names::default() }.check().is_err());
        assert!(Names { domainname: "a\0".into(), ..Names::default() }.check().is_err());
    }

    #[test]
    fn the_host_is_found_by_its_gateway() {
        let names = Names {
            hosts: vec![("me".into(), HOST_GATEWAY.into()), ("v6".into(), "::1".into())],
            ..Names::default()
        };
        assert_eq!(names.hosts_lines(Some("10.2.0.1".parse().unwrap())), "10.2.0.1\tme\n::1\tv6\n");
        assert_eq!(names.hosts_lines(None), "::1\tv6\n");
    }
}
