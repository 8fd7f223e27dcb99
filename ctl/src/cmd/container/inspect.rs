//! `ctl container inspect`: all that is known, as JSON.

use std::process::ExitCode;

use proto::v1::InspectContainerRequest;

use super::several::{Containers, Failures};
use crate::cli::Global;
use crate::error::CommandError;
use crate::output;
use crate::output::shape::{self, Shape};

/// Show everything about containers, as JSON
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also how much they have written: looks at every file
    #[arg(long, short = 's')]
    size: bool,
    /// json, or a template for each container, such as '{{.State.Status}}'
    #[arg(long, short = 'f', value_name = "FORMAT", value_parser = shape::shape)]
    format: Option<Shape>,
    /// Which containers.
    #[command(flatten)]
    containers: Containers,
}

/// Prints an array with an object for each container that is there.
///
/// # Errors
/// When the agent can't be asked.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut agent = crate::cmd::agent(global).await?;
    let is_one = args.containers.containers.len() == 1;
    let (mut found, mut failures) = (Vec::new(), Failures::default());
    for container in args.containers.containers {
        let request = InspectContainerRequest { container: container.clone(), size: args.size };
        match agent.inspect_container(request).await {
            Ok(answer) => {
                let document = serde_json::from_str::<serde_json::Value>(&answer.into_inner().json);
                let wrong = |error| CommandError::internal(format!("the agent sent no JSON: {error}"));
                found.push(document.map_err(wrong)?);
            }
            Err(status) if is_one => return Err(status.into()),
            Err(status) => failures.add(&container, status.into())?,
        }
    }
    match args.format {
        Some(Shape::Lines(template) | Shape::Columns(template)) => {
            for document in &found {
                output::line(&shape::filled(&template, document)?);
            }
        }
        _ => output::json(&found),
    }
    Ok(failures.exit_code())
}
