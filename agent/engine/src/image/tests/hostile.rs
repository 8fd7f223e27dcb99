//! A hostile registry, case by case: what it tries, and what must come of it. In each case the registry has credentials
//! of ours, and other hosts (another address, another port, one with TLS that we trust) listen. Afterwards: no byte of
//! any secret reached them, the pull failed in bounded time with words that say why, and nothing is left behind.

use std::time::{Duration, Instant};

use super::server::{Answer, Certificate, Seen, Server, properly};
use super::*;
use crate::image::RegistrySettings;

mod bodies;
mod documents;
mod logins;
mod redirects;

/// What is secret, in every form in which it travels.
const USER: &str = "alice";
const PASSWORD: &str = "correct-horse-battery";
const ENCODED: &str = "YWxpY2U6Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5";
const TOKEN: &str = "tok-5ecret-of-the-registry";

/// Longer than this no case may take.
const LIMIT: Duration = Duration::from_secs(20);

/// The other hosts.
struct Others {
    /// Another port of the registry's host.
    port: Server,
    /// Another address.
    address: Server,
    /// Another address, with TLS and a certificate that this host trusts.
    tls: Server,
}

/// Where they are: `http://…` and `https://…`.
#[derive(Clone)]
struct Addresses {
    port: String,
    address: String,
    tls: String,
}

impl Others {
    async fn start(certs: &Path) -> Self {
        let greedy = |seen: &Seen| match seen.authorization {
            Some(_) => Answer::ok(br#"{"token":"thanks"}"#),
            None => Answer::status(401).header("www-authenticate", "Basic realm=\"give\""),
        };
        let certificate = Certificate::new(&["127.0.0.3"]);
        let tls = Server::start_at("127.0.0.3", Some(&certificate), greedy).await;
        certificate.trust(certs, &tls.address);
        Self {
            port: Server::start(greedy).await,
            address: Server::start_at("127.0.0.2", None, greedy).await,
            tls,
        }
    }

    fn addresses(&self) -> Addresses {
        Addresses {
            port: format!("http://{}", self.port.address),
            address: format!("http://{}", self.address.address),
            tls: format!("https://{}", self.tls.address),
        }
    }

    /// All that they were ever sent.
    fn received(&self) -> String {
        [&self.port, &self.address, &self.tls].map(Server::received).concat()
    }
}

/// Plays one case: a registry that answers like this. Answers what the pull said, and what the other hosts heard.
async fn play(
    what: &str,
    registry: impl Fn(&Seen, &Addresses) -> Answer + Send + Sync + 'static,
) -> (String, String) {
    play_as(what, None, registry).await
}

/// As [`play`]; `certificate` makes the registry speak TLS.
async fn play_as(
    what: &str,
    certificate: Option<&Certificate>,
    registry: impl Fn(&Seen, &Addresses) -> Answer + Send + Sync + 'static,
) -> (String, String) {
    let dir = tempfile::tempdir().unwrap();
    let (certs, config) = (dir.path().join("certs.d"), dir.path().join("config.json"));
    let others = Others::start(&certs).await;
    let addresses = others.addresses();
    let server = Server::start_at("127.0.0.1", certificate, move |seen| registry(seen, &addresses)).await;
    if let Some(certificate) = certificate {
        certificate.trust(&certs, &server.address);
    }
    let auths = json!({"auths": {server.address.clone(): {"username": USER, "password": PASSWORD}}});
    fs::write(&config, auths.to_string()).unwrap();
    let host = Host::with(RegistryOptions {
        settings: RegistrySettings::default().with_certs_dir(certs),
        docker_config: Some(config),
        stall_timeout: Duration::from_millis(400),
        connect_timeout: Duration::from_secs(2),
        ..RegistryOptions::default()
    })
    .await;
    let begun = Instant::now();
    let name = format!("{}/app:1", server.address);
    let outcome = tokio::time::timeout(LIMIT, host.pull(&name)).await;
    let outcome = outcome.unwrap_or_else(|_| panic!("{what}: it did not end in {LIMIT:?}"));
    let fault = outcome.map(drop).expect_err(what);
    let heard = others.received();
    for secret in [USER, PASSWORD, ENCODED, TOKEN] {
        assert!(!heard.contains(secret), "{what}: another host heard {secret}: {heard}");
    }
    assert!(!server.received().to_lowercase().contains("\r\ncookie:"), "{what}: it got its cookie back");
    host.assert_untouched().await;
    let said = format!("{fault} {fault:?}");
    for secret in [PASSWORD, ENCODED, TOKEN] {
        assert!(!said.contains(secret), "{what}: the message has {secret}: {said}");
    }
    let shown = fault.to_string();
    assert!(!shown.chars().any(char::is_control), "{what}: the message has control characters: {shown:?}");
    assert!(shown.len() < 700, "{what}: the message is too long: {shown}");
    let took = begun.elapsed();
    assert!(took < LIMIT, "{what}: {took:?}");
    (shown, heard)
}

/// A challenge that wants a token of `realm`.
fn bearer(realm: &str) -> Answer {
    Answer::status(401).header("www-authenticate", format!("Bearer realm=\"{realm}\",service=\"s\""))
}

fn basic() -> Answer {
    Answer::status(401).header("www-authenticate", "Basic realm=\"x\"")
}

/// What a registry does that wants a password and then behaves, but for `spoil`.
fn behind_login(image: &Pushed, request: &Seen, spoil: impl Fn(&Seen, Answer) -> Answer) -> Answer {
    match request.authorization {
        None => basic(),
        Some(_) => spoil(request, properly(image, request)),
    }
}
