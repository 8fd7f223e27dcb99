//! `ctl container export`: the tree of a container as an archive.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use proto::v1::ExportContainerRequest;
use proto::v1::container_files_client::ContainerFilesClient;
use proto::v1::read_files_response::Message;

use super::copy;
use crate::cli::Global;
use crate::error::{CommandError, Kind};
use crate::output;

/// Write a container's files as an archive
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write to this file instead of standard output
    #[arg(long, short = 'f', value_name = "FILE")]
    file: Option<PathBuf>,
    /// Name or id of the container
    container: String,
}

/// Exports it. What is mounted on the tree, volumes for instance, is not part of it.
///
/// # Errors
/// When there is no such container, or the archive cannot be written; a file that was begun is removed.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    if args.file.is_none() {
        copy::refuse_terminal()?;
    }
    let mut files = ContainerFilesClient::new(crate::cmd::host(global).await?);
    let request = ExportContainerRequest { container: args.container };
    let mut answers = files.export_container(request).await?.into_inner();
    let Some(path) = args.file else {
        let copied = copy::pass_on(answers).await?;
        copied.notes.iter().for_each(|note| output::note(note));
        return Ok(ExitCode::SUCCESS);
    };
    let failed =
        |error: std::io::Error| CommandError::new(Kind::Environment, format!("{}: {error}", path.display()));
    let mut file = std::fs::File::create(&path).map_err(failed)?;
    let outcome = async {
        while let Some(answer) = answers.message().await? {
            match answer.message {
                Some(Message::Archive(piece)) => file.write_all(&piece).map_err(failed)?,
                Some(Message::Done(done)) => {
                    done.notes.iter().for_each(|note| output::note(note));
                    return Ok(ExitCode::SUCCESS);
                }
                Some(Message::File(_)) | None => {}
            }
        }
        Err(CommandError::new(Kind::Unavailable, "the agent ended the export before it was complete"))
    };
    let outcome = outcome.await;
    if outcome.is_err() {
        // Half an archive would be taken for a whole one.
        let _ = std::fs::remove_file(&path);
    }
    outcome
}
