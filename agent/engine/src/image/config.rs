//! The image configuration: what an image says about how it wants to be run (OCI image spec, "Configuration").
//!
//! Only the fields that a container starts from are typed; the raw JSON is kept beside them, since models of it drop
//! what they do not know (health checks, ONBUILD, shell). `null` is what Docker writes for "not set".

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::platform::Platform;
use crate::container::health::Healthcheck;
use crate::snapshot::DiffId;

/// Longest configuration that is read, in bytes.
pub(super) const MAX_CONFIG: u64 = 4 << 20;

/// An image's configuration.
#[derive(Debug, Clone, Default)]
pub struct ImageConfig {
    /// What the program's arguments begin with.
    pub entrypoint: Vec<String>,
    /// The arguments, unless others are given.
    pub cmd: Vec<String>,
    /// `NAME=value` pairs.
    pub env: Vec<String>,
    /// `user[:group]`, names or numbers, as the image has it; empty for root.
    pub user: String,
    /// Where the program starts; empty for `/`.
    pub working_dir: String,
    /// Labels, for display only.
    pub labels: BTreeMap<String, String>,
    /// Ports it says it serves, as `80/tcp`; for display only.
    pub exposed_ports: Vec<String>,
    /// Paths it wants volumes at.
    pub volumes: Vec<String>,
    /// Name or number of the signal that stops it; empty for SIGTERM.
    pub stop_signal: String,
    /// How its health is checked.
    pub healthcheck: Healthcheck,
    /// The processor it is built for, in Go's words (`amd64`); empty when it does not say.
    pub architecture: String,
    /// Which version of the processor; usually empty.
    pub variant: String,
    /// The operating system it is built for; empty when it does not say.
    pub os: String,
    /// When it was built, RFC 3339; empty when it does not say.
    pub created: String,
    /// The whole document.
    pub raw: String,
}

#[derive(Debug, Deserialize)]
struct Document {
    architecture: Option<String>,
    variant: Option<String>,
    os: Option<String>,
    created: Option<String>,
    config: Option<Defaults>,
    rootfs: Option<Rootfs>,
}

#[derive(Debug, Deserialize)]
struct Rootfs {
    #[serde(default)]
    diff_ids: Option<Vec<DiffId>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Defaults {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    user: Option<String>,
    working_dir: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
    volumes: Option<BTreeMap<String, serde_json::Value>>,
    stop_signal: Option<String>,
    healthcheck: Option<Health>,
}

/// Docker's extension of the specification; times are nanoseconds.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Health {
    test: Option<Vec<String>>,
    interval: Option<u64>,
    timeout: Option<u64>,
    start_period: Option<u64>,
    start_interval: Option<u64>,
    retries: Option<u32>,
}

impl From<Health> for Healthcheck {
    fn from(health: Health) -> Self {
        let time = |nanoseconds: Option<u64>| nanoseconds.map(Duration::from_nanos);
        Healthcheck {
            test: health.test.unwrap_or_default(),
            interval: time(health.interval),
            timeout: time(health.timeout),
            retries: health.retries,
            start_period: time(health.start_period),
            start_interval: time(health.start_interval),
            restart_unhealthy: false,
        }
    }
}

impl ImageConfig {
    /// Reads a configuration, and the diff ids of its layers.
    pub(super) fn parse(bytes: &[u8]) -> Result<(Self, Vec<DiffId>), String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "its configuration is not UTF-8")?;
        let document: Document = serde_json::from_str(text)
            .map_err(|fault| format!("its configuration does not parse: {fault}"))?;
        let defaults = document.config.unwrap_or_default();
        let diff_ids = document.rootfs.and_then(|rootfs| rootfs.diff_ids).unwrap_or_default();
        let config = Self {
            entrypoint: defaults.entrypoint.unwrap_or_default(),
            cmd: defaults.cmd.unwrap_or_default(),
            env: defaults.env.unwrap_or_default(),
            user: defaults.user.unwrap_or_default(),
            working_dir: defaults.working_dir.unwrap_or_default(),
            labels: defaults.labels.unwrap_or_default(),
            exposed_ports: defaults.exposed_ports.unwrap_or_default().into_keys().collect(),
            volumes: defaults.volumes.unwrap_or_default().into_keys().collect(),
            stop_signal: defaults.stop_signal.unwrap_or_default(),
            healthcheck: defaults.healthcheck.unwrap_or_default().into(),
            architecture: document.architecture.unwrap_or_default(),
            variant: document.variant.unwrap_or_default(),
            os: document.os.unwrap_or_default(),
            created: document.created.unwrap_or_default(),
            raw: text.to_owned(),
        };
        Ok((config, diff_ids))
    }

    /// What it is built for, as far as it says.
    pub fn platform(&self) -> Platform {
        let (os, architecture, variant) = (self.os.clone(), self.architecture.clone(), self.variant.clone());
        Platform { os, architecture, variant }
    }

    /// When it was built, in milliseconds since 1970; 0 when it does not say so intelligibly.
    pub(super) fn created_at_ms(&self) -> u64 {
        let instant = self.created.parse::<jiff::Timestamp>().map_or(0, |instant| instant.as_millisecond());
        u64::try_from(instant).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_nulls_and_maps_are_understood_and_the_raw_text_is_kept() {
        let text = r#"{"architecture":"amd64","os":"linux","created":"1970-01-01T00:00:01.5Z","config":{
            "User":"","ExposedPorts":{"80/tcp":{}},"Env":["A=b"],"Cmd":["sh"],"Entrypoint":null,"Labels":null,
            "Healthcheck":{"Test":["CMD","x"]}},"rootfs":{"type":"layers","diff_ids":[]}}"#;
        let (config, layers) = ImageConfig::parse(text.as_bytes()).unwrap();
        assert_eq!((config.cmd.as_slice(), config.entrypoint.len()), (&["sh".to_owned()][..], 0));
        assert_eq!((config.exposed_ports.as_slice(), layers.len()), (&["80/tcp".to_owned()][..], 0));
        assert_eq!(config.created_at_ms(), 1500);
        assert!(config.raw.contains("Healthcheck") && config.healthcheck.test == ["CMD", "x"]);
        assert_eq!(ImageConfig::parse(b"{}").unwrap().0.created_at_ms(), 0);
    }

    #[test]
    fn a_diff_id_that_is_none_and_a_key_that_stands_twice_are_refused() {
        assert!(ImageConfig::parse(br#"{"rootfs":{"diff_ids":["../../etc"]}}"#).is_err());
        assert!(ImageConfig::parse(br#"{"rootfs":null,"rootfs":null}"#).is_err());
        assert!(ImageConfig::parse(b"[]").is_err());
    }
}
