//! gRPC channels: to a controller over TLS with the context's certificate, to
//! this host's agent over its unix socket. Each request carries the trace
//! context of the command.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use proto::v1::control_client::ControlClient;
use proto::v1::node_control_client::NodeControlClient;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::context::Context;
use crate::error::{CommandError, Kind};
use crate::telemetry::Propagate;

/// Talks to the cluster.
pub type Control = ControlClient<InterceptedService<Channel, Propagate>>;
/// Talks to one host.
pub type Node = NodeControlClient<Host>;
/// The connection to the agent of one host, for any of its services: on this host by its socket, on another one
/// through a controller.
pub type Host = InterceptedService<Channel, Propagate>;

/// The name in the certificate of every controller, wherever it runs.
const CONTROLLER_NAME: &str = "controller.roadstead";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A snapshot of ten thousand tasks with their history is larger than tonic's 4 MB.
const LARGEST_MESSAGE: usize = 64 << 20;

/// Connects to the first controller of the context that answers.
///
/// # Errors
/// [`Kind::Unavailable`] with the address and the reason when none does.
pub async fn control(context: &Context) -> Result<Control, CommandError> {
    let channel = controller(context).await?;
    let client = ControlClient::with_interceptor(channel, Propagate::default());
    Ok(client.max_decoding_message_size(LARGEST_MESSAGE))
}

async fn controller(context: &Context) -> Result<Channel, CommandError> {
    let tls = client_tls(context)?;
    let mut reasons = Vec::new();
    for address in &context.controllers {
        let endpoint = Endpoint::from_shared(format!("https://{address}"))
            .and_then(|endpoint| endpoint.tls_config(tls.clone()))
            .map_err(|error| {
                CommandError::new(Kind::Environment, format!("controller address {address}: {error}"))
            })?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .tcp_nodelay(true);
        match endpoint.connect().await {
            Ok(channel) => return Ok(channel),
            Err(error) => reasons.push(format!("{address}: {}", root_cause(&error))),
        }
    }
    Err(CommandError::new(Kind::Unavailable, format!("cannot reach a controller ({})", reasons.join("; ")))
        .hint("is it running?  `ctl dev` starts one on this machine"))
}

/// Connects to the agent behind a unix socket of this host.
///
/// # Errors
/// [`Kind::Unavailable`] when nothing answers on the socket.
pub async fn agent(socket: &Path) -> Result<Host, CommandError> {
    let channel = unix_channel(socket).await.map_err(|error| {
        CommandError::new(
            Kind::Unavailable,
            format!("cannot reach the agent at {}: {error}", socket.display()),
        )
        .hint("is it running?  `agent` starts it, `ctl dev` a whole cluster; the socket is for root only")
    })?;
    Ok(InterceptedService::new(channel, Propagate::default()))
}

/// Reaches the agent of a node through a controller of the context.
///
/// # Errors
/// [`Kind::Unavailable`] when no controller answers; [`Kind::Usage`] when that can't be a node's name.
pub async fn node(context: &Context, name: &str) -> Result<Host, CommandError> {
    let node = name.parse().map_err(|_| {
        CommandError::new(Kind::Usage, format!("{name:?} can't be the name of a node"))
            .hint("the nodes of the cluster:  ctl node ls")
    })?;
    Ok(InterceptedService::new(controller(context).await?, Propagate { node: Some(node) }))
}

async fn unix_channel(socket: &Path) -> Result<Channel, String> {
    let socket: PathBuf = socket.to_owned();
    // The address is never resolved: the connector below ignores it.
    Endpoint::from_static("http://agent.roadstead")
        .connect_timeout(CONNECT_TIMEOUT)
        .connect_with_connector(tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
        }))
        .await
        .map_err(|error| root_cause(&error))
}

fn client_tls(context: &Context) -> Result<ClientTlsConfig, CommandError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| {
            CommandError::new(
                Kind::Environment,
                format!("cannot read {} of the context: {error}", path.display()),
            )
            .hint("`ctl dev` writes a fresh context; it needs the same user that started the cluster")
        })
    };
    Ok(ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read(&context.root)?))
        .identity(Identity::from_pem(read(&context.cert)?, read(&context.key)?))
        .domain_name(CONTROLLER_NAME))
}

/// The innermost cause says what happened; the outer ones say "transport error".
pub fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let text = cause.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}
