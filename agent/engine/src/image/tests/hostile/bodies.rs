//! Its answers are too long, too slow, too many, or not what they say.

use super::*;

/// Spoils the answers to requests for `part` of an image that is otherwise served well.
async fn spoiled(
    what: &str,
    part: &'static str,
    spoil: impl Fn(Answer) -> Answer + Send + Sync + 'static,
) -> String {
    let image = Pushed::new(&[tar_of(&[("a", &noise(300_000))])]);
    let layer = image.layers[0].to_string();
    let (said, heard) = play(what, move |request, _| {
        behind_login(&image, request, |request, answer| {
            let meant = match part {
                "layer" => request.path.ends_with(&layer),
                part => request.path.contains(part),
            };
            if meant { spoil(answer) } else { answer }
        })
    })
    .await;
    assert_eq!(heard, "");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_without_end_are_cut() {
    let endless = |answer| Answer { endless: true, ..answer };
    assert!(
        spoiled("an endless manifest", "/manifests/", endless).await.contains("longer than 4194304 bytes")
    );
    assert!(spoiled("an endless layer", "layer", endless).await.contains("it is longer than the"));
    let said = spoiled("an endless configuration", "/blobs/", endless).await;
    assert!(said.contains("it is longer than the"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_are_given_up() {
    let trickling = |answer| Answer { trickle: Duration::from_millis(50), ..answer };
    assert!(spoiled("a trickling manifest", "/manifests/", trickling).await.contains("sent nothing of"));
    let stalled = |answer| Answer { delay: Duration::from_secs(600), ..answer };
    assert!(spoiled("a layer that stops", "layer", stalled).await.contains("sent nothing of layer"));
    let said = spoiled("a trickling layer", "layer", trickling).await;
    assert!(said.contains("too slowly"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_lengths_and_bytes_are_refused() {
    let short = |mut answer: Answer| {
        answer.body.pop();
        answer
    };
    assert!(spoiled("a byte too few", "layer", short).await.contains("bytes long, its manifest says"));
    let long = |mut answer: Answer| {
        answer.body.push(0);
        answer
    };
    assert!(spoiled("a byte too many", "layer", long).await.contains("bytes long, its manifest says"));
    let other = |mut answer: Answer| {
        answer.body[1000] ^= 1;
        answer
    };
    assert!(spoiled("other bytes", "layer", other).await.contains("instead: the registry or the network"));
    assert!(
        spoiled("another configuration", "/blobs/", |mut answer| {
            answer.body[3] ^= 1;
            answer
        })
        .await
        .contains("instead: the registry or the network")
    );
    let huge = |_| Answer {
        raw: Some((b"HTTP/1.1 200 x\r\ncontent-length: 99999999999999999999\r\n\r\n".to_vec(), 1)),
        ..Answer::default()
    };
    assert!(spoiled("a length beyond numbers", "layer", huge).await.contains("cannot reach"));
    let two = |_| Answer {
        raw: Some((b"HTTP/1.1 200 x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab".to_vec(), 1)),
        ..Answer::default()
    };
    assert!(!spoiled("two lengths", "layer", two).await.is_empty());
    let zipped = |answer: Answer| {
        let packed = gzip(&answer.body);
        Answer { body: packed, ..answer }.header("content-encoding", "gzip")
    };
    let said = spoiled("an encoding that nobody asked for", "layer", zipped).await;
    assert!(said.contains("bytes long, its manifest says"), "{said}");
    let said = spoiled("an encoded manifest", "/manifests/", zipped).await;
    assert!(said.contains("manifest does not parse"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lies_about_ranges_are_noticed() {
    let part = |range: &'static str| {
        move |answer: Answer| Answer { status: 206, ..answer }.header("content-range", range)
    };
    let said = spoiled("a part that nobody asked for", "layer", part("bytes 5-9/300000")).await;
    assert!(said.contains("another range"), "{said}");
    // Cut in the middle, and then: another place, other bytes, the same again and again.
    for (what, resumed, expected) in [
        ("another place", "bytes 7-300090/300091", "another range"),
        ("beyond the end", "bytes 999999999-9999999999/*", "another range"),
        ("no range", "", "another range"),
    ] {
        let image = Pushed::new(&[tar_of(&[("a", &noise(300_000))])]);
        let layer = image.layers[0].to_string();
        let (said, _) = play(what, move |request, _| {
            behind_login(&image, request, |request, answer| match &request.range {
                _ if !request.path.ends_with(&layer) => answer,
                None => Answer { cut: Some(answer.body.len() / 2), ..answer },
                Some(_) => {
                    Answer { status: 206, ..Answer::ok(&answer.body) }.header("content-range", resumed)
                }
            })
        })
        .await;
        assert!(said.contains(expected), "{said}");
    }
    let image = Pushed::new(&[tar_of(&[("a", &noise(300_000))])]);
    let layer = image.layers[0].to_string();
    let (said, _) = play("the right range with other bytes", move |request, _| {
        behind_login(&image, request, |request, mut answer| match &request.range {
            _ if !request.path.ends_with(&layer) => answer,
            None => Answer { cut: Some(answer.body.len() / 2), ..answer },
            Some(_) => {
                answer.body[10] ^= 1;
                answer
            }
        })
    })
    .await;
    assert!(said.contains("instead: the registry or the network"), "{said}");
    let said = spoiled("a byte at a time", "layer", |answer| Answer { cut: Some(1), ..answer }).await;
    assert!(said.contains("the connection ended") || said.contains("cannot reach"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_no_http_or_too_much_of_it_end() {
    let flood = |bytes: &[u8], times| Answer { raw: Some((bytes.to_vec(), times)), ..Answer::default() };
    for (what, answer) in [
        ("noise", flood(&noise(70_000), 1)),
        (
            "a header without end",
            flood(b"x-padding: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 1_000_000),
        ),
        (
            "a status line without end",
            flood(b"HTTP/1.1 200 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 1_000_000),
        ),
        ("continue without end", flood(b"HTTP/1.1 100 Continue\r\n\r\n", 50_000_000)),
        ("nothing", flood(b"", 1)),
        ("a hundred thousand headers", {
            let headers = b"x: y\r\n".repeat(100_000);
            flood(&[b"HTTP/1.1 200 x\r\n".to_vec(), headers].concat(), 1)
        }),
    ] {
        let (said, _) = play(what, move |_, _| answer.clone()).await;
        assert!(said.contains("cannot reach") || said.contains("sent nothing"), "{what}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_cannot_make_us_wait_for_years() {
    for (what, status, after, expected) in [
        ("in thirty years", 429, "999999999", "try again in 11574 days"),
        ("at the end of the century", 503, "Fri, 31 Dec 2099 23:59:59 GMT", "503"),
        ("at no time at all", 429, "18446744073709551615", "try again in"),
        ("soon, for ever", 429, "0", "try again in 0 s"),
    ] {
        let (said, _) = play(what, move |_, _| Answer::status(status).header("retry-after", after)).await;
        assert!(said.contains(expected), "{said}");
    }
    let (said, _) = play("a limit", |_, _| {
        Answer::status(429).header("retry-after", "7300").header("ratelimit-limit", "100;w=21600")
    })
    .await;
    assert!(
        said.contains("100 times in 6 h") && said.contains("in 2 h") && said.contains("ctl login"),
        "{said}"
    );
    let (said, _) = play("words for the terminal", |_, _| {
        Answer { status: 400, ..Answer::ok(br#"{"errors":[{"message":"\u001b]0;owned\u0007 no"}]}"#) }
            .header("set-cookie", "track=me")
    })
    .await;
    assert!(said.contains("owned no"), "{said}");
}
