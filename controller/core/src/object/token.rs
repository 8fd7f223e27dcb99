//! Join tokens. The State knows a token by the hash of its secret only.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// What the holder of a token becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A node of the cluster.
    Agent,
}

/// Lets agents join until it expires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Of the secret; also its key.
    pub hash: String,
    /// The only role it gives.
    pub role: Role,
    /// From then on it is refused.
    pub expires: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
}
