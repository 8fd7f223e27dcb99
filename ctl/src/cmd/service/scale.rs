//! `ctl service scale`.

use std::process::ExitCode;
use std::time::Duration;

use proto::v1::{GetServiceRequest, UpdateServiceRequest};

use super::converge::{self, Change};
use crate::cli::Global;
use crate::client::Control;
use crate::error::{CommandError, Kind};
use crate::output;

/// Set the number of tasks: NAME=REPLICAS
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service and its number of tasks
    #[arg(required = true, value_name = "NAME=REPLICAS", value_parser = target)]
    targets: Vec<(String, u32)>,
    /// Do not wait for the tasks
    #[arg(long, short = 'd')]
    detach: bool,
    /// Give up waiting after this many seconds
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    timeout: u64,
}

fn target(text: &str) -> Result<(String, u32), String> {
    let (name, count) =
        text.split_once('=').ok_or_else(|| format!("{text:?} has no \"=\"; expected NAME=REPLICAS"))?;
    if name.is_empty() {
        return Err(format!("{text:?} names no service; expected NAME=REPLICAS"));
    }
    Ok((name.to_owned(), super::create::replicas(count)?))
}

/// Scales each service and waits.
///
/// # Errors
/// When there is no such service, or it does not converge.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut control = crate::cmd::control(global).await?;
    let mut changed = Vec::new();
    for (name, replicas) in args.targets {
        let change = scale(&mut control, &name, replicas).await?;
        changed.push((name, replicas, change));
    }
    for (name, replicas, change) in changed {
        if !args.detach {
            let timeout = Duration::from_secs(args.timeout);
            let waited = converge::wait(&mut control, &name, &change, timeout).await.map_err(|error| {
                let next =
                    format!("the service keeps its new size and goes on trying:  ctl service ps {name}");
                if error.kind == Kind::NotConverged { error.hint(next) } else { error }
            })?;
            if !waited {
                break;
            }
        }
        output::line(&format!("{name} scaled to {replicas}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the new size; reads again when someone else wrote in between.
async fn scale(control: &mut Control, name: &str, replicas: u32) -> Result<Change, CommandError> {
    const ATTEMPTS: usize = 5;
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let request = GetServiceRequest { service: name.to_owned() };
        let service = control.get_service(request).await?.into_inner().service.unwrap_or_default();
        let mut spec = service.spec.unwrap_or_default();
        spec.replicas = replicas;
        let request =
            UpdateServiceRequest { service: service.id, version: service.version, spec: Some(spec) };
        match control.update_service(request).await {
            Ok(done) => return Ok(Change::of(&done.into_inner().service.unwrap_or_default())),
            Err(status) if status.code() == tonic::Code::Aborted => last = Some(status),
            Err(status) => return Err(status.into()),
        }
    }
    Err(last.map_or_else(|| CommandError::internal("nothing was tried"), CommandError::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_name_and_a_count() {
        assert_eq!(target("web=10"), Ok(("web".into(), 10)));
        for text in ["web", "=3", "web=", "web=-1", "web=x"] {
            assert!(target(text).is_err(), "{text}");
        }
    }
}
