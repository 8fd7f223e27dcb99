//! `ctl system prune`: containers that do not run, then volumes if that is wished, then images.

use std::process::ExitCode;

use proto::v1::images_client::ImagesClient;
use proto::v1::volumes_client::VolumesClient;
use proto::v1::{PruneContainersRequest, PruneImagesRequest, PruneVolumesRequest};

use crate::cli::Global;
use crate::client::Node;
use crate::cmd::container::filter::{self, Filter};
use crate::cmd::image::prune::{as_json, filters};
use crate::error::{CommandError, Kind};
use crate::output::{self, Format, rows};
use crate::terminal;

/// Remove containers that do not run, and images that no container uses
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also images with a name
    #[arg(long, short = 'a')]
    all: bool,
    /// Also anonymous volumes that no container has
    #[arg(long)]
    volumes: bool,
    /// Do not ask
    #[arg(long, short = 'f')]
    force: bool,
    /// Only what was made before (until=24h), or has a label (label=KEY[=VALUE]) or has it not (label!=...)
    #[arg(long, value_name = "KEY=VALUE", value_parser = filter::parse)]
    filter: Vec<Filter>,
}

/// Removes it and says what that freed.
///
/// # Errors
/// When nobody can be asked and `--force` is not given, or the agent refuses; what was removed before is gone.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let filters = filters(args.filter)?;
    if args.volumes && !filters.is_empty() {
        let message = "volumes are not removed by a filter: leave out --volumes or --filter";
        return Err(CommandError::new(Kind::Usage, message));
    }
    let containers = containers(&filters)?;
    let images = if args.all { "all images that no container uses" } else { "images without a name" };
    let volumes = if args.volumes { ", anonymous volumes that no container has" } else { "" };
    let question = format!("Remove all containers that do not run, {images}{volumes}?");
    if !args.force && !terminal::confirm(&question)? {
        output::note("nothing was removed");
        return Ok(ExitCode::from(Kind::Internal.exit_code()));
    }
    let host = crate::cmd::host(global).await?;
    let stopped = Node::new(host.clone()).prune_containers(containers).await?.into_inner();
    let mut names = Vec::new();
    if args.volumes {
        let request = PruneVolumesRequest { all: false };
        names = VolumesClient::new(host.clone()).prune_volumes(request).await?.into_inner().names;
    }
    let request = PruneImagesRequest { all: args.all, filters };
    let pruned = ImagesClient::new(host).prune_images(request).await?.into_inner();
    let bytes = stopped.bytes.saturating_add(pruned.bytes);
    match global.output {
        Format::Json => output::json(&serde_json::json!({
            "containers": stopped.containers, "volumes": names, "images": as_json(&pruned), "bytes": bytes,
        })),
        Format::Table => {
            stopped.containers.iter().for_each(|id| output::line(&format!("Deleted container: {id}")));
            names.iter().for_each(|name| output::line(&format!("Deleted volume: {name}")));
            pruned.untagged.iter().for_each(|name| output::line(&format!("Untagged: {name}")));
            pruned.deleted.iter().for_each(|id| output::line(&format!("Deleted: {id}")));
            output::note(&format!("{} freed", rows::bytes(bytes)));
        }
    }
    for failure in &stopped.failures {
        output::fail(&CommandError::internal(failure.clone()));
    }
    let is_done = stopped.failures.is_empty();
    Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::from(Kind::Internal.exit_code()) })
}

fn containers(filters: &[proto::v1::Filter]) -> Result<PruneContainersRequest, CommandError> {
    let mut request = PruneContainersRequest::default();
    for filter in filters {
        match filter.key.as_str() {
            "until" => request.until_ms = filter.value.parse().ok(),
            "label" => request.labels.push(filter.value.clone()),
            "label!" => request.without_labels.push(filter.value.clone()),
            other => {
                let message = format!("there is no filter {other:?} here; there are until, label and label!");
                return Err(CommandError::new(Kind::Usage, message));
            }
        }
    }
    Ok(request)
}
