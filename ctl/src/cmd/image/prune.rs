//! `ctl image prune`.

use std::process::ExitCode;

use proto::v1;
use proto::v1::{PruneImagesRequest, PruneImagesResponse};

use crate::cli::Global;
use crate::cmd::container::filter::{self, Filter};
use crate::error::{CommandError, Kind};
use crate::output::{self, Format, rows, time};
use crate::{moment, terminal};

/// Remove images without a name that no container uses
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also those with a name
    #[arg(long, short = 'a')]
    all: bool,
    /// Do not ask
    #[arg(long, short = 'f')]
    force: bool,
    /// Only those built before (until=24h), with a label (label=KEY[=VALUE]) or without it (label!=...)
    #[arg(long, value_name = "KEY=VALUE", value_parser = filter::parse)]
    filter: Vec<Filter>,
}

/// Removes them and says what that freed.
///
/// # Errors
/// When nobody can be asked and `--force` is not given.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let filters = filters(args.filter)?;
    let question = match args.all {
        true => "Remove all images that no container uses?",
        false => "Remove all images that have no name and no container uses?",
    };
    if !args.force && !terminal::confirm(question)? {
        output::note("nothing was removed");
        return Ok(ExitCode::from(Kind::Internal.exit_code()));
    }
    let request = PruneImagesRequest { all: args.all, filters };
    let pruned = super::images(global).await?.prune_images(request).await?.into_inner();
    match global.output {
        Format::Json => output::json(&as_json(&pruned)),
        Format::Table => {
            super::remove::show(&pruned.untagged, &pruned.deleted);
            let count = pruned.deleted.len();
            output::note(&format!("{count} images removed, {} freed", rows::bytes(pruned.bytes)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What was pruned, for programs.
pub(in crate::cmd) fn as_json(pruned: &PruneImagesResponse) -> serde_json::Value {
    serde_json::json!({"untagged": pruned.untagged, "deleted": pruned.deleted, "bytes": pruned.bytes})
}

/// Filters as the agent takes them: a moment in milliseconds since 1970.
///
/// # Errors
/// When what should be a moment is none.
pub(in crate::cmd) fn filters(given: Vec<Filter>) -> Result<Vec<v1::Filter>, CommandError> {
    let mut filters = Vec::new();
    for filter in given {
        let mut filter = v1::Filter::from(filter);
        if filter.key == "until" {
            let until = moment::parse(&filter.value, time::now_ms().saturating_mul(1_000_000));
            let until = until.map_err(|reason| CommandError::new(Kind::Usage, reason))?;
            filter.value = (until / 1_000_000).to_string();
        }
        filters.push(filter);
    }
    Ok(filters)
}
