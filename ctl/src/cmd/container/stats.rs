//! `ctl container stats`: what containers use, once a second until Ctrl-C. On a terminal the table stays in its place;
//! elsewhere each round is a table of its own, or a line of JSON for each container.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use proto::v1::{ContainerUsageResponse, ListContainerUsageRequest};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::cli::Global;
use crate::error::{CommandError, Kind};
use crate::output::shape::{self, Shape};
use crate::output::{self, Format, rows::UsageRow};

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(1);
/// A rate needs two looks; so long between them when only one answer is wanted.
const GLANCE: Duration = Duration::from_millis(500);

/// Show what running containers use
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also containers that do not run
    #[arg(long, short = 'a')]
    all: bool,
    /// Look once, and end
    #[arg(long)]
    no_stream: bool,
    /// Show whole ids
    #[arg(long)]
    no_trunc: bool,
    /// table, json, a template with Docker's names such as '{{.Name}} {{.CPUPerc}}', or table TEMPLATE
    #[arg(long, value_name = "FORMAT", value_parser = shape::shape)]
    format: Option<Shape>,
    /// Only these: names, ids, or the beginning of ids
    containers: Vec<String>,
}

type Answers = BTreeMap<String, ContainerUsageResponse>;

/// Shows what containers use.
///
/// # Errors
/// When the agent can't be asked, or a container that was named does not exist.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut agent = crate::cmd::agent(global).await?;
    let shape = args.format.unwrap_or(Shape::Plain(global.output));
    let request = ListContainerUsageRequest {
        containers: args.containers.clone(),
        all: args.all || !args.containers.is_empty(),
    };
    let mut ask = async || -> Result<Vec<ContainerUsageResponse>, CommandError> {
        Ok(agent.list_container_usage(request.clone()).await?.into_inner().usages)
    };
    let mut before = by_id(ask().await?);
    if args.no_stream {
        sleep(GLANCE).await;
        shape::print(&shape, &rows(&ask().await?, &before, args.no_trunc))?;
        return Ok(ExitCode::SUCCESS);
    }
    let screen = Screen { shape, is_terminal: io::stdout().is_terminal() };
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first is at once; what was just asked is shown in a moment, with rates.
    rounds.tick().await;
    loop {
        tokio::select! {
            _ = rounds.tick() => {}
            _ = &mut interrupted => return Ok(ExitCode::SUCCESS),
        }
        let now = match ask().await {
            Ok(now) => now,
            // All that were named have been removed: there is nothing more to see.
            Err(error) if error.kind == Kind::NotFound => return Ok(ExitCode::SUCCESS),
            Err(error) => return Err(error),
        };
        let text = screen.text(&rows(&now, &before, args.no_trunc))?;
        if output::bytes(text.as_bytes(), false).is_err() {
            return Ok(ExitCode::from(output::READER_GONE));
        }
        before = by_id(now);
    }
}

fn by_id(answers: Vec<ContainerUsageResponse>) -> Answers {
    answers.into_iter().map(|answer| (answer.id.clone(), answer)).collect()
}

fn rows(now: &[ContainerUsageResponse], before: &Answers, in_full: bool) -> Vec<UsageRow> {
    now.iter().map(|usage| UsageRow::new(usage, before.get(&usage.id), in_full)).collect()
}

/// Where the rounds are shown.
struct Screen {
    shape: Shape,
    is_terminal: bool,
}

impl Screen {
    /// What to print for a round.
    fn text(&self, rows: &[UsageRow]) -> Result<String, CommandError> {
        if self.shape == Shape::Plain(Format::Json) {
            let line = |row| serde_json::to_string(row).unwrap_or_default() + "\n";
            return Ok(rows.iter().map(line).collect());
        }
        let text = self.shape.list(rows)?;
        Ok(if self.is_terminal { redrawn(&text) } else { text + "\n" })
    }
}

/// From the upper left corner: each line written over what was there, and the rest of the screen cleared.
fn redrawn(table: &str) -> String {
    let lines: String = table.lines().map(|line| format!("{line}\x1b[K\n")).collect();
    format!("\x1b[H{lines}\x1b[J")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_drawn_over_the_last_one() {
        assert_eq!(redrawn("A\nB"), "\x1b[HA\x1b[K\nB\x1b[K\n\x1b[J");
    }
}
