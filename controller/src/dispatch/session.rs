//! One session from its first message to its end.

use std::sync::Arc;
use std::time::Duration;

use controller_core::control::{HEARTBEAT, LEASE};
use controller_core::{Command, Input, NodeDescription, NodeId};
use proto::v1::{self, session_request::Message as Up, session_response::Message as Down};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tracing::Instrument as _;

use super::registry::{Seat, Sessions};
use super::{inbound, outbound};
use crate::convert;
use crate::error::ApiError;
use crate::leader::clock;
use crate::server::Context;

/// How long an agent may take to register.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages on their way to the agent. A slow agent gets fewer, larger ones.
const BUFFERED: usize = 4;

/// The way down to the agent.
pub(super) type Sender = mpsc::Sender<Result<v1::SessionResponse, Status>>;

pub(super) fn open(
    context: &Context,
    sessions: &Arc<Sessions>,
    node: NodeId,
    requests: Streaming<v1::SessionRequest>,
) -> Result<ReceiverStream<Result<v1::SessionResponse, Status>>, ApiError> {
    if !context.store.status().leading {
        return Err(ApiError::NotLeading);
    }
    let (sender, answers) = mpsc::channel(BUFFERED);
    let (context, sessions) = (context.clone(), Arc::clone(sessions));
    let session = async move {
        let end = tokio::select! {
            end = run(&context, &sessions, node, requests, &sender) => end,
            () = context.closing.closed() => Err(ApiError::ShuttingDown.into()),
        };
        match end {
            Ok(()) => tracing::info!("a session ended"),
            Err(status) => {
                tracing::info!(why = status.message(), "a session was ended");
                // An error means that the agent is gone too. A slow one gets it late, a stuck one never.
                let _ = timeout(REGISTER_TIMEOUT, sender.send(Err(status))).await;
            }
        }
    };
    // Not in the span of the call: a session lasts for days.
    tokio::spawn(session.instrument(tracing::info_span!(parent: None, "session", %node)));
    Ok(ReceiverStream::new(answers))
}

async fn run(
    context: &Context,
    sessions: &Arc<Sessions>,
    node: NodeId,
    mut requests: Streaming<v1::SessionRequest>,
    sender: &Sender,
) -> Result<(), Status> {
    let register = match timeout(REGISTER_TIMEOUT, requests.message()).await {
        Ok(message) => message?,
        Err(_) => return Err(ApiError::Protocol("no Register came within 10 s").into()),
    };
    let Some(Up::Register(register)) = register.and_then(|request| request.message) else {
        return Err(ApiError::Protocol("the first message of a session must be Register").into());
    };
    let description = convert::description(register).map_err(ApiError::from)?;
    let mut seat = sessions.take(node);
    let name = admit(context, node, description).await?;
    let welcome = v1::Welcome {
        node_id: node.to_string(),
        node_name: name,
        heartbeat_ms: milliseconds(HEARTBEAT),
        lease_ms: milliseconds(LEASE),
    };
    let welcome = v1::SessionResponse { message: Some(Down::Welcome(welcome)) };
    if sender.send(Ok(welcome)).await.is_err() {
        return Ok(());
    }
    context.leader.send(Input::Connected { node }).await;
    tracing::info!("a session began");
    let end = serve(context, node, &mut seat, &mut requests, sender).await;
    if seat.is_current() {
        context.leader.send(Input::Disconnected { node }).await;
    }
    end
}

/// Both directions until one of them ends, or a reason to end comes from outside.
async fn serve(
    context: &Context,
    node: NodeId,
    seat: &mut Seat,
    requests: &mut Streaming<v1::SessionRequest>,
    sender: &Sender,
) -> Result<(), Status> {
    let serial = seat.serial();
    tokio::select! {
        end = inbound::run(context, node, requests) => end,
        end = outbound::run(context, node, serial, sender) => Ok(end?),
        () = seat.superseded() => Err(ApiError::Superseded.into()),
        () = stops_leading(context) => Err(ApiError::NotLeading.into()),
    }
}

/// Registers the node and returns its name. What is known already is not
/// proposed again: a restart of many agents must not flood the log.
async fn admit(context: &Context, id: NodeId, description: NodeDescription) -> Result<String, ApiError> {
    let state = context.store.state();
    if state.node(&id).is_none_or(|node| !node.is_ready() || node.description != description) {
        let command = Command::RegisterNode { id, description, at: clock() };
        context.store.propose_checked(command).await?;
    }
    let state = context.store.state();
    state.node(&id).map(|node| node.name.clone()).ok_or_else(|| ApiError::not_found("node", id.as_str()))
}

async fn stops_leading(context: &Context) {
    let mut status = context.store.status_changes();
    // An error means that the store is gone, and with it the leadership.
    let _ = status.wait_for(|status| !status.leading).await;
}

fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
