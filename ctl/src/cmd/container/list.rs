//! `ctl container ls`.

use std::process::ExitCode;

use proto::v1::ListContainersRequest;

use super::filter::{self, Filter};
use crate::cli::Global;
use crate::error::CommandError;
use crate::output::rows::{ContainerRow, SizedContainerRow};
use crate::output::{self, Format};

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
    /// table or json, as --output
    #[arg(long, value_parser = format)]
    format: Option<Format>,
}

fn format(text: &str) -> Result<Format, String> {
    match text {
        "table" => Ok(Format::Table),
        "json" => Ok(Format::Json),
        _ if text.contains("{{") => Err("templates are not supported; take --format json and jq".to_owned()),
        _ => Err("expected table or json".to_owned()),
    }
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
    let format = args.format.unwrap_or(global.output);
    if args.quiet {
        rows.for_each(|row| output::line(row.id()));
    } else if args.size {
        output::list(format, &rows.map(SizedContainerRow).collect::<Vec<_>>());
    } else {
        output::list(format, &rows.collect::<Vec<_>>());
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_refused_with_what_to_do_instead() {
        assert_eq!(format("json"), Ok(Format::Json));
        assert!(format("{{.ID}}").expect_err("a template").contains("jq"));
        assert!(format("xml").is_err());
    }
}
