//! What a registry says when it refuses: status, its own words, and how long it wants to be left alone. All of it is
//! foreign text: bounded, and without control characters.

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderName, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde::Deserialize;

use super::transport::text;

/// Longest answer that is looked at, in bytes.
const MAX_BODY: usize = 16 << 10;
/// The time for it.
const PATIENCE: Duration = Duration::from_secs(3);
/// Characters of its words that are shown.
const SHOWN: usize = 200;
/// Docker Hub's, such as `100;w=21600`.
const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");

/// An answer that is not a success.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// What it wants us to wait.
    pub(super) wait: Option<Duration>,
    /// How often it may be asked: requests, and within how many seconds.
    pub(super) limit: Option<(u64, u64)>,
    /// In its own words.
    pub(super) message: Option<String>,
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<Fault>,
}

#[derive(Deserialize)]
struct Fault {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// Reads as much of the answer as is of use.
pub(super) async fn read(mut response: Response) -> Refusal {
    let (status, headers) = (response.status(), response.headers());
    let wait = text(headers, &RETRY_AFTER).and_then(|value| wait(&value, SystemTime::now()));
    let limit = text(headers, &LIMIT).and_then(|value| limit(&value));
    let mut body = Vec::new();
    let reading = async {
        while let Ok(Some(piece)) = response.chunk().await {
            body.extend_from_slice(piece.get(..piece.len().min(MAX_BODY - body.len())).unwrap_or_default());
            if body.len() >= MAX_BODY {
                break;
            }
        }
    };
    // Its words are of use, not needed.
    let _ = tokio::time::timeout(PATIENCE, reading).await;
    Refusal { status, wait, limit, message: message(&body) }
}

/// `Retry-After`: seconds, or a date (RFC 9110, 10.2.3).
fn wait(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value.trim()).ok()?;
    let seconds = u64::try_from(date.timestamp().as_second()).ok()?;
    let date = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
    Some(date.duration_since(now).unwrap_or_default())
}

fn limit(value: &str) -> Option<(u64, u64)> {
    let (requests, window) = value.split_once(";w=")?;
    Some((requests.trim().parse().ok()?, window.trim().parse().ok()?))
}

fn message(body: &[u8]) -> Option<String> {
    let errors: Errors = serde_json::from_slice(body).ok()?;
    let first = errors.errors.into_iter().next()?;
    let words = if first.message.is_empty() { first.code } else { first.message };
    let shown: String = words.chars().filter(|character| !character.is_control()).take(SHOWN).collect();
    Some(shown).filter(|shown| !shown.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_seconds_or_dates() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_700);
        assert_eq!(wait("120", now), Some(Duration::from_secs(120)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(77)));
        assert_eq!(wait("Sun, 06 Nov 1983 08:49:37 GMT", now), Some(Duration::ZERO));
        assert_eq!(wait("99999999999999999999999", now), None);
        assert_eq!(wait("tomorrow", now), None);
        assert_eq!(limit("100;w=21600"), Some((100, 21600)));
        assert_eq!(limit("100"), None);
    }

    #[test]
    fn its_words_are_shown_without_control_characters() {
        let body = br#"{"errors":[{"code":"X","message":"no\u001b[31m\n way"},{"message":"second"}]}"#;
        assert_eq!(message(body).as_deref(), Some("no[31m way"));
        assert_eq!(message(br#"{"errors":[{"code":"DENIED"}]}"#).as_deref(), Some("DENIED"));
        assert_eq!(message(b"<html>"), None);
        assert_eq!(message(br#"{"errors":[]}"#), None);
    }
}
