//! The images of an OCI image layout: what `index.json` names. An index below it stays an image of several variants.

use serde::Deserialize;

use crate::image::graph::Link;
use crate::image::manifest::MAX_MANIFEST;
use crate::image::save::{IMAGE_NAME, REF_NAME};
use crate::image::{Inner, PullError, Reference};

use super::archive::Files;
use super::{Root, join};

#[derive(Debug, Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Link>,
}

/// The images; `None` when the archive is no layout.
pub(super) fn roots(inner: &Inner, files: &Files) -> Result<Option<Vec<Root>>, PullError> {
    let refuse = |reason: String| PullError::Archive { reason };
    let Some(bytes) = files.read(inner, "index.json", MAX_MANIFEST)? else { return Ok(None) };
    let index: Index = serde_json::from_slice(&bytes)
        .map_err(|fault| refuse(format!("its index.json does not parse: {fault}")))?;
    if index.manifests.is_empty() {
        return Err(refuse("its index.json names no images".to_owned()));
    }
    for link in &index.manifests {
        let path = format!("blobs/{}/{}", link.digest.algorithm().name(), link.digest.hex());
        if files.get(&path).is_none() {
            return Err(refuse(format!("its index.json names {}, which is not in it", link.digest)));
        }
    }
    let named = index.manifests.iter().map(|link| (link.digest.clone(), name(link)));
    Ok(Some(join(named)))
}

/// A whole name. In the annotation of the specification some write a tag alone, which names nothing.
fn name(link: &Link) -> Option<Reference> {
    let whole = link.annotation(IMAGE_NAME).and_then(|name| name.parse().ok());
    whole.or_else(|| {
        let name = link.annotation(REF_NAME)?;
        name.contains(['/', ':']).then(|| name.parse().ok())?
    })
}
