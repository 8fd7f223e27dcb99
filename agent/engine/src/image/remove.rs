//! Giving images names and taking them away. What an image leads to goes with its last name, unless containers use
//! it: then it stays without a name until they are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};

use crate::content::Digest;

use super::catalogue::reach;
use super::collect::{self, InUse, Scope};
use super::find;
use super::store::{ImageRecord, Origin};
use super::{ImageFilter, Images, PullError, Reclaimed, Reference};
use crate::container::create::now_ms;
use crate::events::Subject;

/// Manifests whose last use is remembered; of more, the later half.
const MOST_USED: usize = 4096;

/// A container that uses an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// What it is called.
    pub name: String,
    /// Whether it runs.
    pub is_running: bool,
}

/// One thing that a removal did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// A name is gone.
    Untagged(Reference),
    /// The image is gone.
    Deleted(Digest),
}

/// Answers who uses an image, given everything it leads to and all its names.
pub(crate) type Users<'u> = &'u (dyn Fn(&BTreeSet<Digest>, &[Reference]) -> Vec<User> + Send + Sync);

/// Answers what containers rely on.
pub(crate) type AllInUse<'u> = &'u (dyn Fn() -> InUse + Send + Sync);

impl Images {
    /// Gives an image a further name, taking it from another image that had it.
    ///
    /// # Errors
    /// When the image is not here, or the name holds a digest.
    pub async fn tag(&self, image: &str, name: &Reference) -> Result<(), PullError> {
        if name.digest().is_some() {
            return Err(PullError::Malformed(format!(
                "{name} holds a digest, which the content decides: give a name with a tag"
            )));
        }
        let _writing = self.inner.store.exclusively().await;
        let found = find::find(self.inner.store.records().await?, image)?;
        let record = found.record().cloned().ok_or_else(|| PullError::Absent { image: image.to_owned() })?;
        // The name is ours even where the content is a registry's.
        let record = ImageRecord { name: Some(name.clone()), origin: Origin::Here, ..record };
        self.inner.store.put_locked(record, true).await?;
        self.tell("tag", &found.id.to_string(), &name.to_string());
        Ok(())
    }

    /// Takes a name away, and the image if it was its last one; by id, all names and the image. With `force` also
    /// several names at once, and names of what containers use.
    ///
    /// # Errors
    /// When it is not here, or in use.
    pub(crate) async fn remove(
        &self,
        text: &str,
        force: bool,
        users: Users<'_>,
        in_use: AllInUse<'_>,
    ) -> Result<Vec<Removal>, PullError> {
        let (mut done, gone) = {
            let _writing = self.inner.store.exclusively().await;
            let found = find::find(self.inner.store.records().await?, text)?;
            let names = found.names();
            let others = found.name.is_some() && names.len() > 1;
            let (worker, id) = (Arc::clone(&self.inner), found.id.clone());
            let all = tokio::task::spawn_blocking(move || reach(worker.content.as_ref(), &id)).await??;
            let users = if others { Vec::new() } else { users(&all, &names) };
            refuse(text, &found, force, &users)?;
            let removed: Vec<ImageRecord> = match &found.name {
                Some(name) => found
                    .records
                    .iter()
                    .filter(|record| record.name.as_ref() == Some(name))
                    .cloned()
                    .collect(),
                None => found.records.clone(),
            };
            self.inner.store.remove_locked(&removed).await?;
            let untagged = removed.iter().filter_map(|record| record.name.clone());
            let done: Vec<Removal> = untagged.map(Removal::Untagged).collect();
            if others {
                (done, None)
            } else if users.is_empty() {
                (done, Some((found.id.clone(), all)))
            } else {
                if let Some(record) = found.record() {
                    let nameless = ImageRecord { name: None, ..record.clone() };
                    self.inner.store.put_locked(nameless, true).await?;
                }
                (done, None)
            }
        };
        for removal in &done {
            if let Removal::Untagged(name) = removal {
                self.tell("untag", &name.to_string(), &name.to_string());
            }
        }
        if let Some((id, all)) = gone {
            // It is gone by its record; what a failure here leaves goes with the next collection.
            if let Err(error) = collect::collect(&self.inner, in_use, Scope::Only(all)).await {
                tracing::warn!(image = %id, %error, "what a removed image leaves behind is not collected yet");
            }
            self.tell("delete", &id.to_string(), text);
            done.push(Removal::Deleted(id));
        }
        Ok(done)
    }

    /// Removes the images without a name that no container uses, with `all` those with names, too; then everything
    /// that nothing refers to.
    ///
    /// # Errors
    /// When the store cannot be read or written; what was removed before is gone.
    pub(crate) async fn prune(
        &self,
        all: bool,
        filter: &ImageFilter,
        users: Users<'_>,
        in_use: AllInUse<'_>,
    ) -> Result<(Vec<Removal>, Reclaimed), PullError> {
        let mut removed = Vec::new();
        for image in self.summaries(filter, false).await? {
            if all || image.names.is_empty() {
                removed.extend(self.forget(&image.id, all, users).await?.0);
            }
        }
        let reclaimed = collect::collect(&self.inner, in_use, Scope::Everything).await?;
        if let Some(events) = self.inner.told.get() {
            events.tell_pruned(Subject::Image, reclaimed.bytes());
        }
        Ok((removed, reclaimed))
    }
}

