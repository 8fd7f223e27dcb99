//! What happens on this engine, told to whoever listens, and the last of it
//! kept for who comes later. Both are bounded: a listener that does not keep up
//! loses the oldest and learns how many, and never slows the engine.
//!
//! Whoever makes or removes something tells it here: [`Events::tell_image`] for images, [`Events::tell_pruned`] when
//! all that nobody uses was removed, [`Events::tell`] for everything else. Containers have their own words in
//! `container/event.rs`, which come here too.
//!
//! Deliberately absent: a history that outlives the agent.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::broadcast;

/// So many events are kept.
const KEPT: usize = 1_000;
/// So many bytes of them: labels may be long.
const KEPT_BYTES: usize = 1 << 20;
/// So many events a listener may be behind.
const BEHIND: usize = 256;

/// What kind of object something happened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A volume.
    Volume,
    /// A network.
    Network,
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Subject::Container => "container",
            Subject::Image => "image",
            Subject::Volume => "volume",
            Subject::Network => "network",
        })
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Counts events since the engine was opened, from 1, without gaps.
    pub number: u64,
    /// Nanoseconds since 1970.
    pub at_ns: u64,
    /// To what kind of object.
    pub subject: Subject,
    /// What, in Docker's words: "start", "die", "pull".
    pub action: String,
    /// The id of a container, else the name of the object.
    pub actor: String,
    /// More about it, such as name, image, labels, exit code.
    pub attributes: BTreeMap<String, String>,
}

impl Event {
    fn size(&self) -> usize {
        let text = self.attributes.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        text + self.actor.len() + self.action.len() + size_of::<Event>()
    }
}

/// What a new listener gets.
#[derive(Debug)]
pub struct Listening {
    /// What is kept of what has happened, oldest first.
    pub past: Vec<Arc<Event>>,
    /// What happens from now on.
    pub live: broadcast::Receiver<Arc<Event>>,
}

/// The events of one engine. Clones are the same.
#[derive(Debug, Clone)]
pub struct Events {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    kept: Mutex<Kept>,
    live: broadcast::Sender<Arc<Event>>,
}

#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    last: u64,
}

impl Default for Events {
    fn default() -> Self {
        let inner = Inner { kept: Mutex::default(), live: broadcast::Sender::new(BEHIND) };
        Self { inner: Arc::new(inner) }
    }
}

impl Events {
    /// Tells that something happened, now.
    pub fn tell(
        &self,
        subject: Subject,
        action: impl Into<String>,
        actor: impl Into<String>,
        attributes: BTreeMap<String, String>,
    ) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let mut kept = self.kept();
        kept.last += 1;
        let (number, action, actor) = (kept.last, action.into(), actor.into());
        let event = Arc::new(Event { number, at_ns, subject, action, actor, attributes });
        kept.keep(Arc::clone(&event));
        // Under the lock, so that who begins to listen misses nothing and gets nothing twice. Nobody may listen.
        let _ = self.inner.live.send(event);
    }

    /// Tells of an image, with Docker's word for what was done: `pull`, `push`, `import`, `load`, `save`, `tag`, `untag`,
    /// or `delete` when no name refers to it any more. Once for each name; `digest` is its manifest's, or the name
    /// again where that is not known.
    pub fn tell_image(&self, action: &str, digest: &str, name: &str) {
        self.tell(Subject::Image, action, digest, [("name".to_owned(), name.to_owned())].into());
    }

    /// Tells that all objects of a kind that nobody uses were removed, after each was told; this freed so many bytes.
    pub fn tell_pruned(&self, subject: Subject, bytes: u64) {
        self.tell(subject, "prune", "", [("reclaimed".to_owned(), bytes.to_string())].into());
    }

    /// Begins to listen.
    pub fn listen(&self) -> Listening {
        let kept = self.kept();
        Listening { past: kept.events.iter().cloned().collect(), live: self.inner.live.subscribe() }
    }

    /// The data behind this lock is valid between any two statements.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn keep(&mut self, event: Arc<Event>) {
        self.bytes += event.size();
        self.events.push_back(event);
        while self.events.len() > KEPT || self.bytes > KEPT_BYTES {
            let Some(oldest) = self.events.pop_front() else { return };
            self.bytes -= oldest.size();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(events: &Events, label: &str) {
        let attributes = BTreeMap::from([("label".to_owned(), label.to_owned())]);
        events.tell(Subject::Container, "start", "c", attributes);
    }

    #[tokio::test]
    async fn who_comes_later_gets_the_past_and_then_what_follows_each_once() {
        let events = Events::default();
        tell(&events, "a");
        let mut listening = events.listen();
        tell(&events, "b");
        assert_eq!(listening.past.iter().map(|event| event.number).collect::<Vec<_>>(), [1]);
        assert_eq!(listening.live.recv().await.unwrap().number, 2);
        assert!(listening.live.try_recv().is_err());
    }

    #[test]
    fn the_past_is_bounded_in_number_and_in_bytes() {
        let events = Events::default();
        (0..2 * KEPT).for_each(|_| tell(&events, ""));
        let past = events.listen().past;
        assert_eq!((past.len(), past[0].number), (KEPT, KEPT as u64 + 1));
        let long = "x".repeat(KEPT_BYTES / 4);
        (0..8).for_each(|_| tell(&events, &long));
        let bytes: usize = events.listen().past.iter().map(|event| event.size()).sum();
        assert!(bytes <= KEPT_BYTES, "{bytes}");
    }

    #[tokio::test]
    async fn a_listener_that_sleeps_is_told_how_much_it_missed_and_stops_nobody() {
        let events = Events::default();
        let mut live = events.listen().live;
        (0..3 * BEHIND).for_each(|_| tell(&events, ""));
        let missed = live.recv().await.unwrap_err();
        assert_eq!(missed, broadcast::error::RecvError::Lagged(2 * BEHIND as u64));
        assert_eq!(live.recv().await.unwrap().number, 2 * BEHIND as u64 + 1);
    }
}
