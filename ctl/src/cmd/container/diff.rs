//! `ctl container diff`: what a container changed.

use std::process::ExitCode;

use proto::v1::container_files_client::ContainerFilesClient;
use proto::v1::file_change::Kind;
use proto::v1::{FileChange, ListChangesRequest};
use serde::Serialize;

use crate::archive::printable;
use crate::cli::Global;
use crate::error::CommandError;
use crate::output::{self, Format};

/// Show what a container changed in its files
///
/// A: added, C: changed, D: deleted. What lies in volumes is not part of it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name or id of the container
    container: String,
}

#[derive(Debug, Serialize)]
struct Row {
    kind: &'static str,
    path: String,
}

/// Lists the changes.
///
/// # Errors
/// When there is no such container.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut files = ContainerFilesClient::new(crate::cmd::host(global).await?);
    let request = ListChangesRequest { container: args.container };
    let mut answers = files.list_changes(request).await?.into_inner();
    let mut rows = Vec::new();
    while let Some(answer) = answers.message().await? {
        for change in answer.changes {
            match global.output {
                Format::Json => rows.push(row(&change)),
                Format::Table => {
                    let Row { kind, path } = row(&change);
                    if output::bytes(format!("{kind} {path}\n").as_bytes(), false).is_err() {
                        return Ok(ExitCode::from(output::READER_GONE));
                    }
                }
            }
        }
    }
    if global.output == Format::Json {
        output::json(&rows);
    }
    Ok(ExitCode::SUCCESS)
}

fn row(change: &FileChange) -> Row {
    let kind = match change.kind() {
        Kind::Added => "A",
        Kind::Changed => "C",
        Kind::Deleted => "D",
    };
    Row { kind, path: printable(&change.path) }
}
