//! One stream, from the connection to its end.

use std::net::SocketAddr;
use std::time::Duration;

use proto::v1::dispatch_client::DispatchClient;
use proto::v1::session_request::Message as Up;
use proto::v1::session_response::Message as Down;
use proto::v1::{Heartbeat, Report, SessionRequest, SessionResponse, Welcome};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tracing::info;

use super::{Link, Session, host};
use crate::assignment::{AssignmentSet, ChainError};
use crate::identity::IdentityError;
use crate::tls::{self, DialError};

/// Messages that may wait to go up; a session that does not take them has ended.
const QUEUE: usize = 64;
/// The controller's time for its Welcome, and for taking a message.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest set of assignments, in bytes.
const MESSAGE_MAX: usize = 64 * 1024 * 1024;
/// Heartbeats go out this much more often than the controller asks for.
const HEARTBEAT_MARGIN: u32 = 2;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("{0}")]
    Identity(#[from] IdentityError),
    #[error("HTTP/2: {0}")]
    Transport(#[from] tonic::transport::Error),
    #[error("{}", .0.message())]
    Status(#[from] tonic::Status),
    #[error("the controller said nothing for {} s", PATIENCE.as_secs())]
    Silence,
    #[error("the controller broke the protocol: {0}")]
    Protocol(&'static str),
    #[error(transparent)]
    Chain(#[from] ChainError),
}

/// Connects, and holds the session until it ends.
pub(super) async fn hold(session: &Session) -> Result<(), SessionError> {
    let identity = std::sync::Arc::clone(&session.identity.borrow());
    let stream = tls::dial(&identity.controller, identity.client_config()?).await?;
    let address = advertised(&session.node.address, stream.get_ref().0.local_addr().ok());
    let mut client = DispatchClient::new(tls::channel(stream).await?).max_decoding_message_size(MESSAGE_MAX);
    let (up, waiting) = mpsc::channel(QUEUE);
    send(&up, Up::Register(host::register(&session.node, address))).await?;
    let call = client.session(ReceiverStream::new(waiting));
    let mut down = within(call).await??.into_inner();
    let welcome = welcome(&mut down).await?;
    info!(node = welcome.node_name, controller = identity.controller, "in session");
    session.link.send_replace(Link {
        node_id: welcome.node_id.clone(),
        node_name: welcome.node_name.clone(),
        connected: true,
    });
    converse(session, &up, &mut down, welcome.heartbeat_ms).await
}

async fn welcome(down: &mut Streaming<SessionResponse>) -> Result<Welcome, SessionError> {
    match within(down.message()).await??.and_then(|response| response.message) {
        Some(Down::Welcome(welcome)) if welcome.heartbeat_ms > 0 => Ok(welcome),
        _ => Err(SessionError::Protocol("its first message is not a Welcome with a heartbeat time")),
    }
}

async fn converse(
    session: &Session,
    up: &mpsc::Sender<SessionRequest>,
    down: &mut Streaming<SessionResponse>,
    heartbeat_ms: u32,
) -> Result<(), SessionError> {
    let period = Duration::from_millis(u64::from(heartbeat_ms)) / HEARTBEAT_MARGIN;
    let mut beat = tokio::time::interval_at(Instant::now() + period, period.max(Duration::from_millis(10)));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut set = AssignmentSet::default();
    let mut told = false;
    loop {
        tokio::select! {
            message = down.message() => match message? {
                Some(SessionResponse { message: Some(Down::Assignments(assignments)) }) => {
                    told |= assignments.complete;
                    session.tasks.assign(set.apply(assignments)?).await;
                }
                Some(_) => return Err(SessionError::Protocol("a message that is no Assignments")),
                None => return Ok(()),
            },
            _ = beat.tick() => send(up, Up::Heartbeat(Heartbeat {})).await?,
            // Not before the whole set: until then the controller may not know the tasks.
            statuses = session.reports.batch(), if told => {
                send(up, Up::Report(Report { statuses })).await?;
            }
        }
    }
}

async fn send(up: &mpsc::Sender<SessionRequest>, message: Up) -> Result<(), SessionError> {
    // A receiver that is gone means that the stream has ended; its status comes from the other side.
    let _ = within(up.send(SessionRequest { message: Some(message) })).await?;
    Ok(())
}

async fn within<T>(work: impl Future<Output = T>) -> Result<T, SessionError> {
    tokio::time::timeout(PATIENCE, work).await.map_err(|_| SessionError::Silence)
}

/// `:port` gets the address from which this host reaches the controller.
fn advertised(address: &str, local: Option<SocketAddr>) -> String {
    match (address.strip_prefix(':'), local) {
        (Some(port), Some(local)) if local.is_ipv6() => format!("[{}]:{port}", local.ip()),
        (Some(port), Some(local)) => format!("{}:{port}", local.ip()),
        _ => address.to_owned(),
    }
}
