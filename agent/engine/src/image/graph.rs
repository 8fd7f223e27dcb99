//! What a document leads to: an index to manifests, a manifest to its configuration and layers. Leniently read,
//! because keeping something whole must not depend on understanding it: artifacts, attestations and documents of
//! unknown types are kept by their descriptors. What is run is read strictly, by [`super::manifest`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::manifest::MAX_MANIFEST;
use super::platform::Platform;
use crate::content::{ContentError, ContentStore, Digest};

/// Indexes within indexes.
const DEPTH: usize = 8;

/// The annotation of an attestation: which manifest it is about.
pub(super) const ABOUT: &str = "vnd.docker.reference.digest";

/// What names a blob.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Link {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: Digest,
    #[serde(default)]
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) annotations: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) artifact_type: Option<String>,
}

impl Link {
    /// The value of an annotation.
    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }
}

/// A document, as far as it leads somewhere.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Node {
    #[serde(default)]
    pub(super) media_type: Option<String>,
    #[serde(default)]
    pub(super) config: Option<Link>,
    #[serde(default)]
    pub(super) layers: Option<Vec<Link>>,
    /// What early artifacts have for layers.
    #[serde(default)]
    blobs: Option<Vec<Link>>,
    #[serde(default)]
    pub(super) manifests: Option<Vec<Link>>,
}

impl Node {
    /// Documents it names.
    pub(super) fn children(&self) -> &[Link] {
        self.manifests.as_deref().unwrap_or_default()
    }

    /// Blobs it names that lead nowhere.
    pub(super) fn leaves(&self) -> impl Iterator<Item = &Link> {
        let lists = [self.layers.as_deref(), self.blobs.as_deref()];
        self.config.iter().chain(lists.into_iter().flatten().flatten())
    }
}

/// Reads a document; `None` when it is not here.
pub(super) fn read(content: &dyn ContentStore, digest: &Digest) -> Result<Option<Node>, ContentError> {
    let bytes = match content.read_all(digest, MAX_MANIFEST) {
        Ok(bytes) => bytes,
        Err(ContentError::Missing { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let node = serde_json::from_slice(&bytes).map_err(|fault| ContentError::Blob {
        digest: digest.clone(),
        reason: format!("it is no manifest: {fault}"),
    })?;
    Ok(Some(node))
}

/// Adds to `into` everything that `root` leads to, itself included, whether it is here or not. Blocking.
///
/// # Errors
/// When the store cannot be read. A document that is damaged leads nowhere: that is told, and no failure.
pub(super) fn reach(
    content: &dyn ContentStore,
    root: &Digest,
    into: &mut BTreeSet<Digest>,
) -> Result<(), ContentError> {
    let (mut waiting, mut walked) = (vec![(root.clone(), 0)], BTreeSet::new());
    while let Some((digest, depth)) = waiting.pop() {
        if !walked.insert(digest.clone()) {
            continue;
        }
        let node = match read(content, &digest) {
            Ok(node) => node.unwrap_or_default(),
            Err(error @ ContentError::Store { .. }) => return Err(error),
            Err(error) => {
                tracing::warn!(%digest, %error, "a manifest is damaged: what it names is not known");
                Node::default()
            }
        };
        into.insert(digest);
        into.extend(node.leaves().map(|link| link.digest.clone()));
        for child in node.children() {
            if depth < DEPTH {
                waiting.push((child.digest.clone(), depth + 1));
            }
        }
    }
    Ok(())
}

/// The manifests below `root` that are no indexes, with their descriptors, in the order of the indexes; those that
/// are not here too. `root` itself when it is a manifest.
pub(super) fn manifests(
    content: &dyn ContentStore,
    root: &Link,
) -> Result<Vec<(Link, Option<Node>)>, ContentError> {
    let (mut found, mut walked) = (Vec::new(), BTreeSet::new());
    let mut waiting = vec![(root.clone(), 0)];
    while let Some((link, depth)) = waiting.pop() {
        if !walked.insert(link.digest.clone()) {
            continue;
        }
        match read(content, &link.digest)? {
            Some(node) if node.manifests.is_some() => {
                let below = node.manifests.unwrap_or_default();
                if depth < DEPTH {
                    waiting.extend(below.into_iter().rev().map(|child| (child, depth + 1)));
                }
            }
            node => found.push((link, node)),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::content::{Expected, LocalContent};

    fn put(content: &LocalContent, value: &serde_json::Value) -> Digest {
        content.write_all(value.to_string().as_bytes(), Expected::default()).unwrap()
    }

    #[test]
    fn an_index_leads_to_everything_of_the_manifests_that_are_here_and_to_the_names_of_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let content = LocalContent::open(dir.path()).unwrap();
        let [config, layer, absent] = [b"config", b"layer_", b"absent"].map(|bytes| Digest::of(bytes));
        let manifest = json!({"config": {"digest": config}, "layers": [{"digest": layer}]});
        let manifest = put(&content, &manifest);
        let index =
            json!({"manifests": [{"digest": manifest}, {"digest": absent, "platform": {"os": "plan9"}}]});
        let index = put(&content, &index);
        let mut found = BTreeSet::new();
        reach(&content, &index, &mut found).unwrap();
        assert_eq!(found, BTreeSet::from([config, layer, absent.clone(), manifest.clone(), index.clone()]));
        let root: Link = serde_json::from_value(json!({"digest": index})).unwrap();
        let listed = manifests(&content, &root).unwrap();
        let listed: Vec<_> =
            listed.iter().map(|(link, node)| (link.digest.clone(), node.is_some())).collect();
        assert_eq!(listed, [(manifest, true), (absent, false)]);
    }

    #[test]
    fn a_document_that_is_none_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let content = LocalContent::open(dir.path()).unwrap();
        let root = content.write_all(b"not json", Expected::default()).unwrap();
        let mut found = BTreeSet::new();
        reach(&content, &root, &mut found).unwrap();
        assert_eq!(found, BTreeSet::from([root]));
    }
}
