//! `ctl volume ls`.

use std::process::ExitCode;

use proto::v1::{ListVolumesRequest, Volume};

use crate::cli::Global;
use crate::error::CommandError;
use crate::output::shape::{self, Shape};
use crate::output::{self, rows::VolumeRow};

/// List volumes
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print names only
    #[arg(long, short = 'q')]
    quiet: bool,
    /// Only those with: dangling=true, driver=NAME, label=KEY[=VALUE], name=PART
    #[arg(long, short = 'f', value_name = "FILTER", value_parser = filter)]
    filter: Vec<Filter>,
    /// table, json, a template with Docker's names such as '{{.Name}}', or table TEMPLATE
    #[arg(long, value_name = "FORMAT", value_parser = shape::shape)]
    format: Option<Shape>,
}

/// What a volume must be to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Filter {
    Dangling(bool),
    Driver(String),
    Label(String, Option<String>),
    Name(String),
}

fn filter(text: &str) -> Result<Filter, String> {
    let (key, value) = text.split_once('=').ok_or("it is KEY=VALUE")?;
    match key {
        "dangling" => match value {
            "true" | "1" => Ok(Filter::Dangling(true)),
            "false" | "0" => Ok(Filter::Dangling(false)),
            other => Err(format!("dangling is true or false, not {other:?}")),
        },
        "driver" => Ok(Filter::Driver(value.to_owned())),
        "name" => Ok(Filter::Name(value.to_owned())),
        "label" => Ok(match value.split_once('=') {
            Some((key, value)) => Filter::Label(key.to_owned(), Some(value.to_owned())),
            None => Filter::Label(value.to_owned(), None),
        }),
        other => Err(format!("no filter {other:?}; there are dangling, driver, label and name")),
    }
}

/// Filters of one kind are alternatives, but for labels; different kinds must all fit, as in Docker.
fn fits(volume: &Volume, filters: &[Filter]) -> bool {
    let any = |wanted: &dyn Fn(&Filter) -> Option<bool>| {
        let mut of_kind = filters.iter().filter_map(wanted).peekable();
        of_kind.peek().is_none() || of_kind.any(|fits| fits)
    };
    let label = |filter: &Filter| match filter {
        Filter::Label(key, wanted) => {
            volume.labels.get(key).is_some_and(|value| wanted.as_ref().is_none_or(|wanted| wanted == value))
        }
        _ => true,
    };
    filters.iter().all(label)
        && any(&|filter| match filter {
            Filter::Dangling(wanted) => Some(volume.containers.is_empty() == *wanted),
            _ => None,
        })
        && any(&|filter| match filter {
            Filter::Driver(wanted) => Some(*wanted == volume.driver),
            _ => None,
        })
        && any(&|filter| match filter {
            Filter::Name(part) => Some(volume.name.contains(part.as_str())),
            _ => None,
        })
}

/// Lists the volumes of this host.
///
/// # Errors
/// When the agent can't be asked.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let volumes =
        super::volumes(global).await?.list_volumes(ListVolumesRequest {}).await?.into_inner().volumes;
    let shown: Vec<&Volume> = volumes.iter().filter(|volume| fits(volume, &args.filter)).collect();
    if args.quiet {
        shown.iter().for_each(|volume| output::line(&volume.name));
    } else {
        let shape = args.format.unwrap_or(Shape::Plain(global.output));
        shape::print(&shape, &shown.into_iter().map(VolumeRow::from).collect::<Vec<_>>())?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_one_kind_are_alternatives_and_kinds_must_all_fit() {
        let volume = Volume {
            name: "data".to_owned(),
            driver: "local".to_owned(),
            labels: [("tier".to_owned(), "db".to_owned())].into(),
            containers: vec!["web".to_owned()],
            ..Volume::default()
        };
        let shown = |filters: &[&str]| {
            fits(&volume, &filters.iter().map(|text| filter(text).unwrap()).collect::<Vec<_>>())
        };
        assert!(shown(&[]) && shown(&["name=at"]) && shown(&["name=x", "name=dat"]));
        assert!(shown(&["label=tier", "label=tier=db", "dangling=false"]));
        for none in [
            &["name=x"][..],
            &["label=tier=web"],
            &["dangling=true"],
            &["driver=nfs"],
            &["name=at", "label=z"],
        ] {
            assert!(!shown(none), "{none:?}");
        }
        assert!(filter("size=3").is_err() && filter("dangling=maybe").is_err() && filter("x").is_err());
    }
}
