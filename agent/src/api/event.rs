//! The gRPC service `Events`: what happens on this host. A reader that is slow
//! is told how much it missed; nothing waits for it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agent_engine::{Event, Listening};
use proto::v1;
use proto::v1::events_server::Events;
use proto::v1::follow_events_response::Message;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::filter::Filters;
use super::{Answers, Api, STREAM_QUEUE, traced};

const KEYS: [&str; 9] =
    ["container", "daemon", "event", "image", "label", "network", "scope", "type", "volume"];

/// What Docker tells of. Those that are not told here match nothing; a word that is none is a mistake.
const TYPES: [&str; 11] = [
    "builder",
    "config",
    "container",
    "daemon",
    "image",
    "network",
    "node",
    "plugin",
    "secret",
    "service",
    "volume",
];

#[tonic::async_trait]
impl Events for Api {
    type FollowEventsStream = Answers<v1::FollowEventsResponse>;

    async fn follow_events(
        &self,
        request: Request<v1::FollowEventsRequest>,
    ) -> Result<Response<Self::FollowEventsStream>, Status> {
        traced("FollowEvents", request, async |request| {
            let filters = Filters::new(request.filters, &KEYS)?;
            filters.check("type", &TYPES)?;
            filters.check("scope", &["local", "swarm"])?;
            let listening = self.engine.listen();
            let (sender, receiver) = mpsc::channel(STREAM_QUEUE);
            let wanted = Wanted { since_ns: request.since_ns, until_ns: request.until_ns, filters };
            let stop = self.shutdown.token();
            tokio::spawn(async move {
                let followed = follow(listening, &wanted, &sender);
                tokio::select! { _ = followed => {}, () = stop.cancelled() => {}, () = sender.closed() => {} }
            });
            Ok(Box::pin(ReceiverStream::new(receiver)) as Answers<_>)
        })
        .await
    }
}

/// What somebody wants to know.
struct Wanted {
    since_ns: Option<u64>,
    until_ns: Option<u64>,
    filters: Filters,
}

type Sender = mpsc::Sender<Result<v1::FollowEventsResponse, Status>>;

/// Nobody listens any more.
struct Gone;

async fn follow(mut listening: Listening, wanted: &Wanted, sender: &Sender) -> Result<(), Gone> {
    if let Some(since) = wanted.since_ns {
        let lost = listening.past.first().map_or(0, |oldest| oldest.number - 1);
        if lost > 0 && listening.past.first().is_some_and(|oldest| oldest.at_ns > since) {
            say(sender, Message::Missed(lost)).await?;
        }
        for event in &listening.past {
            if event.at_ns >= since {
                wanted.tell(event, sender).await?;
            }
        }
    }
    drop(std::mem::take(&mut listening.past));
    let end = wanted.until_ns.map(|until| tokio::time::Instant::now() + left(until));
    loop {
        let next = async {
            match end {
                Some(end) => tokio::time::timeout_at(end, listening.live.recv()).await.ok(),
                None => Some(listening.live.recv().await),
            }
        };
        match next.await {
            Some(Ok(event)) => wanted.tell(&event, sender).await?,
            Some(Err(RecvError::Lagged(missed))) => say(sender, Message::Missed(missed)).await?,
            Some(Err(RecvError::Closed)) | None => return Ok(()),
        }
    }
}

/// The time until then; none when it has passed.
fn left(until_ns: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_nanos(until_ns).saturating_sub(now)
}

async fn say(sender: &Sender, message: Message) -> Result<(), Gone> {
    sender.send(Ok(v1::FollowEventsResponse { message: Some(message) })).await.map_err(|_| Gone)
}

impl Wanted {
    async fn tell(&self, event: &Arc<Event>, sender: &Sender) -> Result<(), Gone> {
        if self.until_ns.is_some_and(|until| event.at_ns > until) || !admits(&self.filters, event) {
            return Ok(());
        }
        let told = v1::Event {
            number: event.number,
            at_ns: event.at_ns,
            r#type: event.subject.to_string(),
            action: event.action.clone(),
            actor: event.actor.clone(),
            attributes: event.attributes.clone().into_iter().collect(),
        };
        say(sender, Message::Event(told)).await
    }
}

fn admits(filters: &Filters, event: &Event) -> bool {
    let subject = event.subject.to_string();
    let attribute = |key: &str| event.attributes.get(key).map(String::as_str);
    // An object is asked for by its own kind: an image by the name of its containers too.
    let is_called = |kind: &str, wanted: &str| {
        subject == kind
            && !wanted.is_empty()
            && (attribute("name") == Some(wanted)
                || event.actor == wanted
                || (kind == "container" && event.actor.starts_with(wanted)))
    };
    filters.admits("type", |wanted| wanted == subject)
        && filters.admits("event", |wanted| {
            event.action == wanted || event.action.split(':').next() == Some(wanted)
        })
        && filters.admits("scope", |wanted| wanted == "local")
        && filters.admits("daemon", |wanted| is_called("daemon", wanted))
        && filters.admits("container", |wanted| is_called("container", wanted))
        && filters.admits("network", |wanted| is_called("network", wanted))
        && filters.admits("volume", |wanted| is_called("volume", wanted))
        && filters.admits("image", |wanted| is_called("image", wanted) || attribute("image") == Some(wanted))
        && filters.admits_labels(|key| attribute(key).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use agent_engine::Subject;

    use super::*;

    fn event() -> Event {
        let attributes = [("name", "web"), ("image", "hello"), ("part", "db")];
        Event {
            number: 1,
            at_ns: 5,
            subject: Subject::Container,
            action: "exec_create: ls -l".to_owned(),
            actor: "abcdef".to_owned(),
            attributes: attributes.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        }
    }

    #[test]
    fn filters_know_names_ids_and_the_kinds_of_things() {
        let admitted = |key: &str, value: &str| {
            let given = vec![v1::Filter { key: key.to_owned(), value: value.to_owned() }];
            admits(&Filters::new(given, &KEYS).unwrap(), &event())
        };
        for (key, value) in [
            ("container", "web"),
            ("container", "abc"),
            ("event", "exec_create"),
            ("event", "exec_create: ls -l"),
            ("image", "hello"),
            ("type", "container"),
            ("label", "part=db"),
            ("scope", "local"),
        ] {
            assert!(admitted(key, value), "{key}={value}");
        }
        for (key, value) in [
            ("container", "we"),
            ("container", ""),
            ("event", "exec"),
            ("image", "web"),
            ("type", "image"),
            ("volume", "web"),
            ("label", "part=x"),
            ("scope", "swarm"),
            ("daemon", "web"),
        ] {
            assert!(!admitted(key, value), "{key}={value}");
        }
    }

    #[tokio::test]
    async fn who_asks_for_the_past_learns_what_is_no_longer_known() {
        let events = agent_engine::Events::default();
        for _ in 0..1_003 {
            events.tell(Subject::Container, "start", "c", BTreeMap::new());
        }
        let (sender, mut receiver) = mpsc::channel(2_000);
        let filters = Filters::default();
        let wanted = Wanted { since_ns: Some(0), until_ns: Some(u64::MAX), filters };
        let asked = follow(events.listen(), &wanted, &sender);
        let _ = tokio::time::timeout(Duration::from_millis(50), asked).await;
        let first = receiver.recv().await.unwrap().unwrap().message;
        assert_eq!(first, Some(Message::Missed(3)));
        let second = receiver.recv().await.unwrap().unwrap().message;
        assert!(matches!(second, Some(Message::Event(event)) if event.number == 4));
    }
}