impl Images {
    /// Forgets an image unless somebody uses it, or it has a name and `named` ones stay. Answers what was done and
    /// everything it led to, which is garbage then.
    async fn forget(
        &self,
        id: &Digest,
        named: bool,
        users: Users<'_>,
    ) -> Result<(Vec<Removal>, BTreeSet<Digest>), PullError> {
        let (worker, root) = (Arc::clone(&self.inner), id.clone());
        let reached = tokio::task::spawn_blocking(move || reach(worker.content.as_ref(), &root)).await??;
        let _writing = self.inner.store.exclusively().await;
        let records: Vec<ImageRecord> = self.inner.store.records().await?;
        let records: Vec<ImageRecord> = records.into_iter().filter(|record| record.id() == id).collect();
        let names: Vec<Reference> = records.iter().filter_map(|record| record.name.clone()).collect();
        if records.is_empty() || (!named && !names.is_empty()) || !users(&reached, &names).is_empty() {
            return Ok((Vec::new(), BTreeSet::new()));
        }
        self.inner.store.remove_locked(&records).await?;
        let mut removed = Vec::new();
        for name in names {
            self.tell("untag", &name.to_string(), &name.to_string());
            removed.push(Removal::Untagged(name));
        }
        self.tell("delete", &id.to_string(), &id.to_string());
        removed.push(Removal::Deleted(id.clone()));
        Ok((removed, reached))
    }

    /// Says that a container was made of this manifest, or is gone.
    pub(crate) fn touch(&self, manifest: &Digest) {
        let mut used = self.used();
        if used.len() >= MOST_USED {
            let mut times: Vec<u64> = used.values().copied().collect();
            times.sort_unstable();
            let middle = times.get(times.len() / 2).copied().unwrap_or_default();
            used.retain(|_, at| *at > middle);
        }
        used.insert(manifest.clone(), now_ms());
    }

    /// Data behind this lock is valid between any two statements.
    fn used(&self) -> MutexGuard<'_, BTreeMap<Digest, u64>> {
        self.inner.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The images that a registry has, too, and that were neither named nor used since `before_ms`; the longest unused
    /// first. Images without a name among them, wherever they came from: nobody can ask for those.
    pub(crate) async fn expendable(&self, before_ms: u64) -> Result<Vec<Digest>, PullError> {
        let mut last: BTreeMap<Digest, Option<u64>> = BTreeMap::new();
        for record in self.inner.store.records().await? {
            let used = self.used().get(&record.manifest).copied().unwrap_or_default();
            let since = used.max(record.named_at_ms);
            let can_go = record.origin == Origin::Registry || record.name.is_none();
            let entry = last.entry(record.id().clone()).or_insert(Some(0));
            *entry = entry.filter(|_| can_go).map(|other| other.max(since));
        }
        let mut found: Vec<(u64, Digest)> =
            last.into_iter().filter_map(|(id, since)| Some((since?, id))).collect();
        found.retain(|(since, _)| *since < before_ms);
        found.sort();
        Ok(found.into_iter().map(|(_, id)| id).collect())
    }

    /// Removes one image for want of room; answers what that freed, `None` when somebody uses it.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub(crate) async fn make_room(
        &self,
        id: &Digest,
        users: Users<'_>,
        in_use: AllInUse<'_>,
    ) -> Result<Option<Reclaimed>, PullError> {
        let (removed, reached) = self.forget(id, true, users).await?;
        if removed.is_empty() {
            return Ok(None);
        }
        collect::collect(&self.inner, in_use, Scope::Only(reached)).await.map(Some)
    }
}

/// Docker's rules: a name that is not the last goes at once, everything else must be asked for.
fn refuse(text: &str, found: &find::Found, force: bool, users: &[User]) -> Result<(), PullError> {
    let names = found.names();
    let image = text.to_owned();
    if found.name.is_none() && names.len() > 1 && !force {
        return Err(PullError::SeveralNames {
            image,
            names: names.iter().map(ToString::to_string).collect(),
        });
    }
    // What has no name stays as it is while it is used.
    let useless = names.is_empty();
    if users.is_empty() || (force && !useless) {
        return Ok(());
    }
    let containers = users.iter().map(|user| match user.is_running {
        true => format!("{} (running)", user.name),
        false => user.name.clone(),
    });
    let next = match useless {
        true => "it goes once they are removed (`ctl image prune`)",
        false => {
            "remove them, or take away its name with --force; it then stays without one until they are gone"
        }
    };
    Err(PullError::InUse { image, containers: containers.collect(), next })
}
