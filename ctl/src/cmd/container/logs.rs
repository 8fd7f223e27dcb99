//! `ctl container logs` and `ctl logs`.

use std::io;
use std::process::ExitCode;

use proto::v1::{ContainerLogsRequest, LogLine};

use crate::cli::Global;
use crate::cmd::lines::{Joiner, JsonLine, Which};
use crate::error::CommandError;
use crate::output::{self, Format};

/// Print what a container wrote
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which lines.
    #[command(flatten)]
    which: Which,
    /// Name or id of the container
    container: String,
}

/// Prints lines until there are no more, or until Ctrl-C.
///
/// # Errors
/// When there is no such container, or it keeps no log.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut agent = crate::cmd::agent(global).await?;
    let which = args.which;
    let request = ContainerLogsRequest {
        container: args.container,
        follow: which.follow,
        tail: which.tail.0,
        since_ms: which.since.unwrap_or(0) / 1_000_000,
        since_ns: which.since,
        until_ns: which.until,
        details: which.details,
    };
    let mut lines = agent.container_logs(request).await?.into_inner();
    let mut printer = Printer { format: global.output, which, inside: [false; 2], joiner: Joiner::new() };
    // Listened to all the time: one that comes while a line is printed counts too.
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let next = tokio::select! {
            next = lines.message() => next?,
            _ = &mut interrupted => return Ok(ExitCode::SUCCESS),
        };
        let Some(answer) = next else { break };
        if answer.line.is_some_and(|line| printer.print(line).is_err()) {
            return Ok(ExitCode::from(output::READER_GONE));
        }
    }
    let rest = printer.joiner.rest().try_for_each(|(_, line)| json(line));
    Ok(rest.map_or(ExitCode::from(output::READER_GONE), |()| ExitCode::SUCCESS))
}

struct Printer {
    format: Format,
    which: Which,
    /// Per stream: the last piece did not end its line.
    inside: [bool; 2],
    joiner: Joiner<bool>,
}

impl Printer {
    /// People get the pieces of a long line as they come, programs get lines.
    fn print(&mut self, line: LogLine) -> io::Result<()> {
        if self.format == Format::Json {
            return self.joiner.add(line.stderr, line).map_or(Ok(()), json);
        }
        let inside = &mut self.inside[usize::from(line.stderr)];
        let mut text = if *inside { Vec::new() } else { self.which.prefix(&line).into_bytes() };
        *inside = line.partial;
        text.extend_from_slice(&line.data);
        if !line.partial {
            text.push(b'\n');
        }
        output::bytes(&text, line.stderr)
    }
}

fn json(line: LogLine) -> io::Result<()> {
    let text = serde_json::to_string(&JsonLine::from(line)).unwrap_or_default();
    output::bytes(format!("{text}\n").as_bytes(), false)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn lines_are_asked_for_as_docker_asks() {
        let which = |words: &str| {
            Line::try_parse_from(words.split(' '))
                .map(|line| line.args.which)
                .map_err(|error| error.to_string())
        };
        let read = which("logs -ft -n 5 --since 1700000000.5 --until 1700000001 --details web").unwrap();
        assert!(read.follow && read.timestamps && read.details);
        assert_eq!((read.tail.0, read.since), (Some(5), Some(1_700_000_000_500_000_000)));
        assert_eq!(which("logs --tail all web").unwrap().tail.0, None);
        assert!(which("logs --tail some web").is_err() && which("logs --since soon web").is_err());
    }
}
