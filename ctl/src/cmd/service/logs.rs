//! `ctl service logs`: the lines of all tasks, each with where it comes from.

use std::io::IsTerminal;
use std::process::ExitCode;

use proto::v1::{ServiceLogsRequest, ServiceLogsResponse};

use crate::cli::Global;
use crate::error::CommandError;
use crate::output::{self, Format, rows, time};

/// Print what the tasks of a service write
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go on with what is written from now on
    #[arg(long, short = 'f')]
    follow: bool,
    /// Only the last lines of each task
    #[arg(long, short = 'n', value_name = "LINES")]
    tail: Option<u32>,
    /// Only lines of the last so many seconds
    #[arg(long, value_name = "SECONDS")]
    since: Option<u64>,
    /// Show when each line was written
    #[arg(long, short = 't')]
    timestamps: bool,
    /// Name or id of the service
    service: String,
}

#[derive(Debug, serde::Serialize)]
struct Line {
    time: String,
    task: String,
    slot: u32,
    node: String,
    stream: &'static str,
    text: String,
}

/// Prints lines until there are no more, or until Ctrl-C.
///
/// # Errors
/// When there is no such service.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut control = crate::cmd::control(global).await?;
    let since_ms =
        args.since.map_or(0, |seconds| time::now_ms().saturating_sub(seconds.saturating_mul(1000)));
    let name = args.service.clone();
    let request =
        ServiceLogsRequest { service: args.service, follow: args.follow, tail: args.tail, since_ms };
    let mut lines = control.service_logs(request).await?.into_inner();
    let colour = std::io::stdout().is_terminal();
    // Listened to all the time: one that comes while a line is printed counts too.
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let next = tokio::select! {
            next = lines.message() => next?,
            _ = &mut interrupted => return Ok(ExitCode::SUCCESS),
        };
        let Some(entry) = next else { return Ok(ExitCode::SUCCESS) };
        if print(global.output, &name, &entry, args.timestamps, colour).is_err() {
            return Ok(ExitCode::from(output::READER_GONE));
        }
    }
}

fn print(
    format: Format,
    service: &str,
    entry: &ServiceLogsResponse,
    timestamps: bool,
    colour: bool,
) -> std::io::Result<()> {
    let Some(line) = &entry.line else { return Ok(()) };
    let moment = time::rfc3339(line.time_ns / 1_000_000);
    match format {
        Format::Json => {
            let line = Line {
                time: moment,
                task: entry.task_id.clone(),
                slot: entry.slot,
                node: entry.node_name.clone(),
                stream: if line.stderr { "stderr" } else { "stdout" },
                text: String::from_utf8_lossy(&line.data).into_owned(),
            };
            match serde_json::to_string(&line) {
                Ok(text) => output::bytes(format!("{text}\n").as_bytes(), false),
                Err(error) => {
                    output::note(&format!("cannot print a line as JSON: {error}"));
                    Ok(())
                }
            }
        }
        Format::Table => {
            let mut text = prefix(service, entry, colour).into_bytes();
            if timestamps {
                text.extend_from_slice(moment.as_bytes());
                text.push(b' ');
            }
            text.extend_from_slice(&line.data);
            text.push(b'\n');
            output::bytes(&text, line.stderr)
        }
    }
}

fn prefix(service: &str, entry: &ServiceLogsResponse, colour: bool) -> String {
    let text = format!("{service}.{}.{}@{} | ", entry.slot, rows::short(&entry.task_id), entry.node_name);
    // Six colours that read on dark and on light grounds.
    let code = 31 + entry.slot % 6;
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_names_service_slot_task_and_node() {
        let entry = ServiceLogsResponse {
            task_id: "abcdefghijklmnop".into(),
            slot: 3,
            node_name: "n1".into(),
            ..ServiceLogsResponse::default()
        };
        assert_eq!(prefix("web", &entry, false), "web.3.abcdefghijkl@n1 | ");
    }
}
