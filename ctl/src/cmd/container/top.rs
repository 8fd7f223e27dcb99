//! `ctl container top`.

use std::process::ExitCode;

use proto::v1::TopContainerRequest;

use crate::cli::Global;
use crate::error::{CommandError, Kind};
use crate::output::{self, rows::ProcessRow};

/// Show the processes of a running container, as the host numbers them
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name or id of the container
    container: String,
    /// Options of ps, which Docker takes: known, and refused.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    options: Vec<String>,
}

/// Lists them.
///
/// # Errors
/// When there is no such container, or it does not run.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    if let Some(option) = args.options.first() {
        let text = format!("{option:?}, an option of ps, is not taken: no program is run for the list");
        return Err(CommandError::new(Kind::Usage, text)
            .hint("all there is to choose from:  ctl container top --output json NAME"));
    }
    let mut agent = crate::cmd::agent(global).await?;
    let request = TopContainerRequest { container: args.container };
    let processes = agent.top_container(request).await?.into_inner().processes;
    output::list(global.output, &processes.iter().map(ProcessRow::from).collect::<Vec<_>>());
    Ok(ExitCode::SUCCESS)
}
