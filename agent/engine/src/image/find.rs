//! Which image is meant: a name as Docker resolves it, a name with a digest, an id, or the beginning of one.

use crate::content::Digest;

use super::store::ImageRecord;
use super::{Image, Images, PullError, Reference};

/// Digits that are enough of an id, if no other one begins with them.
const DIGITS: std::ops::RangeInclusive<usize> = 1..=128;

/// What was meant.
#[derive(Debug, Clone)]
pub struct Found {
    /// The image.
    pub id: Digest,
    /// The name by which it was found; `None` when it was found by its id.
    pub name: Option<Reference>,
    pub(super) records: Vec<ImageRecord>,
}

impl Found {
    /// All its names.
    pub(super) fn names(&self) -> Vec<Reference> {
        self.records.iter().filter_map(|record| record.name.clone()).collect()
    }

    /// What is known of it: the record of the name that was given, or any.
    pub(super) fn record(&self) -> Option<&ImageRecord> {
        let named = self.records.iter().find(|record| self.name.is_some() && record.name == self.name);
        named.or_else(|| self.records.first())
    }
}

impl Images {
    /// Finds the image that `text` means.
    ///
    /// # Errors
    /// [`PullError::Absent`], [`PullError::Ambiguous`], [`PullError::Malformed`].
    pub async fn find(&self, text: &str) -> Result<Found, PullError> {
        find(self.inner.store.records().await?, text)
    }

    /// The image that `text` means; `None` when there is none.
    ///
    /// # Errors
    /// As [`Images::find`], but for [`PullError::Absent`].
    pub async fn get_found(&self, text: &str) -> Result<Option<Image>, PullError> {
        let found = match self.find(text).await {
            Err(PullError::Absent { .. }) => return Ok(None),
            found => found?,
        };
        let Some(record) = found.record().cloned() else { return Ok(None) };
        if record.layers.is_empty() {
            return Err(PullError::Unusable {
                image: text.to_owned(),
                reason: "it is no image that can be run".to_owned(),
            });
        }
        let name = match (found.name, &record.name, text.parse()) {
            (Some(name), ..) => name,
            (None, Some(name), _) => name.clone(),
            (None, None, Ok(name)) => name,
            (None, None, Err(_)) => return Ok(None),
        };
        self.inner.store.load(name, record).await.map(Some)
    }
}

/// Among all records.
pub(super) fn find(records: Vec<ImageRecord>, text: &str) -> Result<Found, PullError> {
    let absent = || PullError::Absent { image: text.chars().take(300).collect() };
    let hex = text.strip_prefix("sha256:").or_else(|| text.strip_prefix("sha512:")).unwrap_or(text);
    let is_hex = DIGITS.contains(&hex.len())
        && hex.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
    // What says that it is a digest, and a whole one, is never a name.
    let is_id_only = is_hex && (text.starts_with("sha256:") || hex.len() == 64);
    let reference = text.parse::<Reference>();
    if let (Ok(reference), false) = (&reference, is_id_only)
        && let Some((id, name)) = by_name(&records, reference)
    {
        return Ok(all_of(records, id, Some(name)));
    }
    if is_hex {
        return match by_id(&records, hex).as_slice() {
            [] => Err(absent()),
            [id] => Ok(all_of(records, id.clone(), None)),
            several => Err(PullError::Ambiguous { text: text.to_owned(), count: several.len() }),
        };
    }
    match reference {
        Ok(_) => Err(absent()),
        Err(fault) => Err(PullError::Malformed(fault.to_string())),
    }
}

/// The very name; else, where a digest is given, a name of that repository for that content.
fn by_name(records: &[ImageRecord], wanted: &Reference) -> Option<(Digest, Reference)> {
    let exact = records.iter().find(|record| record.name.as_ref() == Some(wanted));
    let by_digest = || {
        let digest = wanted.digest()?;
        records.iter().find(|record| {
            record.name.as_ref().is_some_and(|name| {
                (name.domain(), name.path()) == (wanted.domain(), wanted.path())
                    && (wanted.tag().is_none() || wanted.tag() == name.tag())
                    && (record.id() == digest || record.manifest == *digest)
            })
        })
    };
    let record = exact.or_else(by_digest)?;
    Some((record.id().clone(), record.name.clone()?))
}

/// Ids that begin like this; where there are none, images whose manifest or configuration for this host does.
fn by_id(records: &[ImageRecord], hex: &str) -> Vec<Digest> {
    let beginning = |digest: &Digest| digest.hex().starts_with(hex);
    let ids = |fits: &dyn Fn(&ImageRecord) -> bool| {
        let mut ids: Vec<Digest> =
            records.iter().filter(|record| fits(record)).map(|record| record.id().clone()).collect();
        ids.sort();
        ids.dedup();
        ids
    };
    match ids(&|record| beginning(record.id())) {
        none if none.is_empty() => ids(&|record| beginning(&record.manifest) || beginning(&record.config)),
        found => found,
    }
}

fn all_of(records: Vec<ImageRecord>, id: Digest, name: Option<Reference>) -> Found {
    let records = records.into_iter().filter(|record| *record.id() == id).collect();
    Found { id, name, records }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::store::Origin;

    fn record(name: Option<&str>, id: &str) -> ImageRecord {
        let digest: Digest = format!("sha256:{id:0<64}").parse().unwrap();
        ImageRecord {
            name: name.map(|name| name.parse().unwrap()),
            target: Some(digest.clone()),
            manifest: digest.clone(),
            config: Digest::of(id.as_bytes()),
            layers: Vec::new(),
            blobs: Vec::new(),
            size: 0,
            created_at_ms: 0,
            unpacked: true,
            origin: Origin::Here,
            named_at_ms: 0,
        }
    }

    fn found(text: &str) -> Result<String, String> {
        let records = vec![
            record(Some("abc"), "a1"),
            record(Some("ghcr.io/x/y:2"), "a1"),
            record(Some("debian:12"), "abc"),
            record(None, "b2"),
        ];
        find(records, text).map(|found| found.id.hex()[..3].to_owned()).map_err(|fault| fault.to_string())
    }

    #[test]
    fn names_come_before_ids_and_beginnings_must_be_of_one() {
        for (text, id) in [
            ("abc", "a10"),
            ("docker.io/library/abc:latest", "a10"),
            ("ghcr.io/x/y:2", "a10"),
            ("sha256:abc", "abc"),
            ("b2", "b20"),
            ("abc0", "abc"),
            (&format!("{:0<64}", "b2"), "b20"),
            (&format!("ghcr.io/x/y@sha256:{:0<64}", "a1"), "a10"),
        ] {
            assert_eq!(found(text), Ok(id.to_owned()), "{text}");
        }
        assert!(found("a").unwrap_err().contains("beginning of 2"), "{:?}", found("a"));
        for text in ["c", "debian", "ghcr.io/x/y", &format!("debian@sha256:{:0<64}", "a1")] {
            assert!(found(text).unwrap_err().contains("is not on this host"), "{text}");
        }
        assert!(found("UPPER").unwrap_err().contains("lower case"));
    }

    #[test]
    fn all_names_of_an_image_are_found_with_it() {
        let records = vec![record(Some("a"), "a1"), record(Some("b"), "a1"), record(Some("c"), "c1")];
        let found = find(records, "a1").unwrap();
        assert_eq!((found.names().len(), found.name), (2, None));
    }
}
