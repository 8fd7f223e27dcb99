//! It asks for credentials where they must not go, or without end.

use super::*;

/// The token service that is the registry itself.
fn own(request: &Seen) -> String {
    let host = request.head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    format!("http://{host}/token")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_service_elsewhere_gets_no_credentials() {
    let (said, heard) = play("realm on another host, plain", |_, to| bearer(&to.address)).await;
    assert!(said.contains("neither https nor on the registry's own host"), "{said}");
    assert_eq!(heard, "");
    let (said, heard) = play("realm on another host, with TLS", |_, to| bearer(&to.tls)).await;
    assert!(said.contains("gets no credentials") && said.contains("token_hosts"), "{said}");
    assert!(heard.contains("GET /?service=s&scope="), "it is asked, anonymously: {heard}");
    let (said, _) =
        play("realm with a user in it", |_, to| bearer(&to.address.replace("http://", "http://127.0.0.1@")))
            .await;
    assert!(said.contains("has a user in it"), "{said}");
    for realm in ["file:///etc/shadow", "gopher://127.0.0.2/", "//127.0.0.2/token", "token"] {
        let (said, _) = play(realm, move |_, _| bearer(realm)).await;
        assert!(said.contains("its token service"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_service_that_redirects_is_not_followed() {
    let (said, heard) = play("token service redirects", |request, to| {
        if request.path.starts_with("/token") {
            Answer::status(307).header("location", to.port.clone())
        } else {
            bearer(&own(request))
        }
    })
    .await;
    assert!(said.contains("307") && said.contains("a token for app"), "{said}");
    assert_eq!(heard, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_one_registry_goes_nowhere_else() {
    let image = Pushed::small();
    let (said, heard) = play("a token, then a redirect", move |request, to| {
        if request.path.starts_with("/token") {
            Answer::ok(format!(r#"{{"token":"{TOKEN}"}}"#).as_bytes())
        } else if request.authorization.is_none() {
            bearer(&own(request))
        } else if request.path.contains("/blobs/") {
            Answer::status(307).header("location", format!("{}/x", to.port))
        } else {
            properly(&image, request)
        }
    })
    .await;
    assert!(said.contains("401"), "{said}");
    assert!(heard.contains("GET /x"), "{heard}");
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_again_and_again_ends() {
    let (said, _) = play("endless Basic", |_, _| basic()).await;
    assert!(said.contains("denies access"), "{said}");
    let (said, _) = play("endless Bearer", |request, _| {
        if request.path.starts_with("/token") {
            Answer::ok(br#"{"token":"t"}"#)
        } else {
            bearer(&own(request))
        }
    })
    .await;
    assert!(said.contains("denies access"), "{said}");
    let (said, _) = play("a token service that wants a token", |request, _| bearer(&own(request))).await;
    assert!(said.contains("denies access"), "{said}");
    let (said, _) = play("ten thousand challenges in one", |_, _| {
        Answer::status(401).header("www-authenticate", "Basic realm=\"x\", ".repeat(10_000))
    })
    .await;
    assert!(said.contains("denies access") || said.contains("cannot reach"), "{said}");
    let (said, _) =
        play("a challenge nobody knows", |_, _| Answer::status(401).header("www-authenticate", "Negotiate"))
            .await;
    assert!(said.contains("denies access"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_token_service_says_is_bounded_and_checked() {
    let say = |what: &'static str, answer: Answer| async move {
        let (said, _) = play(what, move |request, _| {
            if request.path.starts_with("/token") { answer.clone() } else { bearer(&own(request)) }
        })
        .await;
        said
    };
    let said = say("an endless token", Answer { endless: true, ..Answer::ok(b"") }).await;
    assert!(said.contains("longer than 65536 bytes"), "{said}");
    let said =
        say("a slow token", Answer { trickle: Duration::from_millis(100), ..Answer::ok(&[b' '; 500]) }).await;
    assert!(said.contains("sent nothing of"), "{said}");
    let smuggled = Answer::ok(br#"{"token":"a\r\nHost: evil"}"#);
    assert!(say("a token with a header in it", smuggled).await.contains("sent no token"));
    assert!(
        say("a token that is no text", Answer::ok(br#"{"token":{"a":1}}"#)).await.contains("sent no token")
    );
    assert!(say("no token", Answer::ok(b"<html>")).await.contains("sent no token"));
    let later = Answer::status(429).header("retry-after", "999999999");
    assert!(say("a token in thirty years", later).await.contains("days"));
}
