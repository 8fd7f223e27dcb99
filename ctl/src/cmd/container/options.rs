//! What `run` and `create` have in common: everything that describes a new
//! container, one group of options per file, each of which fills its part of the
//! request. What to do with the container then is the verb's own.

mod devices;
mod gpus;
mod health;
mod mounts;
mod namespaces;
mod network;
pub(super) mod notation;
mod process;
mod publish;
pub(super) mod refused;
mod resources;
mod restart;
mod security;

use std::io::Write;
use std::path::PathBuf;

pub(super) use process::variables_of;
use proto::v1::{ContainerSpec, CreateContainerRequest, CreateContainerResponse, Isolation, PullPolicy};
use tonic::Code;

use crate::client::Node;
use crate::error::{CommandError, Kind};
use crate::output;

/// What a new container is to be.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Name of the container; one is made if it has none
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    /// Remove the container when it has ended
    #[arg(long)]
    pub(super) rm: bool,
    /// When to fetch the image
    #[arg(long, value_enum, default_value_t = Pull::Missing)]
    pull: Pull,
    /// Do not show how the image is fetched
    #[arg(long, short = 'q')]
    quiet: bool,
    /// The platform of the image; only linux/amd64 runs here
    #[arg(long, value_name = "OS/ARCHITECTURE", value_parser = platform)]
    platform: Option<String>,
    /// Show only this of what it writes, or send it standard input: stdin, stdout or stderr
    #[arg(long, short = 'a', value_name = "STREAM", ignore_case = true)]
    pub(super) attach: Vec<Stream>,
    /// Write the container's id to this file, which must not exist
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// What is known and not taken.
    #[command(flatten)]
    refused: refused::Refused<refused::OfCreate>,
    /// Its program and what that finds.
    #[command(flatten)]
    pub(super) process: process::Process,
    /// Its network.
    #[command(flatten)]
    network: network::Network,
    /// Its limits.
    #[command(flatten)]
    resources: resources::Resources,
    /// How it is confined.
    #[command(flatten)]
    security: security::Security,
    /// What it shares with the host or with another container.
    #[command(flatten)]
    namespaces: namespaces::Namespaces,
    /// The host's devices in it.
    #[command(flatten)]
    devices: devices::Devices,
    /// What is mounted into it.
    #[command(flatten)]
    mounts: mounts::Mounts,
    /// How its health is checked.
    #[command(flatten)]
    health: health::Health,
    /// When it is started again.
    #[command(flatten)]
    restart: restart::Restart,
    /// Where its output goes.
    #[command(flatten)]
    logging: crate::cmd::logging::Logging,
    /// The image
    #[arg(help_heading = "Arguments")]
    image: String,
    /// Program and arguments, instead of the image's own
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, help_heading = "Arguments")]
    command: Vec<String>,
}

/// A standard stream of the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Stream {
    Stdin,
    Stdout,
    Stderr,
}

/// When to fetch the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Pull {
    Always,
    Missing,
    Never,
}

impl Options {
    /// Creates the container, fetching the image first if it has to; answers its id.
    ///
    /// # Errors
    /// When an option makes no sense or the agent refuses.
    pub(super) async fn create(self, agent: &mut Node) -> Result<String, CommandError> {
        self.create_for(agent, false).await
    }

    /// Creates it; `start_follows` says that this command also starts it.
    pub(super) async fn create_for(
        self,
        agent: &mut Node,
        start_follows: bool,
    ) -> Result<String, CommandError> {
        self.refused.check()?;
        let (pull, quiet, image) = (self.pull, self.quiet, self.image.clone());
        let cidfile = self.cidfile.clone();
        if let Some(path) = cidfile.as_deref().filter(|path| path.exists()) {
            let text =
                format!("the file {} exists already; remove it, or choose another --cidfile", path.display());
            return Err(CommandError::new(Kind::Conflict, text));
        }
        let request = CreateContainerRequest { start_follows, ..self.into_request()? };
        if pull == Pull::Always {
            fetch(agent, &image, quiet).await?;
        }
        let made = create(agent, request, (pull == Pull::Missing).then_some((image.as_str(), quiet))).await?;
        for warning in &made.warnings {
            output::note(&format!("warning: {warning}"));
        }
        if let Some(path) = cidfile {
            write_id(&path, &made.id).map_err(|error| {
                let text = format!(
                    "container {} is made, but {} cannot be written: {error}",
                    made.id,
                    path.display()
                );
                CommandError::internal(text)
            })?;
        }
        Ok(made.id)
    }

    /// The request that these options make.
    fn into_request(self) -> Result<CreateContainerRequest, CommandError> {
        let container =
            ContainerSpec { image: self.image, command: self.command, ..ContainerSpec::default() };
        let mut request = CreateContainerRequest {
            name: self.name,
            spec: Some(container),
            auto_remove: self.rm,
            pull: PullPolicy::Never.into(),
            ..CreateContainerRequest::default()
        };
        self.process.fill(&mut request)?;
        self.network.fill(&mut request)?;
        self.resources.fill(&mut request)?;
        self.security.fill(&mut request)?;
        self.namespaces.fill(&mut request)?;
        self.devices.fill(&mut request)?;
        self.mounts.fill(&mut request)?;
        self.health.fill(&mut request)?;
        self.restart.fill(&mut request)?;
        request.logging = self.logging.asked();
        Ok(request)
    }
}

/// Creates it; where the image is missing and may be fetched, fetches it first.
async fn create(
    agent: &mut Node,
    request: CreateContainerRequest,
    missing: Option<(&str, bool)>,
) -> Result<CreateContainerResponse, CommandError> {
    let refused = match agent.create_container(request.clone()).await {
        Ok(made) => return Ok(made.into_inner()),
        Err(status) => status,
    };
    match missing {
        // The agent was told not to pull, so that the pull can show its progress.
        Some((image, quiet))
            if refused.code() == Code::NotFound && refused.message().starts_with("image ") =>
        {
            fetch(agent, image, quiet).await?;
            Ok(agent.create_container(request).await?.into_inner())
        }
        _ => Err(refused.into()),
    }
}

async fn fetch(agent: &mut Node, image: &str, quiet: bool) -> Result<(), CommandError> {
    let fetched = match quiet {
        true => crate::cmd::image::pull_quietly(agent, image).await,
        false => crate::cmd::image::pull(agent, image).await,
    };
    fetched.map(drop)
}

/// Only a new file: an id must never be taken for another's.
fn write_id(path: &std::path::Path, id: &str) -> std::io::Result<()> {
    std::fs::OpenOptions::new().write(true).create_new(true).open(path)?.write_all(id.as_bytes())
}

/// Images for other platforms are not run, so no other is asked for.
fn platform(text: &str) -> Result<String, String> {
    match text {
        "linux/amd64" | "linux/x86_64" | "linux" | "amd64" | "x86_64" => Ok(text.to_owned()),
        _ => Err(format!("{text:?} does not run on this platform, which is linux/amd64")),
    }
}

/// How the container is confined, in the request.
fn isolation(request: &mut CreateContainerRequest) -> &mut Isolation {
    request.isolation.get_or_insert_default()
}

/// The part of the request that services have too.
fn spec(request: &mut CreateContainerRequest) -> &mut ContainerSpec {
    request.spec.get_or_insert_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_to_a_new_file_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("id");
        write_id(&path, "abc").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "abc");
        assert!(write_id(&path, "def").is_err());
    }

    #[test]
    fn only_this_platform_is_asked_for() {
        assert!(platform("linux/amd64").is_ok());
        assert!(platform("linux/arm64").unwrap_err().contains("linux/amd64"));
    }
}
