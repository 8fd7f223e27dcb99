//! `ctl container logs`.

use std::process::ExitCode;

use proto::v1::ContainerLogsRequest;

use crate::cli::Global;
use crate::error::CommandError;
use crate::output;

/// Print what a container wrote
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go on with what is written from now on
    #[arg(long, short = 'f')]
    follow: bool,
    /// Only the last lines
    #[arg(long, short = 'n', value_name = "LINES")]
    tail: Option<u32>,
    /// Name or id of the container
    container: String,
}

/// Prints lines until there are no more, or until Ctrl-C.
///
/// # Errors
/// When there is no such container.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut agent = crate::cmd::agent(global).await?;
    let request =
        ContainerLogsRequest { container: args.container, follow: args.follow, tail: args.tail, since_ms: 0 };
    let mut lines = agent.container_logs(request).await?.into_inner();
    // Listened to all the time: one that comes while a line is printed counts too.
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let next = tokio::select! {
            next = lines.message() => next?,
            _ = &mut interrupted => return Ok(ExitCode::SUCCESS),
        };
        let Some(entry) = next else { return Ok(ExitCode::SUCCESS) };
        if let Some(mut line) = entry.line {
            if !line.partial {
                line.data.push(b'\n');
            }
            if output::bytes(&line.data, line.stderr).is_err() {
                return Ok(ExitCode::from(output::READER_GONE));
            }
        }
    }
}
