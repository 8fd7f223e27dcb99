//! `ctl volume prune`.

use std::io::{BufRead, IsTerminal};
use std::process::ExitCode;

use proto::v1::PruneVolumesRequest;

use crate::cli::Global;
use crate::error::CommandError;
use crate::output;

/// Remove the anonymous volumes that no container has
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also those with a name that somebody chose
    #[arg(long, short = 'a')]
    all: bool,
    /// Do not ask
    #[arg(long, short = 'f')]
    force: bool,
}

/// Removes them and prints their names.
///
/// # Errors
/// When nobody can be asked and `--force` is not given, or the agent refuses.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    if !args.force && !confirmed(args.all)? {
        return Ok(ExitCode::SUCCESS);
    }
    let mut client = super::volumes(global).await?;
    let names = client.prune_volumes(PruneVolumesRequest { all: args.all }).await?.into_inner().names;
    names.iter().for_each(|name| output::line(name));
    output::note(&match names.len() {
        0 => "no volume was removed".to_owned(),
        1 => "1 volume was removed".to_owned(),
        many => format!("{many} volumes were removed"),
    });
    Ok(ExitCode::SUCCESS)
}

fn confirmed(all: bool) -> Result<bool, CommandError> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(super::usage("nobody is there to ask whether volumes and what is in them may go")
            .hint("say --force to remove them without a question"));
    }
    let which = if all { "all volumes" } else { "all anonymous volumes" };
    output::note(&format!(
        "this removes {which} that no container has, and what is in them. Continue? [y/N]"
    ));
    let mut answer = String::new();
    let read = stdin.lock().read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"))
}
