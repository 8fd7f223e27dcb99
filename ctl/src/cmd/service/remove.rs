//! `ctl service rm`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use proto::v1::{GetServiceRequest, RemoveServiceRequest, TaskState, WatchServiceRequest};

use super::patience::{self, broken};
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

/// Watches until no task is left; a controller that restarts meanwhile is found again.
async fn follow(control: &mut Control, id: &str, progress: &mut Progress) -> Result<(), CommandError> {
    let mut most = 0;
    let outcome = patience::watch_again(async |heard: &mut Instant| {
        watch(control, id, progress, &mut most, heard).await
    });
    match outcome.await {
        Err(error) if error.kind == Kind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Watches the tasks; ends with [`Kind::NotFound`] when none is left.
async fn watch(
    control: &mut Control,
    id: &str,
    progress: &mut Progress,
    most: &mut u64,
    heard: &mut Instant,
) -> Result<(), CommandError> {
    let request = WatchServiceRequest { service: id.to_owned() };
    let mut changes = control.watch_service(request).await.map_err(broken)?.into_inner();
    while let Some(snapshot) = changes.message().await.map_err(broken)? {
        *heard = Instant::now();
        let alive = |state: i32| state < TaskState::Complete as i32;
        let left = snapshot.tasks.iter().filter(|task| alive(task.state)).count() as u64;
        *most = left.max(*most);
        progress.set(*most - left, *most, "");
    }
    Err(patience::ended())
}
