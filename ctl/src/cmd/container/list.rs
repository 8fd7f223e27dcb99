//! `ctl container ls`.

use std::process::ExitCode;

use proto::v1::ListContainersRequest;

use super::filter::{self, Filter};
use crate::cli::Global;
use crate::error::CommandError;
use crate::output;
use crate::output::rows::{ContainerRow, SizedContainerRow};
use crate::output::shape::{self, Shape};

/// List containers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also those that do not run
    #[arg(long, short = 'a')]
    all: bool,
    /// Only ids
    #[arg(long, short = 'q')]
    quiet: bool,
    /// Only the newest so many, running or not
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 0, hide_default_value = true)]
    last: u32,
    /// Only the newest, running or not
    #[arg(long, short = 'l', conflicts_with = "last")]
    latest: bool,
    /// Also how much each has written: looks at every file
    #[arg(long, short = 's')]
    size: bool,
    /// Show ids and commands in full
    #[arg(long)]
    no_trunc: bool,
    /// Only those with name, id, label, status, ancestor, publish, volume, health ... (KEY=VALUE)
    #[arg(long, short = 'f', value_name = "KEY=VALUE", value_parser = filter::parse)]
    filter: Vec<Filter>,
    /// table, json, a template with Docker's names such as '{{.ID}} {{.Names}}', or table TEMPLATE
    #[arg(long, value_name = "FORMAT", value_parser = shape::shape)]
    format: Option<Shape>,
}

/// Lists the containers of this host, the newest first.
///
/// # Errors
/// When the agent can't be asked, or a filter makes no sense.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut agent = crate::cmd::agent(global).await?;
    let request = ListContainersRequest {
        all: args.all,
        filters: args.filter.into_iter().map(Into::into).collect(),
        last: if args.latest { 1 } else { args.last },
        size: args.size,
    };
    let mut containers = agent.list_containers(request).await?.into_inner().containers;
    containers.reverse();
    let rows = containers.iter().map(|container| ContainerRow::new(container, args.no_trunc));
    let shape = args.format.unwrap_or(Shape::Plain(global.output));
    if args.quiet {
        rows.for_each(|row| output::line(row.id()));
    } else if args.size {
        shape::print(&shape, &rows.map(SizedContainerRow).collect::<Vec<_>>())?;
    } else {
        shape::print(&shape, &rows.collect::<Vec<_>>())?;
    }
    Ok(ExitCode::SUCCESS)
}
