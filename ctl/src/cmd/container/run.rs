//! `ctl container run`: create, attach, start, and be the container's terminal
//! until it ends. The exit code is the container's, as with Docker; 125 means
//! that Roadstead failed, 126 and 127 that the program could not be executed.

use std::process::ExitCode;

use proto::v1::{RemoveContainerRequest, StartContainerRequest};
use tonic::Code;

use super::attach;
use super::detach::Keys;
use super::options::{Options, Stream};
use crate::cli::Global;
use crate::client::Node;
use crate::error::{CommandError, Kind};
use crate::{output, terminal};

/// Run a program in a new container
// Docker's -h is the host name, so the short form of help has to go.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// Print the id and do not wait
    #[arg(long, short = 'd')]
    detach: bool,
    /// Keys that leave a terminal
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: Keys,
    /// Pass signals on; without it Ctrl-C leaves and the container goes on
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true)]
    #[arg(default_missing_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,
    /// What the container is to be.
    #[command(flatten)]
    options: Options,
}

impl Args {
    /// What this side does with the container's streams.
    fn session(&self) -> Result<attach::Options, CommandError> {
        let (attach, process) = (&self.options.attach, &self.options.process);
        let wrong = |message: &str| CommandError::new(Kind::Usage, message);
        if self.detach && !attach.is_empty() {
            return Err(wrong("--attach and --detach contradict each other"));
        }
        let sends = attach.contains(&Stream::Stdin);
        if sends && !process.interactive {
            return Err(wrong("--attach stdin sends nothing without --interactive (-i)"));
        }
        let mutes = |stream| !attach.is_empty() && !attach.contains(&stream);
        Ok(attach::Options {
            stdin: process.interactive && (attach.is_empty() || sends),
            terminal: process.tty,
            keep_signals: !self.sig_proxy,
            keys: self.detach_keys,
            // A terminal is one stream.
            mute_stdout: mutes(Stream::Stdout) && !(process.tty && attach.contains(&Stream::Stderr)),
            mute_stderr: mutes(Stream::Stderr),
        })
    }
}

/// Runs it.
///
/// # Errors
/// When it can't be created or started.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let session = args.session()?;
    if session.terminal && !args.detach && !terminal::stdin_is_terminal() {
        return Err(CommandError::new(Kind::Usage, "standard input is no terminal, so --tty makes no sense")
            .hint("leave out --tty (-t), or run it from a terminal"));
    }
    let mut agent = crate::cmd::agent(global).await?;
    let rm = args.options.rm;
    let id = args.options.create_for(&mut agent, true).await?;
    if args.detach {
        start(&mut agent, &id, rm).await?;
        output::line(&id);
        return Ok(ExitCode::SUCCESS);
    }
    let only_sends = session.mute_stdout && session.mute_stderr;
    let session = attach::open(&mut agent, &id, session).await?;
    start(&mut agent, &id, rm).await?;
    if only_sends {
        // As Docker does: nothing else comes that says which container it is.
        output::line(&id);
    }
    let code = session.run(global, agent, &id).await?;
    Ok(ExitCode::from(code))
}

/// Starts it; what can't start and was to be removed is removed.
async fn start(agent: &mut Node, id: &str, remove: bool) -> Result<(), CommandError> {
    let Err(status) = agent.start_container(StartContainerRequest { container: id.to_owned() }).await else {
        return Ok(());
    };
    if remove {
        let request = RemoveContainerRequest { container: id.to_owned(), force: true, volumes: true };
        if let Err(status) = agent.remove_container(request).await
            && status.code() != Code::NotFound
        {
            output::note(&format!("container {id} could not be removed: {}", status.message()));
        }
    }
    Err(status.into())
}
