//! The objects of one host beside containers: images.

use proto::v1;
use serde::Serialize;

use super::{Row, bytes, short_image};
use crate::output::time;

/// An image of this host.
#[derive(Debug, Serialize)]
pub struct ImageRow {
    name: String,
    digest: String,
    size_bytes: u64,
    created_at: String,
}

impl From<&v1::Image> for ImageRow {
    fn from(image: &v1::Image) -> Self {
        Self {
            name: short_image(&image.name),
            digest: image.digest.clone(),
            size_bytes: image.size_bytes,
            created_at: time::rfc3339(image.created_at_ms),
        }
    }
}

impl Row for ImageRow {
    fn headings() -> Vec<&'static str> {
        vec!["NAME", "DIGEST", "SIZE"]
    }
    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.digest.chars().take(19).collect(), bytes(self.size_bytes)]
    }
}
