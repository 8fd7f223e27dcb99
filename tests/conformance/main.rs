//! Docker's own client against the agent's docker socket: what it prints is
//! compared with what `ctl` says of the same containers. Every `docker` that is
//! installed is tried, since each speaks another version of the API.
//!
//! [`registry`] is Debian's registry with TLS and a password, and skopeo beside us.
//!
//! And `agent oci`: [`oci`] is the runtime specification as cases, [`engines`]
//! are podman and containerd with it as their runtime.

mod clients;
mod engines;
mod images;
mod oci;
mod raw;
mod references;
mod registry;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use itest::dev::Dev;
use itest::programs;
use serde_json::Value;

/// What nobody should have to wait for longer than.
const SOON: Duration = Duration::from_secs(20);

/// A directory for one test, short enough for unix sockets and gone afterwards.
fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("rt-").tempdir_in("/tmp").expect("/tmp is writable")
}

/// The clients of this machine.
fn clients() -> Vec<PathBuf> {
    programs::need("docker", "docker.io");
    let paths = ["/usr/bin/docker", "/usr/local/bin/docker"].map(PathBuf::from);
    paths.into_iter().filter(|path| path.exists()).collect()
}

fn socket(dev: &Dev<'_>) -> PathBuf {
    dev.root().join("data/run/docker.sock")
}

/// One client that is pointed at the agent.
struct Docker {
    program: PathBuf,
    host: String,
    config: PathBuf,
}

impl Docker {
    fn all(dev: &Dev<'_>) -> Vec<Self> {
        let host = format!("unix://{}", socket(dev).display());
        let config = dev.root().join("docker-config");
        let one = |program| Self { program, host: host.clone(), config: config.clone() };
        clients().into_iter().map(one).collect()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["-H", &self.host]).args(arguments).env("DOCKER_CONFIG", &self.config);
        for name in ["DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_API_VERSION", "DOCKER_TLS_VERIFY"] {
            command.env_remove(name);
        }
        command
    }

    fn attempt(&self, arguments: &[&str]) -> Output {
        programs::output(&mut self.command(arguments))
    }

    /// Runs it, which must succeed, and answers its stdout.
    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        programs::succeed(&mut self.command(arguments))
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.run(arguments);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// The rows of a list, each an object.
    #[track_caller]
    fn rows(&self, arguments: &[&str]) -> Vec<Value> {
        let text = self.run(&[arguments, &["--no-trunc", "--format", "{{json .}}"]].concat());
        text.lines().map(|line| serde_json::from_str(line).expect("each line is one object")).collect()
    }

    /// Runs it, which must fail, and answers what it said.
    #[track_caller]
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.attempt(arguments);
        assert!(!output.status.success(), "{arguments:?} should have failed: {}", programs::said(&output));
        programs::said(&output)
    }
}

/// Containers by id, of what `ctl container ls` prints.
fn by_id(rows: &Value) -> BTreeMap<String, &Value> {
    let rows = rows.as_array().expect("a list");
    rows.iter().map(|row| (text(row, "id"), row)).collect()
}

fn text(row: &Value, field: &str) -> String {
    row[field].as_str().unwrap_or_else(|| panic!("no text {field} in {row}")).to_owned()
}
