//! The agent's command line. Parsing only: whether the host can do what is
//! asked is [`crate::preflight`]'s business.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use agent_engine::ImageGc;
use agent_engine::image::{RegistrySettings, SettingsError};
use clap::Parser;

use crate::identity::JoinToken;

/// The file of registries when none is named.
const REGISTRIES: &str = "/etc/roadstead/registries.toml";

/// Runs containers on this host, by itself or as a node of a cluster.
#[derive(Debug, Clone, Parser)]
#[command(name = "agent", version)]
pub struct Config {
    /// Images, containers, logs and the node's certificate; survives a reboot
    #[arg(long, value_name = "DIR", default_value = "/var/lib/roadstead/agent")]
    pub data_dir: PathBuf,
    /// Sockets and network namespaces; empty after a reboot
    #[arg(long, value_name = "DIR", default_value = "/run/roadstead")]
    pub run_dir: PathBuf,
    /// Where controllers reach this node's API, once it has joined a cluster
    #[arg(long, value_name = "IP:PORT", default_value = "0.0.0.0:7444")]
    pub listen: SocketAddr,
    /// The same as others see it [default: --listen, or the address that leads to the controller]
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    pub advertise: Option<String>,
    /// Name of this node in the cluster [default: the host's name]
    #[arg(long, value_name = "NODE")]
    pub name: Option<String>,
    /// Addresses for this host's containers
    #[arg(long, value_name = "CIDR", default_value = "10.213.0.0/16")]
    pub subnet: String,
    /// The bridge that containers are attached to; made when missing
    #[arg(long, value_name = "NAME", default_value = "roadstead0")]
    pub bridge: String,
    /// A label of this node, for placement constraints; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<Label>,
    /// A controller; needed once, with --token, to join its cluster
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    pub join: Option<String>,
    /// A token of `ctl cluster token`; used once, the node's certificate replaces it
    #[arg(
        long,
        value_name = "RDST1-...",
        env = "ROADSTEAD_JOIN_TOKEN",
        hide_env_values = true,
        requires = "join"
    )]
    pub token: Option<JoinToken>,
    /// Mirrors, certificates and other settings of registries (TOML) [default: /etc/roadstead/registries.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub registries: Option<PathBuf>,
    /// A registry to speak to without TLS, beside those on loopback; may be repeated
    #[arg(long = "insecure-registry", value_name = "HOST:PORT")]
    pub insecure_registries: Vec<String>,
    /// A directory of vendors' device specifications (CDI), the last first; may be repeated
    /// [default: /etc/cdi and /var/run/cdi]
    #[arg(long = "cdi-spec-dir", value_name = "DIR")]
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// Make so many containers' networks in advance, once a container has wanted one; 0 for none
    #[arg(
        long,
        value_name = "NUMBER",
        env = "ROADSTEAD_NETWORK_POOL",
        default_value_t = 8,
        value_parser = clap::value_parser!(u8).range(..=64)
    )]
    pub network_pool: u8,
    /// Remove unused images that can be pulled again when the file system is so full, in percent; 0 for never
    /// [default: 85 in a cluster, else 0]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(..=100))]
    pub image_gc_high: Option<u8>,
    /// Until it is only so full, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 80, value_parser = clap::value_parser!(u8).range(..=100))]
    pub image_gc_low: u8,
    /// How often that is looked at, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    pub image_gc_interval: u32,
    /// Images stay that were pulled or used within so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub image_gc_spare: u32,
    /// Leave the host's cgroup option favordynmods as it is; starts wait some milliseconds for the kernel then
    #[arg(long)]
    pub no_favor_dynmods: bool,
    /// Where Docker's clients are answered [default: docker.sock in the run directory]
    #[arg(long, value_name = "PATH")]
    pub docker_socket: Option<PathBuf>,
    /// End when standard input ends
    #[arg(long)]
    pub exit_with_stdin: bool,
    /// On the way out stop all containers and their keeper; without it they go on
    #[arg(long)]
    pub stop_containers_on_exit: bool,
}

impl Config {
    /// Where the Node API is answered on this host.
    pub fn agent_socket(&self) -> PathBuf {
        self.run_dir.join("agent.sock")
    }

