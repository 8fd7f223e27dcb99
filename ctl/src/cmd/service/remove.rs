//! `ctl service rm`.

use std::process::ExitCode;
use std::time::Duration;

use proto::v1::{GetServiceRequest, RemoveServiceRequest, TaskState, WatchServiceRequest};

use crate::cli::Global;
use crate::client::Control;
use crate::error::{CommandError, Kind};
use crate::output::{self, progress::Progress};

/// Remove services and wait until their tasks are gone
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names or ids of services
    #[arg(required = true)]
    services: Vec<String>,
    /// Do not wait for the tasks
    #[arg(long, short = 'd')]
    detach: bool,
    /// Give up waiting after this many seconds
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    timeout: u64,
}

/// Removes all of them, or with an unknown name none, and waits.
///
/// # Errors
/// When there is no such service, or its tasks do not end in time.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut control = crate::cmd::control(global).await?;
    let mut services = Vec::new();
    for name in args.services {
        let request = GetServiceRequest { service: name.clone() };
        let service = control.get_service(request).await?.into_inner().service.unwrap_or_default();
        services.push((name, service.id));
    }
    for (_, id) in &services {
        control.remove_service(RemoveServiceRequest { service: id.clone() }).await?;
    }
    for (name, id) in &services {
        if !args.detach {
            let gone = wait_until_gone(&mut control, name, id, Duration::from_secs(args.timeout));
            tokio::select! {
                gone = gone => gone?,
                _ = tokio::signal::ctrl_c() => {
                    output::note("not waiting any longer; the tasks go on ending");
                    break;
                }
            }
        }
        output::line(name);
    }
    Ok(ExitCode::SUCCESS)
}

async fn wait_until_gone(
    control: &mut Control,
    name: &str,
    id: &str,
    timeout: Duration,
) -> Result<(), CommandError> {
    let mut progress = Progress::start(&format!("removing {name}"));
    let outcome = tokio::time::timeout(timeout, follow(control, id, &mut progress)).await;
    progress.finish();
    outcome.unwrap_or_else(|_| {
        let text = format!("tasks of {name} are still there after {}s", timeout.as_secs());
        Err(CommandError::new(Kind::NotConverged, text)
            .hint("the service is removed; its tasks end when their node answers"))
    })
}

async fn follow(control: &mut Control, id: &str, progress: &mut Progress) -> Result<(), CommandError> {
    let watch = control.watch_service(WatchServiceRequest { service: id.to_owned() }).await;
    let mut changes = match watch {
        Ok(changes) => changes.into_inner(),
        Err(status) if status.code() == tonic::Code::NotFound => return Ok(()),
        Err(status) => return Err(status.into()),
    };
    let mut most = 0;
    loop {
        match changes.message().await {
            Ok(Some(snapshot)) => {
                let alive = |state: i32| state < TaskState::Complete as i32;
                let left = snapshot.tasks.iter().filter(|task| alive(task.state)).count() as u64;
                most = most.max(left);
                progress.set(most - left, most, "");
            }
            Ok(None) => return Ok(()),
            Err(status) if status.code() == tonic::Code::NotFound => return Ok(()),
            Err(status) => return Err(status.into()),
        }
    }
}
