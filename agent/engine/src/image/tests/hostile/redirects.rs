//! It sends us elsewhere.

use super::*;

fn to(location: impl Into<String>) -> Answer {
    Answer::status(307).header("location", location)
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_stay_at_home_when_it_redirects() {
    type Elsewhere = fn(&Addresses) -> String;
    let elsewhere: [(&str, Elsewhere); 3] = [
        ("another port", |to| format!("{}/v2/", to.port)),
        ("another address", |to| format!("{}/v2/", to.address)),
        ("another host with TLS", |to| format!("{}/v2/", to.tls)),
    ];
    for (what, place) in elsewhere {
        for part in ["/manifests/", "/blobs/"] {
            let image = Pushed::small();
            let (said, heard) = play(&format!("{part} to {what}"), move |request, addresses| {
                behind_login(&image, request, |request, answer| {
                    if request.path.contains(part) { to(place(addresses)) } else { answer }
                })
            })
            .await;
            // The other host asks for a password of its own, and gets none.
            assert!(said.contains("401"), "{said}");
            assert!(heard.contains("GET /v2/") && !heard.contains("uthorization"), "{heard}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_to_nowhere_and_without_end_are_refused() {
    for (what, location, expected) in [
        ("to a file", "file:///etc/shadow", "unprotected address"),
        ("to gopher", "gopher://127.0.0.2:70/", "unprotected address"),
        ("to data", "data:text/plain,x", "unprotected address"),
        ("to no URL", "http://[", "no valid URL"),
        ("to itself", "/v2/app/manifests/1", "too often"),
    ] {
        let (said, _) = play(what, move |_, _| to(location)).await;
        assert!(said.contains(expected), "{said}");
    }
    let (said, _) = play("without Location", |_, _| Answer::status(302)).await;
    assert!(said.contains("no valid URL"), "{said}");
    let (said, _) = play("ever deeper", |request, _| to(format!("{}/x", request.path))).await;
    assert!(said.contains("too often"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_not_given_up_on_the_way() {
    let certificate = Certificate::new(&["127.0.0.1"]);
    let (said, heard) =
        play_as("from https to http", Some(&certificate), |_, addresses| to(addresses.address.clone())).await;
    assert!(said.contains("unprotected address"), "{said}");
    assert_eq!(heard, "");
    let (said, heard) =
        play_as("a token over http", Some(&certificate), |_, addresses| bearer(&addresses.address)).await;
    assert!(said.contains("neither https"), "{said}");
    assert_eq!(heard, "");
    let (said, _) =
        play_as("its own host over http", Some(&certificate), |_, addresses| bearer(&addresses.port)).await;
    assert!(said.contains("neither https"), "{said}");
}
