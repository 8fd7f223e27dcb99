//! `ctl image ls`.

use std::collections::BTreeSet;
use std::process::ExitCode;

use proto::v1::{Image, ListImagesRequest};

use crate::cli::Global;
use crate::cmd::container::filter::{self, Filter};
use crate::error::CommandError;
use crate::output::rows::{DigestRow, ImageRow, VariantRow};
use crate::output::shape::{self, Shape};
use crate::output::{self, Format};

/// List the images
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print ids only
    #[arg(long, short = 'q', conflicts_with = "tree")]
    quiet: bool,
    /// Print ids in full
    #[arg(long)]
    no_trunc: bool,
    /// Also show the digest under which a registry has it
    #[arg(long)]
    digests: bool,
    /// Show what each image consists of: its platforms, and what of them is here
    #[arg(long)]
    tree: bool,
    /// Only those with: dangling=true, reference=PATTERN, label=KEY[=VALUE], before=IMAGE, since=IMAGE, until=24h
    #[arg(long, short = 'f', value_name = "KEY=VALUE", value_parser = filter::parse)]
    filter: Vec<Filter>,
    /// table, json, a template with Docker's names such as '{{.Repository}}:{{.Tag}}', or table TEMPLATE
    #[arg(long, value_name = "FORMAT", value_parser = shape::shape, conflicts_with_all = ["tree", "quiet"])]
    format: Option<Shape>,
    /// Only those of this name, or of names like this pattern
    name: Option<String>,
}

/// Lists the images of this host.
///
/// # Errors
/// When the agent can't be asked or a filter makes no sense.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut filters = super::prune::filters(args.filter)?;
    filters.extend(args.name.map(|value| proto::v1::Filter { key: "reference".to_owned(), value }));
    let request = ListImagesRequest { filters, variants: args.tree };
    let images = crate::cmd::agent(global).await?.list_images(request).await?.into_inner().images;
    if args.quiet {
        let mut seen = BTreeSet::new();
        for image in images.iter().filter(|image| seen.insert(&image.id)) {
            output::line(&id(image, args.no_trunc));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let rows = images.iter().flat_map(|image| ImageRow::of(image, args.no_trunc));
    if let Some(shape) = &args.format {
        shape::print(shape, &rows.collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    match (global.output, args.tree) {
        (_, true) => {
            let rows: Vec<VariantRow> =
                images.iter().flat_map(|image| VariantRow::of(image, args.no_trunc)).collect();
            output::list(global.output, &rows);
        }
        (Format::Table, false) if args.digests => {
            output::list(global.output, &rows.map(DigestRow).collect::<Vec<_>>());
        }
        _ => output::list(global.output, &rows.collect::<Vec<_>>()),
    }
    Ok(ExitCode::SUCCESS)
}

fn id(image: &Image, is_full: bool) -> String {
    if is_full { image.id.clone() } else { crate::output::rows::short_digest(&image.id) }
}
