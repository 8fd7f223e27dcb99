//! What `run` and `create` have in common: everything that describes a new
//! container, one group of options per file, each of which fills its part of the
//! request. What to do with the container then is the verb's own.

mod devices;
mod health;
mod logging;
mod mounts;
mod namespaces;
mod network;
mod process;
mod resources;
mod restart;
mod security;

use proto::v1::{ContainerSpec, CreateContainerRequest, PullPolicy};
use tonic::Code;

use crate::client::Node;
use crate::error::{CommandError, Kind};

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
    logging: logging::Logging,
    /// The image
    image: String,
    /// Program and arguments, instead of the image's own
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
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
        let (pull, image) = (self.pull, self.image.clone());
        let request = self.into_request()?;
        if pull == Pull::Always {
            crate::cmd::image::pull(agent, &image).await.map_err(as_run)?;
        }
        match agent.create_container(request.clone()).await {
            Ok(made) => Ok(made.into_inner().id),
            // The agent was told not to pull, so that the pull can show its progress.
            Err(status) if status.code() == Code::NotFound && pull == Pull::Missing => {
                crate::cmd::image::pull(agent, &image).await.map_err(as_run)?;
                let made = agent.create_container(request).await;
                Ok(made.map_err(|status| as_run(status.into()))?.into_inner().id)
            }
            Err(status) => Err(as_run(status.into())),
        }
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
        self.logging.fill(&mut request)?;
        Ok(request)
    }
}

/// The part of the request that services have too.
fn spec(request: &mut CreateContainerRequest) -> &mut ContainerSpec {
    request.spec.get_or_insert_default()
}

/// Docker's exit code for a run that failed before the program did anything.
pub(super) fn as_run(error: CommandError) -> CommandError {
    let kind = match error.kind {
        Kind::Environment | Kind::Unavailable | Kind::NoProgram | Kind::NotExecutable => error.kind,
        _ => Kind::Run,
    };
    error.of_kind(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_cannot_run_has_dockers_exit_code() {
        for (code, expected) in [(127, 127), (126, 126), (125, 125)] {
            let mut status = tonic::Status::failed_precondition("cannot start");
            status.metadata_mut().insert("exit-code", code.into());
            assert_eq!(as_run(status.into()).kind.exit_code(), expected);
        }
        assert_eq!(as_run(CommandError::internal("anything")).kind.exit_code(), 125);
    }
}
