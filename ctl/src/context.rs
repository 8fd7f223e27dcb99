//! Which cluster and which host `ctl` talks to: a JSON file of named contexts,
//! `$ROADSTEAD_CONFIG` or `~/.roadstead/config.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{CommandError, Kind};

/// Where an agent answers that was started without any option.
const AGENT_SOCKET: &str = "/run/roadstead/agent.sock";

/// One cluster as this user reaches it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// `host:port` of controllers, tried in order.
    pub controllers: Vec<String>,
    /// PEM file of the cluster's root certificate.
    pub root: PathBuf,
    /// PEM file of the client certificate.
    pub cert: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
    /// Unix socket of the agent on this host, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<PathBuf>,
}

/// The file of contexts.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Config {
    /// The context that is used when none is named.
    pub current: String,
    /// Contexts by name.
    pub contexts: BTreeMap<String, Context>,
}

/// Where the file is.
///
/// # Errors
/// When neither `$ROADSTEAD_CONFIG` nor `$HOME` is set.
pub fn path() -> Result<PathBuf, CommandError> {
    if let Some(path) = std::env::var_os("ROADSTEAD_CONFIG") {
        return Ok(path.into());
    }
    let home = std::env::var_os("HOME").ok_or_else(|| {
        CommandError::new(
            Kind::Environment,
            "cannot find the context file: neither ROADSTEAD_CONFIG nor HOME is set",
        )
    })?;
    Ok(Path::new(&home).join(".roadstead/config.json"))
}

impl Config {
    /// Reads the file; a missing one is an empty one.
    ///
    /// # Errors
    /// When it is there and can't be read or parsed.
    pub fn load(path: &Path) -> Result<Self, CommandError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(broken(path, &error)),
        };
        serde_json::from_slice(&bytes).map_err(|error| broken(path, &error))
    }

    /// Writes the file, readable by its owner only, whole or not at all.
    ///
    /// # Errors
    /// When the directory can't be made or the file can't be written.
    pub fn save(&self, path: &Path) -> Result<(), CommandError> {
        let write = || -> std::io::Result<()> {
            use std::os::unix::fs::OpenOptionsExt;
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            let temporary = path.with_extension("tmp");
            let file = std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temporary)?;
            serde_json::to_writer_pretty(&file, self)?;
            file.sync_all()?;
            std::fs::rename(&temporary, path)
        };
        write().map_err(|error| {
            CommandError::new(
                Kind::Environment,
                format!("cannot write the context file {}: {error}", path.display()),
            )
        })
    }

    /// The context `name`, or the current one.
    ///
    /// # Errors
    /// When there is none, with the way to get one.
    pub fn select(&self, name: Option<&str>) -> Result<&Context, CommandError> {
        let wanted = name.unwrap_or(&self.current);
        if wanted.is_empty() {
            return Err(CommandError::new(Kind::Environment, "ctl does not know any cluster yet")
                .hint("start one on this machine:  ctl dev")
                .hint("or point ROADSTEAD_CONFIG to the context file of an existing one"));
        }
        self.contexts.get(wanted).ok_or_else(|| {
            let known: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
            CommandError::new(Kind::NotFound, format!("there is no context named {wanted}")).hint(format!(
                "known contexts: {}",
                if known.is_empty() { "none".into() } else { known.join(", ") }
            ))
        })
    }

    /// The socket of this host's agent: the one of the context `name` or of the current context; without any
    /// context that of an agent which runs by itself.
    ///
    /// # Errors
    /// When the context is not there, or is that of a cluster without an agent on this host.
    pub fn agent(&self, name: Option<&str>) -> Result<PathBuf, CommandError> {
        if name.is_none() && self.current.is_empty() {
            return Ok(PathBuf::from(AGENT_SOCKET));
        }
        self.select(name)?.agent.clone().ok_or_else(|| {
            CommandError::new(Kind::Environment, "the context names no agent on this host")
                .hint("run this on a host with an agent, or name its socket with --agent-socket")
        })
    }
}

fn broken(path: &Path, error: &dyn std::fmt::Display) -> CommandError {
    CommandError::new(Kind::Environment, format!("cannot read the context file {}: {error}", path.display()))
        .hint("mend it, or move it away and run `ctl dev` to get a fresh one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_config_reads_back_the_same() {
        let dir = std::env::temp_dir().join(format!("ctl-context-{}", std::process::id()));
        let path = dir.join("config.json");
        let mut config = Config { current: "dev".into(), ..Config::default() };
        let context = Context { controllers: vec!["127.0.0.1:7443".into()], ..Context::default() };
        config.contexts.insert("dev".into(), context.clone());
        config.save(&path).expect("saved");
        let read = Config::load(&path).expect("read");
        assert_eq!(read.select(None).expect("current"), &context);
        std::fs::remove_dir_all(dir).expect("removed");
    }

    #[test]
    fn no_context_at_all_says_how_to_get_one() {
        let error = Config::default().select(None).expect_err("nothing there");
        assert!(error.hints.iter().any(|hint| hint.contains("ctl dev")));
    }

    #[test]
    fn without_a_context_the_agent_is_the_one_that_runs_by_itself() {
        let socket = Config::default().agent(None).expect("a default");
        assert_eq!(socket, Path::new(AGENT_SOCKET));
        let mut config = Config { current: "prod".into(), ..Config::default() };
        config.contexts.insert("prod".into(), Context::default());
        assert!(config.agent(None).is_err(), "a cluster elsewhere has no agent here");
    }

    #[test]
    fn an_unknown_context_lists_the_known_ones() {
        let mut config = Config::default();
        config.contexts.insert("prod".into(), Context::default());
        let error = config.select(Some("pord")).expect_err("unknown");
        assert!(error.hints[0].contains("prod"));
    }
}
