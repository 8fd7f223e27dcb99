//! The one object that says which cluster this is.

use serde::{Deserialize, Serialize};

use crate::{ids::ClusterId, time::Timestamp};

/// Made once, by the first controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Names the cluster in every certificate.
    pub id: ClusterId,
    /// The root certificate, DER. Public.
    pub root_der: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
}
