//! `ctl container run`: create, attach, start, and be the container's terminal
//! until it ends. The exit code is the container's, as with Docker; 125 means
//! that Roadstead failed, 126 and 127 that the program could not be executed.

use std::process::ExitCode;

use proto::v1::{
    ContainerSpec, CreateContainerRequest, PublishedPort, PullPolicy, RemoveContainerRequest,
    StartContainerRequest,
};
use tonic::Code;

use super::attach;
use crate::cli::Global;
use crate::client::Node;
use crate::cmd::service::spec;
use crate::error::{CommandError, Kind};
use crate::{output, terminal};

/// Run a program in a new container
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the container; one is made if it has none
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    /// Remove the container when it has ended
    #[arg(long)]
    rm: bool,
    /// Keep standard input open
    #[arg(long, short = 'i')]
    interactive: bool,
    /// Give it a terminal
    #[arg(long, short = 't')]
    tty: bool,
    /// Print the id and do not wait
    #[arg(long, short = 'd')]
    detach: bool,
    /// Set a variable: NAME=VALUE
    #[arg(long, short = 'e', value_name = "VARIABLE", value_parser = spec::env)]
    env: Vec<String>,
    /// Publish a port on this host: PUBLISHED:TARGET[/udp]
    #[arg(long, short = 'p', value_name = "PORTS", value_parser = spec::port)]
    publish: Vec<PublishedPort>,
    /// Run as this user: UID[:GID] or a name of the image
    #[arg(long, short = 'u', default_value = "", hide_default_value = true)]
    user: String,
    /// Start in this directory
    #[arg(long, short = 'w', default_value = "", hide_default_value = true)]
    workdir: String,
    /// Host name of the container
    #[arg(long, default_value = "", hide_default_value = true)]
    hostname: String,
    /// Run this program instead of the image's entrypoint
    #[arg(long)]
    entrypoint: Option<String>,
    /// Limits of the container.
    #[command(flatten)]
    limits: spec::Limits,
    /// When to fetch the image
    #[arg(long, value_enum, default_value_t = Pull::Missing)]
    pull: Pull,
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

/// Runs it.
///
/// # Errors
/// When it can't be created or started.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    if args.tty && !args.detach && !terminal::stdin_is_terminal() {
        return Err(CommandError::new(Kind::Run, "standard input is no terminal, so --tty makes no sense")
            .hint("leave out --tty (-t), or run it from a terminal"));
    }
    let mut agent = crate::cmd::agent(global).await?;
    let (detach, rm) = (args.detach, args.rm);
    let options = attach::Options { stdin: args.interactive, terminal: args.tty };
    let id = create(&mut agent, args).await.map_err(as_run)?;
    if detach {
        start(&mut agent, &id, rm).await?;
        output::line(&id);
        return Ok(ExitCode::SUCCESS);
    }
    let session = attach::open(&mut agent, &id, options).await.map_err(as_run)?;
    start(&mut agent, &id, rm).await?;
    let code = session.run(global, agent, &id).await?;
    Ok(ExitCode::from(code))
}

/// Creates the container, fetching the image first if it has to.
async fn create(agent: &mut Node, args: Args) -> Result<String, CommandError> {
    let pull = args.pull;
    if pull == Pull::Always {
        crate::cmd::image::pull(agent, &args.image).await?;
    }
    let image = args.image.clone();
    let request = request_of(args);
    match agent.create_container(request.clone()).await {
        Ok(made) => Ok(made.into_inner().id),
        // The agent was told not to pull, so that the pull can show its progress.
        Err(status) if status.code() == Code::NotFound && pull == Pull::Missing => {
            crate::cmd::image::pull(agent, &image).await?;
            Ok(agent.create_container(request).await?.into_inner().id)
        }
        Err(status) => Err(status.into()),
    }
}

fn request_of(args: Args) -> CreateContainerRequest {
    let (rows, columns) = terminal::size().filter(|_| args.tty).unwrap_or((24, 80));
    let container = ContainerSpec {
        image: args.image,
        entrypoint: args.entrypoint.into_iter().collect(),
        command: args.command,
        env: args.env,
        user: args.user,
        working_dir: args.workdir,
        hostname: args.hostname,
        limits: Some(args.limits.to_resources()),
        ..ContainerSpec::default()
    };
    CreateContainerRequest {
        name: args.name,
        spec: Some(container),
        ports: args.publish,
        terminal: args.tty,
        stdin: args.interactive,
        auto_remove: args.rm,
        rows: rows.into(),
        columns: columns.into(),
        pull: PullPolicy::Never.into(),
    }
}

/// Starts it; what can't start and was to be removed is removed.
async fn start(agent: &mut Node, id: &str, remove: bool) -> Result<(), CommandError> {
    let Err(status) = agent.start_container(StartContainerRequest { container: id.to_owned() }).await else {
        return Ok(());
    };
    if remove {
        let request = RemoveContainerRequest { container: id.to_owned(), force: true };
        if let Err(status) = agent.remove_container(request).await
            && status.code() != Code::NotFound
        {
            output::note(&format!("container {id} could not be removed: {}", status.message()));
        }
    }
    Err(as_run(status.into()))
}

/// Docker's exit code for a run that failed before the program did anything.
fn as_run(error: CommandError) -> CommandError {
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
