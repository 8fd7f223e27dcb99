//! Pushes, to a registry in the test that keeps what it is sent, and that can misbehave while it does.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::server::{Answer, Seen, Server};
use super::*;
use crate::image::{PushOptions, PushProgress, PushStep, Pushed as Sent};

/// What the registry has, by repository and digest, and what is under way.
#[derive(Default)]
struct Kept {
    blobs: BTreeMap<(String, Digest), Vec<u8>>,
    manifests: BTreeMap<String, Vec<u8>>,
    uploads: BTreeMap<String, Vec<u8>>,
}

type Shelf = Arc<Mutex<Kept>>;

/// Splits `/v2/NAME/KIND/REST`.
fn parts<'a>(path: &'a str, kind: &str) -> Option<(&'a str, &'a str)> {
    path.strip_prefix("/v2/")?.split_once(kind)
}

fn value(query: &str, key: &str) -> Option<String> {
    let found = query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))?;
    Some(found.replace("%3A", ":"))
}

/// A registry that takes what it is sent.
fn keep(shelf: &Shelf, request: &Seen) -> Answer {
    let mut kept = shelf.lock().unwrap();
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    if let Some((name, id)) = parts(path, "/blobs/uploads/") {
        let place = |id: &str| format!("/v2/{name}/blobs/uploads/{id}?state=x");
        let so_far = |length: usize| format!("0-{}", length.saturating_sub(1));
        return match request.method.as_str() {
            "POST" => {
                if let (Some(digest), Some(from)) = (value(query, "mount"), value(query, "from"))
                    && let Some(blob) = kept.blobs.get(&(from, digest.parse().unwrap())).cloned()
                {
                    kept.blobs.insert((name.to_owned(), digest.parse().unwrap()), blob);
                    return Answer::status(201);
                }
                let id = format!("{}-{}", kept.uploads.len(), kept.blobs.len());
                kept.uploads.insert(id.clone(), Vec::new());
                Answer::status(202).header("location", place(&id))
            }
            "GET" => match kept.uploads.get(id) {
                Some(bytes) => {
                    Answer::status(204).header("range", so_far(bytes.len())).header("location", place(id))
                }
                None => Answer::status(404),
            },
            "PATCH" => {
                let Some(bytes) = kept.uploads.get_mut(id) else { return Answer::status(404) };
                let range = request.head.lines().find_map(|line| line.strip_prefix("content-range: "));
                assert_eq!(
                    range.unwrap(),
                    format!("{}-{}", bytes.len(), bytes.len() + request.body.len() - 1)
                );
                bytes.extend_from_slice(&request.body);
                Answer::status(202).header("range", so_far(bytes.len())).header("location", place(id))
            }
            "PUT" => {
                let Some(mut bytes) = kept.uploads.remove(id) else { return Answer::status(404) };
                bytes.extend_from_slice(&request.body);
                let digest: Digest = value(query, "digest").unwrap().parse().unwrap();
                if Digest::of(&bytes) != digest {
                    return Answer {
                        status: 400,
                        ..Answer::ok(br#"{"errors":[{"code":"DIGEST_INVALID"}]}"#)
                    };
                }
                kept.blobs.insert((name.to_owned(), digest), bytes);
                Answer::status(201)
            }
            _ => Answer::status(405),
        };
    }
    if let Some((name, digest)) = parts(path, "/blobs/") {
        let key = (name.to_owned(), digest.parse().unwrap());
        return kept.blobs.get(&key).map_or(Answer::status(404), |blob| Answer::ok(blob));
    }
    let Some((name, version)) = parts(path, "/manifests/") else { return Answer::status(404) };
    if request.method == "PUT" {
        let digest = Digest::of(&request.body);
        kept.manifests.insert(format!("{name} {version}"), request.body.clone());
        kept.manifests.insert(format!("{name} {digest}"), request.body.clone());
        return Answer::status(201).header("docker-content-digest", digest.to_string());
    }
    kept.manifests.get(&format!("{name} {version}")).map_or(Answer::status(404), |bytes| Answer::ok(bytes))
}

/// A host that has an image under a name at `server`.
async fn having(server: &Server, name: &str, layers: Vec<Vec<u8>>) -> (Host, Reference) {
    let host = Host::new().await;
    let name = reference(&format!("{}/{name}", server.address));
    host.images.import(&name, layers, json!({"config": {"Cmd": ["/x"]}})).await.unwrap();
    (host, name)
}

async fn push(host: &Host, name: &Reference) -> Result<(Sent, Vec<PushStep>), PullError> {
    let steps = Mutex::new(Vec::new());
    let hear = |progress| {
        if let PushProgress::Blob { step, .. } = progress {
            steps.lock().unwrap().push(step);
        }
    };
    let pushed = host.images.push(name, &PushOptions::default(), hear).await?;
    Ok((pushed, steps.into_inner().unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_image_is_pulled_by_another_host_and_not_sent_twice() {
    let shelf = Shelf::default();
    let serving = Arc::clone(&shelf);
    let server = Server::start(move |request| keep(&serving, request)).await;
    // One layer that goes at once, one in pieces.
    let layers = vec![tar_of(&[("a", b"small")]), tar_of(&[("b", &noise(40 << 20))])];
    let (host, name) = having(&server, "app:1", layers).await;
    let (pushed, steps) = push(&host, &name).await.unwrap();
    assert_eq!(steps.iter().filter(|step| **step == PushStep::Done).count(), 3);
    let pieces = server.seen().iter().filter(|seen| seen.method == "PATCH").count();
    assert_eq!(pieces, 2, "40 MiB in pieces of 32");
    let other = Host::new().await;
    let image = other.pull(&name.to_string()).await.unwrap();
    assert_eq!(image.manifest_digest, pushed.digest);
    assert_eq!(read(&other.snapshots.layer_path(&image.layers[0]).join("a")), "small");
    let (_, again) = push(&host, &name).await.unwrap();
    assert_eq!(again.iter().filter(|step| **step == PushStep::Present).count(), 3);
    // What is known to be in another repository is taken over there.
    let second = reference(&format!("{}/second:1", server.address));
    let layers = vec![tar_of(&[("a", b"small")])];
    host.images.import(&second, layers, json!({"config": {"Cmd": ["/y"]}})).await.unwrap();
    let (_, steps) = push(&host, &second).await.unwrap();
    assert!(steps.contains(&PushStep::Mounted("app".to_owned())), "{steps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_where_it_broke_or_begins_anew() {
    for forgetful in [false, true] {
        let shelf = Shelf::default();
        let serving = Arc::clone(&shelf);
        let failures = Mutex::new(BTreeSet::new());
        let server = Server::start(move |request| {
            let answer = keep(&serving, request);
            // After the first piece and at its end the registry breaks, and perhaps forgets.
            let first = failures.lock().unwrap().insert(request.method.clone());
            if first
                && matches!(request.method.as_str(), "PATCH" | "PUT")
                && !request.path.contains("/manifests/")
            {
                let mut kept = serving.lock().unwrap();
                if forgetful {
                    kept.uploads.clear();
                    kept.blobs.clear();
                }
                return Answer::status(502);
            }
            answer
        })
        .await;
        let (host, name) = having(&server, "app:1", vec![tar_of(&[("b", &noise(3 << 20))])]).await;
        push(&host, &name).await.unwrap();
        let starts = server.seen().iter().filter(|seen| seen.method == "POST").count();
        let sent: usize =
            server.seen().iter().filter(|seen| seen.method == "PATCH").map(|seen| seen.body.len()).sum();
        if forgetful {
            assert!(starts >= 3 && sent > 6 << 20, "{starts} {sent}");
        } else {
            assert!(sent < 4 << 20, "no byte is sent twice: {sent}");
        }
        let other = Host::new().await;
        other.pull(&name.to_string()).await.unwrap();
    }
}

/// What a registry does instead of its part: to which requests, what must be said of it, and its answer. `thief` and
/// `elsewhere` are other hosts.
fn misuses(thief: &str, elsewhere: &str) -> Vec<(&'static str, &'static str, Answer)> {
    let place = |location: &str| Answer::status(202).header("location", location);
    let [thief, elsewhere] = [thief, elsewhere].map(|host| format!("http://{host}/u"));
    let with_user = thief.replace("http://", "http://x:y@");
    let redirect = Answer::status(307).header("location", thief.clone());
    let own = || place("/v2/app/blobs/uploads/0");
    let basic = Answer::status(401).header("www-authenticate", "Basic realm=\"x\"");
    let other = Digest::of(b"other").to_string();
    vec![
        ("POST", "another address", place(&thief)),
        ("POST", "another address", place(&elsewhere)),
        ("POST", "another address", place(&with_user)),
        ("POST", "no URL", place("http://[")),
        ("POST", "no place", Answer::status(202)),
        ("POST", "redirects what is sent", redirect.clone()),
        ("PATCH", "another address", place(&thief)),
        ("PATCH", "307", redirect),
        ("PATCH", "never sent", own().header("range", "0-99999999999999")),
        ("PATCH", "took nothing", own().header("range", "0-0")),
        ("PATCH", "cannot reach", Answer { raw: Some((Vec::new(), 1)), ..Answer::default() }),
        ("PATCH", "404", Answer::status(404)),
        ("PUT", "413", Answer::status(413)),
        ("PUT", "denies access", basic),
        ("PUT /manifests/", "something else", Answer::status(201).header("docker-content-digest", other)),
        ("HEAD", "507", Answer::status(507)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_misuses_a_push_is_refused_and_hears_of_no_secret_elsewhere() {
    const SECRET: &str = "YWxpY2U6aHVudGVyMg==";
    let thief = Server::start(|_| Answer::status(201)).await;
    let elsewhere = Server::start_at("127.0.0.2", None, |_| Answer::status(201)).await;
    for (method, expected, misuse) in misuses(&thief.address, &elsewhere.address) {
        let shelf = Shelf::default();
        let server = Server::start(move |request| {
            if request.authorization.is_none() {
                return Answer::status(401).header("www-authenticate", "Basic realm=\"x\"");
            }
            let (method, part) = method.split_once(' ').unwrap_or((method, ""));
            let meant = request.method == method && request.path.contains(part);
            if meant { misuse.clone() } else { keep(&shelf, request) }
        })
        .await;
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.json");
        let auths = json!({"auths": {server.address.clone(): {"auth": SECRET}}});
        fs::write(&config, auths.to_string()).unwrap();
        let options = RegistryOptions {
            docker_config: Some(config),
            stall_timeout: Duration::from_millis(500),
            ..RegistryOptions::default()
        };
        let host = Host::with(options).await;
        let name = reference(&format!("{}/app:1", server.address));
        let layers = vec![tar_of(&[("b", &noise(2 << 20))])];
        host.images.import(&name, layers, json!({"config": {}})).await.unwrap();
        let outcome = tokio::time::timeout(Duration::from_secs(30), push(&host, &name)).await;
        let said = outcome.expect("it ends").unwrap_err().to_string();
        assert!(said.contains(expected), "{method}, {expected}: {said}");
        assert!(!said.contains("hunter2") && !said.contains(SECRET), "{said}");
        let heard = thief.received() + &elsewhere.received();
        assert!(heard.is_empty(), "nothing of a push goes elsewhere: {expected}: {heard}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_index_what_is_here_is_pushed_and_that_is_said() {
    let image = Pushed::small();
    let entry = |architecture: &str, bytes: &[u8]| {
        let mut entry = descriptor(MANIFEST, bytes);
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entry
    };
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry("riscv64", b"x"), entry(host_architecture(), &image.manifest)]});
    let index = index.to_string().into_bytes();
    let (shelf, digest) = (Shelf::default(), Digest::of(&index));
    {
        let mut kept = shelf.lock().unwrap();
        kept.manifests.insert("app 1".into(), index.clone());
        kept.manifests.insert(format!("app {}", Digest::of(&image.manifest)), image.manifest.clone());
        for (digest, blob) in &image.blobs {
            kept.blobs.insert(("app".into(), digest.clone()), blob.clone());
        }
    }
    let serving = Arc::clone(&shelf);
    let server = Server::start(move |request| keep(&serving, request)).await;
    let host = Host::new().await;
    let name = format!("{}/app:1", server.address);
    host.pull(&name).await.unwrap();
    let (pushed, _) = push(&host, &reference(&name)).await.unwrap();
    assert_eq!((pushed.digest, pushed.instead_of), (Digest::of(&image.manifest), Some(digest)));
    let only = PushOptions { platform: Some("linux/riscv64".parse().unwrap()), ..PushOptions::default() };
    let said = host.images.push(&reference(&name), &only, |_| {}).await.unwrap_err().to_string();
    assert!(said.contains("linux/riscv64 is not here; pull it first"), "{said}");
    let said = host.images.push(&reference("none:1"), &PushOptions::default(), |_| {}).await.unwrap_err();
    assert!(said.to_string().starts_with("image none:1 is not on this host"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_tried_and_told() {
    let server = Server::start(|request| match request.authorization.as_deref() {
        Some("Basic dXNlcjpyaWdodA==") => Answer::ok(b"{}"),
        _ => Answer::status(401).header("www-authenticate", "Basic realm=\"x\""),
    })
    .await;
    let host = Host::new().await;
    let check = async |password: &str| {
        let credentials = crate::image::Credentials::password("user", password);
        host.images.check_login(&server.address, &credentials).await
    };
    check("right").await.unwrap();
    let said = check("wrong").await.unwrap_err().to_string();
    assert!(said.contains("does not accept this user") && !said.contains("wrong"), "{said}");
}
