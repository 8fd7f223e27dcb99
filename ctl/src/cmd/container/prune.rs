//! `ctl container prune`.

use std::process::ExitCode;

use proto::v1::PruneContainersRequest;

use super::filter::{self, Filter};
use crate::cli::Global;
use crate::error::{CommandError, Kind};
use crate::output::{self, rows, time};
use crate::{moment, terminal};

/// Remove all containers that do not run
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do not ask
    #[arg(long, short = 'f')]
    force: bool,
    /// Only those made before (until=24h), with a label (label=KEY[=VALUE]) or without it (label!=...)
    #[arg(long, value_name = "KEY=VALUE", value_parser = filter::parse)]
    filter: Vec<Filter>,
}

/// Removes them and says what that freed.
///
/// # Errors
/// When nobody can be asked and `--force` is not given.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let request = request(args.filter)?;
    if !args.force && !terminal::confirm("Remove all containers that do not run?")? {
        output::note("nothing was removed");
        return Ok(ExitCode::from(Kind::Internal.exit_code()));
    }
    let mut agent = crate::cmd::agent(global).await?;
    let pruned = agent.prune_containers(request).await?.into_inner();
    match global.output {
        output::Format::Json => output::json(&serde_json::json!({
            "containers": pruned.containers,
            "bytes": pruned.bytes,
            "failures": pruned.failures,
        })),
        output::Format::Table => {
            pruned.containers.iter().for_each(|id| output::line(id));
            output::note(&format!(
                "{} containers removed, {} freed",
                pruned.containers.len(),
                rows::bytes(pruned.bytes)
            ));
        }
    }
    for failure in &pruned.failures {
        output::fail(&CommandError::internal(failure.clone()));
    }
    let ok = pruned.failures.is_empty();
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::from(Kind::Internal.exit_code()) })
}

fn request(filters: Vec<Filter>) -> Result<PruneContainersRequest, CommandError> {
    let mut request = PruneContainersRequest::default();
    for filter in filters {
        match filter.key.as_str() {
            "until" => {
                let until = moment::parse(&filter.value, time::now_ms().saturating_mul(1_000_000));
                let until = until.map_err(|reason| CommandError::new(Kind::Usage, reason))?;
                request.until_ms = Some(until / 1_000_000);
            }
            "label" => request.labels.push(filter.value),
            "label!" => request.without_labels.push(filter.value),
            other => {
                let message = format!("there is no filter {other:?} here; there are until, label and label!");
                return Err(CommandError::new(Kind::Usage, message));
            }
        }
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_say_which_and_unknown_ones_are_refused() {
        let parse = |text: &str| filter::parse(text).expect("a filter");
        let made = request(vec![parse("until=1700000000"), parse("label=a=b"), parse("label!=keep")]);
        let made = made.expect("a request");
        assert_eq!(made.until_ms, Some(1_700_000_000_000));
        assert_eq!((made.labels, made.without_labels), (vec!["a=b".to_owned()], vec!["keep".to_owned()]));
        assert_eq!(request(vec![parse("status=exited")]).expect_err("refused").kind, Kind::Usage);
    }
}
