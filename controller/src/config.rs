//! The command line of the controller and what follows from it.
//!
//! Nothing is opened or bound here; a wrong value is refused before anything
//! was touched.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

/// The controller of a Roadstead cluster: keeps its state and decides what runs where.
#[derive(Debug, Clone, Parser)]
#[command(name = "controller", version)]
pub struct Config {
    /// Directory for the log, the snapshots and the keys of the cluster; made when missing.
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,

    /// Address to listen on.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:7443")]
    pub listen: SocketAddr,

    /// Address under which agents and clients reach this controller, if it is not the one it listens on.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
    pub advertise: Option<String>,

    /// End gracefully when standard input is closed, so that this process never outlives its parent.
    #[arg(long)]
    pub exit_with_stdin: bool,
}

impl Config {
    /// The Raft log and snapshots.
    pub fn raft_dir(&self) -> PathBuf {
        self.data_dir.join("raft")
    }

    /// The cluster's root key and certificate.
    pub fn ca_dir(&self) -> PathBuf {
        self.data_dir.join("ca")
    }

    /// The first administrator's client certificate.
    pub fn admin_dir(&self) -> PathBuf {
        self.data_dir.join("admin")
    }

    /// What other programs are told to connect to.
    pub fn advertised(&self) -> String {
        self.advertise.clone().unwrap_or_else(|| self.listen.to_string())
    }
}

/// Accepts `host:port` with a port of 1 to 65535.
fn host_and_port(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').ok_or("expected HOST:PORT, as in 192.0.2.7:7443")?;
    match port.parse::<u16>() {
        Ok(port) if port > 0 && !host.is_empty() => Ok(text.to_owned()),
        _ => Err("expected HOST:PORT, as in 192.0.2.7:7443".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advertised_address_needs_a_host_and_a_port() {
        for wrong in ["7443", ":7443", "host:", "host:0", "host:70000"] {
            assert!(host_and_port(wrong).is_err(), "{wrong}");
        }
        for right in ["host:1", "192.0.2.7:7443", "[::1]:7443"] {
            assert_eq!(host_and_port(right).as_deref(), Ok(right));
        }
    }

    #[test]
    fn clients_are_told_the_listening_address_unless_another_is_given() {
        let parse =
            |args: &[&str]| Config::try_parse_from(["controller", "--data-dir", "/d"].iter().chain(args));
        assert_eq!(parse(&[]).map(|c| c.advertised()).ok().as_deref(), Some("127.0.0.1:7443"));
        assert_eq!(parse(&["--advertise", "c:1"]).map(|c| c.advertised()).ok().as_deref(), Some("c:1"));
    }
}
