//! `ctl service logs`: the lines of all tasks, each with where it comes from.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use proto::v1::{LogLine, ServiceLogsRequest, ServiceLogsResponse};

use crate::cli::Global;
use crate::cmd::lines::{Joiner, JsonLine, Which};
use crate::error::CommandError;
use crate::output::{self, Format, rows};

/// Print what the tasks of a service write
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which lines of each task.
    #[command(flatten)]
    which: Which,
    /// Print the lines as they are, without where they come from
    #[arg(long)]
    raw: bool,
    /// Leave the task's id out of where a line comes from
    #[arg(long)]
    no_task_ids: bool,
    /// Show the task's whole id
    #[arg(long)]
    no_trunc: bool,
    /// Name or id of the service
    service: String,
}

#[derive(Debug, serde::Serialize)]
struct Line {
    task: String,
    slot: u32,
    node: String,
    #[serde(flatten)]
    line: JsonLine,
}

/// Prints lines until there are no more, or until Ctrl-C.
///
/// # Errors
/// When there is no such service.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut control = crate::cmd::control(global).await?;
    let which = &args.which;
    let request = ServiceLogsRequest {
        service: args.service.clone(),
        follow: which.follow,
        tail: which.tail.0,
        since_ms: which.since.unwrap_or(0) / 1_000_000,
        since_ns: which.since,
        until_ns: which.until,
        details: which.details,
    };
    let mut lines = control.service_logs(request).await?.into_inner();
    let printer = Printer { args, format: global.output, colour: io::stdout().is_terminal() };
    let mut joiner: Joiner<Source> = Joiner::new();
    // Listened to all the time: one that comes while a line is printed counts too.
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let next = tokio::select! {
            next = lines.message() => next?,
            _ = &mut interrupted => return Ok(ExitCode::SUCCESS),
        };
        let Some(entry) = next else { break };
        let Some((source, piece)) = Source::of(entry) else { continue };
        let whole = joiner.add(source.clone(), piece);
        if whole.is_some_and(|line| printer.print(&source, line).is_err()) {
            return Ok(ExitCode::from(output::READER_GONE));
        }
    }
    let rest = joiner.rest().try_for_each(|(source, line)| printer.print(&source, line));
    Ok(rest.map_or(ExitCode::from(output::READER_GONE), |()| ExitCode::SUCCESS))
}

/// Where a line comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    slot: u32,
    task: String,
    node: String,
    stderr: bool,
}

impl Source {
    fn of(entry: ServiceLogsResponse) -> Option<(Source, LogLine)> {
        let line = entry.line?;
        Some((
            Source { slot: entry.slot, task: entry.task_id, node: entry.node_name, stderr: line.stderr },
            line,
        ))
    }
}

struct Printer {
    args: Args,
    format: Format,
    colour: bool,
}

impl Printer {
    fn print(&self, source: &Source, line: LogLine) -> io::Result<()> {
        if self.format == Format::Json {
            let Source { slot, task, node, .. } = source.clone();
            let line = Line { task, slot, node, line: JsonLine::from(line) };
            let text = serde_json::to_string(&line).unwrap_or_default();
            return output::bytes(format!("{text}\n").as_bytes(), false);
        }
        let mut text = self.prefix(source).into_bytes();
        text.extend_from_slice(self.args.which.prefix(&line).as_bytes());
        text.extend_from_slice(&line.data);
        text.push(b'\n');
        output::bytes(&text, line.stderr)
    }

    fn prefix(&self, source: &Source) -> String {
        if self.args.raw {
            return String::new();
        }
        let id = match (self.args.no_task_ids, self.args.no_trunc) {
            (true, _) => String::new(),
            (false, true) => format!(".{}", source.task),
            (false, false) => format!(".{}", rows::short(&source.task)),
        };
        let text = format!("{}.{}{id}@{} | ", self.args.service, source.slot, source.node);
        // Six colours that read on dark and on light grounds.
        let code = 31 + source.slot % 6;
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn a_prefix_names_service_slot_task_and_node() {
        let source = Source { slot: 3, task: "abcdefghijklmnop".into(), node: "n1".into(), stderr: false };
        let prefix = |words: &str| {
            let args = Words::try_parse_from(words.split(' ')).unwrap().args;
            Printer { args, format: Format::Table, colour: false }.prefix(&source)
        };
        assert_eq!(prefix("logs web"), "web.3.abcdefghijkl@n1 | ");
        assert_eq!(prefix("logs --no-trunc web"), "web.3.abcdefghijklmnop@n1 | ");
        assert_eq!(prefix("logs --no-task-ids web"), "web.3@n1 | ");
        assert_eq!(prefix("logs --raw web"), "");
    }
}