    /// Where Docker's clients are answered.
    pub fn docker_socket(&self) -> PathBuf {
        self.docker_socket.clone().unwrap_or_else(|| self.run_dir.join("docker.sock"))
    }

    /// What is known of registries: the file, and on top of it `--insecure-registry`.
    ///
    /// # Errors
    /// When there is a file and it cannot be used.
    pub fn registry_settings(&self) -> Result<RegistrySettings, SettingsError> {
        let usual = Path::new(REGISTRIES);
        let settings = match &self.registries {
            Some(file) => RegistrySettings::read(file)?,
            None if usual.exists() => RegistrySettings::read(usual)?,
            None => RegistrySettings::default(),
        };
        Ok(settings.with_plain_http(self.insecure_registries.iter().cloned()))
    }

    /// Where device specifications are looked for.
    pub fn cdi_dirs(&self) -> Vec<PathBuf> {
        match self.cdi_spec_dirs.as_slice() {
            [] => agent_engine::cdi::DIRECTORIES.map(PathBuf::from).to_vec(),
            given => given.to_vec(),
        }
    }

    /// When unused images go by themselves. Alone, a host keeps what it has: nobody may be there to bring it again.
    pub fn image_gc(&self, in_cluster: bool) -> Option<ImageGc> {
        let high = self.image_gc_high.unwrap_or(if in_cluster { 85 } else { 0 });
        (high > 0).then(|| ImageGc {
            high,
            low: self.image_gc_low.min(high),
            every: Duration::from_secs(self.image_gc_interval.into()),
            spare: Duration::from_secs(self.image_gc_spare.into()),
        })
    }

    /// The labels by key; the last of two with the same key counts.
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.labels.iter().map(|label| (label.key.clone(), label.value.clone())).collect()
    }
}

/// One `key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Before the first `=`.
    pub key: String,
    /// After it; may be empty.
    pub value: String,
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                Ok(Self { key: key.to_owned(), value: value.to_owned() })
            }
            _ => Err("write a label as key=value".to_owned()),
        }
    }
}

fn host_port(text: &str) -> Result<String, String> {
    let rule = || "write it as host:port, for instance 10.0.0.5:7443".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(rule)?;
    let port: u16 = port.parse().map_err(|_| rule())?;
    if host.is_empty() || port == 0 {
        return Err(rule());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Config, clap::Error> {
        Config::try_parse_from(std::iter::once("agent").chain(arguments.iter().copied()))
    }

    #[test]
    fn the_defaults_are_those_of_a_single_host() {
        let config = parse(&[]).unwrap();
        assert_eq!(config.data_dir, PathBuf::from("/var/lib/roadstead/agent"));
        assert_eq!(config.listen.port(), 7444);
        assert!(config.join.is_none() && !config.exit_with_stdin);
        assert_eq!(config.docker_socket(), PathBuf::from("/run/roadstead/docker.sock"));
    }

    #[test]
    fn images_go_by_themselves_in_clusters_and_where_that_is_wished() {
        let gc = |arguments: &[&str], in_cluster| {
            parse(arguments).unwrap().image_gc(in_cluster).map(|gc| (gc.high, gc.low))
        };
        assert_eq!((gc(&[], false), gc(&[], true)), (None, Some((85, 80))));
        assert_eq!(gc(&["--image-gc-high", "70"], false), Some((70, 70)));
        assert_eq!(gc(&["--image-gc-high", "0"], true), None);
        assert!(parse(&["--image-gc-high", "101"]).is_err());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        assert!(parse(&["--label", "zone"]).is_err());
        assert!(parse(&["--label", "=a"]).is_err());
        assert!(parse(&["--join", "controller"]).is_err());
        assert!(parse(&["--listen", "7444"]).is_err());
        assert!(parse(&["--token", "RDST1-00-x", "--join", "a:1"]).is_err(), "a short hash");
    }

    #[test]
    fn labels_are_collected_by_key() {
        let config = parse(&["--label", "zone=a", "--label", "disk=", "--label", "zone=b"]).unwrap();
        assert_eq!(
            config.labels(),
            BTreeMap::from([("disk".into(), String::new()), ("zone".into(), "b".into())])
        );
    }
}
