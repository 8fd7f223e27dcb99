//! Watching a service: a snapshot now and after each change, never more often
//! than every 50 ms. A slow reader gets fewer snapshots, never stale ones.

use std::time::Duration;

use controller_core::{ServiceId, State};
use proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::Instrument as _;

use super::{Answers, task};
use crate::convert;
use crate::error::ApiError;
use crate::server::Context;

/// The shortest time between two snapshots.
const MERGE: Duration = Duration::from_millis(50);

type Sender = mpsc::Sender<Result<v1::WatchServiceResponse, Status>>;

pub(super) fn open(
    context: &Context,
    request: &v1::WatchServiceRequest,
) -> Result<Answers<v1::WatchServiceResponse>, ApiError> {
    let id = task::service_id(&context.store.state(), &request.service)?;
    let (sender, answers) = mpsc::channel(1);
    let (context, name) = (context.clone(), request.service.clone());
    let watch = async move {
        let end = tokio::select! {
            end = run(&context, id, &name, &sender) => end,
            () = context.closing.closed() => Some(ApiError::ShuttingDown),
            () = sender.closed() => None,
        };
        if let Some(error) = end {
            // An error means that the reader is gone too.
            let _ = sender.send(Err(error.into())).await;
        }
    };
    tokio::spawn(watch.in_current_span());
    Ok(ReceiverStream::new(answers))
}

async fn run(context: &Context, id: ServiceId, name: &str, sender: &Sender) -> Option<ApiError> {
    let mut changes = context.store.changes();
    let mut sent = None;
    loop {
        // The state is read only when there is room, so a snapshot is never old when it is read.
        let place = sender.reserve().await.ok()?;
        changes.borrow_and_update();
        let state = context.store.state();
        let touched = state.service_touched(&id);
        if touched.is_none() {
            return Some(ApiError::not_found("service", name));
        }
        if touched != sent {
            sent = touched;
            place.send(Ok(snapshot(&state, id)));
            tokio::time::sleep(MERGE).await;
        } else {
            drop(place);
        }
        if changes.changed().await.is_err() {
            return Some(ApiError::ShuttingDown);
        }
    }
}

fn snapshot(state: &State, id: ServiceId) -> v1::WatchServiceResponse {
    v1::WatchServiceResponse {
        service: state.service(&id).map(|service| convert::service(state, service)),
        tasks: state.tasks_of_service(&id).map(|task| convert::task(state, task)).collect(),
    }
}
