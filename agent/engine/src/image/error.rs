//! What can go wrong with images, one sentence each for the person who asked for one.

use std::path::PathBuf;
use std::time::Duration;

use crate::content::{ContentError, Digest};
use crate::records::RecordsError;
use crate::snapshot::{DiffId, SnapshotError};

use super::unpack::UnpackError;

/// A failure to pull, import, look up or collect images.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PullError {
    /// The registry does not have it.
    #[error("image {image} not found in the registry")]
    NotFound {
        /// The image as people write it.
        image: String,
    },
    /// The registry wants credentials, or other ones.
    #[error(
        "registry {registry} denies access to {what}: it does not exist there, or needs a login (ctl login {registry})"
    )]
    Denied {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
    },
    /// The registry does not take a user and password.
    #[error("registry {registry} does not accept this user with this password")]
    WrongLogin {
        /// The registry.
        registry: String,
    },
    /// The registry answered something else than success.
    #[error("registry {registry} answered {status} for {what}")]
    Status {
        /// The registry.
        registry: String,
        /// Code and reason.
        status: String,
        /// What was asked for.
        what: String,
    },
    /// No connection, or it broke.
    #[error("cannot reach registry {registry}: {reason}")]
    Unreachable {
        /// The registry.
        registry: String,
        /// What the system or TLS said.
        reason: String,
    },
    /// It took too long.
    #[error("registry {registry} sent nothing of {what} for {} s", waited.as_secs_f32())]
    Stalled {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
        /// How long we waited.
        waited: Duration,
    },
    /// The registry sends, but so slowly that it would never end.
    #[error("registry {registry} sends {what} too slowly, gave up after {} s", waited.as_secs())]
    TooSlow {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
        /// How long we waited.
        waited: Duration,
    },
    /// The answer breaks the rules of the protocol.
    #[error("registry {registry} gave an unacceptable answer for {what}: {reason}")]
    Protocol {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
        /// Which rule.
        reason: String,
    },
    /// Content does not have its digest.
    #[error("{what} {expected} has digest {actual} instead: the registry or the network damaged it")]
    Damaged {
        /// Manifest, configuration or layer.
        what: &'static str,
        /// The digest that was asked for.
        expected: Digest,
        /// The digest that came.
        actual: Digest,
    },
    /// Content does not have its size.
    #[error(
        "{what} {digest} is not {announced} bytes long as its manifest says: the registry or the network damaged it"
    )]
    WrongSize {
        /// Configuration or layer.
        what: &'static str,
        /// The content.
        digest: Digest,
        /// The size in the manifest.
        announced: u64,
    },
    /// A manifest or configuration that cannot be accepted.
    #[error("image {image} cannot be used: {reason}")]
    Unusable {
        /// The image as people write it.
        image: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A layer cannot be inflated.
    #[error("layer {layer} cannot be decompressed: {reason}")]
    Inflate {
        /// The layer's blob.
        layer: Digest,
        /// What is wrong.
        reason: String,
    },
    /// The process that unpacks a layer failed, not the layer.
    #[error("layer {layer} is not unpacked: the process that does it failed: {reason}")]
    Helper {
        /// The layer's blob.
        layer: Digest,
        /// How.
        reason: String,
    },
    /// A layer cannot be unpacked.
    #[error("layer {layer} cannot be unpacked: {fault}")]
    Unpack {
        /// The layer's blob.
        layer: Digest,
        /// What is wrong.
        fault: UnpackError,
    },
    /// A layer is not the one that the configuration names.
    #[error("layer {layer} unpacks to {actual}, but the image's configuration says {expected}")]
    WrongLayer {
        /// The layer's blob.
        layer: Digest,
        /// The diff id in the configuration.
        expected: DiffId,
        /// The diff id that came.
        actual: DiffId,
    },
    /// The image could not be built from what was given.
    #[error("cannot import {image}: {reason}")]
    Import {
        /// The image as people write it.
        image: String,
        /// What is wrong.
        reason: String,
    },
    /// The registry has a limit of requests, and it is reached.
    #[error("registry {registry} is asked too often{}, for {what}: try again {}, or log in (ctl login {registry}) if you are not", shown_limit(limit.as_ref()), shown_wait(wait.as_ref()))]
    RateLimited {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
        /// What it wants us to wait.
        wait: Option<Duration>,
        /// Requests that it allows, and within how many seconds.
        limit: Option<(u64, u64)>,
    },
    /// Nobody that this host trusts vouches for the registry.
    #[error(
        "registry {registry} is not who it says, or nobody that this host trusts vouches for it ({reason}); give its CA in the agent's registries file or in /etc/docker/certs.d/{registry}/ca.crt"
    )]
    Untrusted {
        /// The registry.
        registry: String,
        /// What the TLS library said.
        reason: String,
    },
    /// The registry answers in plain http.
    #[error(
        "registry {registry} does not speak TLS; if that is meant, give the agent --insecure-registry {registry}"
    )]
    NoTls {
        /// The registry.
        registry: String,
    },
    /// A token service that may not see the credentials refuses to go without.
    #[error(
        "registry {registry} wants a token of {realm}, which gets no credentials for it; if you trust that host, list it under token_hosts of {registry} in the agent's registries file"
    )]
    Realm {
        /// The registry.
        registry: String,
        /// The host of its token service.
        realm: String,
    },
    /// Certificates for a registry cannot be used.
    #[error("cannot use the certificates for registry {registry}: {reason}")]
    Certificates {
        /// The registry.
        registry: String,
        /// Which, and why.
        reason: String,
    },
    /// The client cannot be set up.
    #[error("cannot set up TLS for registries: {reason}; is the package ca-certificates installed?")]
    Tls {
        /// What the TLS library said.
        reason: String,
    },
    /// The credentials file cannot be read.
    #[error("cannot read registry credentials in {}: {reason}", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// No image here has that name or id.
    #[error("image {image} is not on this host; `ctl image ls` shows those that are")]
    Absent {
        /// What was asked for.
        image: String,
    },
    /// Neither a name nor an id.
    #[error("{0}")]
    Malformed(String),
    /// The beginning of several ids.
    #[error("{text:?} is the beginning of {count} image ids; give more of it")]
    Ambiguous {
        /// What was asked for.
        text: String,
        /// So many.
        count: usize,
    },
    /// Containers were made from it.
    #[error("image {image} is used by {}: {next}", containers.join(", "))]
    InUse {
        /// What was asked for.
        image: String,
        /// The containers, with what they do.
        containers: Vec<String>,
        /// What to do.
        next: &'static str,
    },
    /// It has several names, and not all of them were meant.
    #[error("image {image} has several names ({}): remove those, or all of them with --force", names.join(", "))]
    SeveralNames {
        /// What was asked for.
        image: String,
        /// Its names.
        names: Vec<String>,
    },
    /// An archive that holds no images.
    #[error("the archive cannot be loaded: {reason}")]
    Archive {
        /// What is wrong with it.
        reason: String,
    },
    /// The reader of an archive has gone.
    #[error("nobody reads the archive any more")]
    ReaderGone,
    /// The pull was stopped from outside.
    #[error("the pull was interrupted")]
    Interrupted,
    /// The content store.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The snapshot store.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The records.
    #[error(transparent)]
    Records(#[from] RecordsError),
}

impl PullError {
    /// Translates what the content store says of a blob that arrives from a registry.
    pub(super) fn arriving(what: &'static str, digest: &Digest, fault: ContentError) -> Self {
        match fault {
            ContentError::Mismatch { expected, actual } => Self::Damaged { what, expected, actual },
            ContentError::Truncated { announced, .. } | ContentError::TooLarge { limit: announced } => {
                Self::WrongSize { what, digest: digest.clone(), announced }
            }
            other => Self::Content(other),
        }
    }
}

fn shown_limit(limit: Option<&(u64, u64)>) -> String {
    limit
        .map(|(requests, seconds)| format!(" (it allows {requests} times in {})", span(*seconds)))
        .unwrap_or_default()
}

fn shown_wait(wait: Option<&Duration>) -> String {
    wait.map_or_else(|| "later".to_owned(), |wait| format!("in {}", span(wait.as_secs())))
}

/// Seconds in the largest unit that they fill.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86400),
    }
}

impl From<tokio::task::JoinError> for PullError {
    fn from(_: tokio::task::JoinError) -> Self {
        Self::Interrupted
    }
}
