//! Settings of registries at work: mirrors and what happens when they fail, certificates, TLS that is given up.

use tokio::io::AsyncWriteExt as _;

use super::server::{Answer, Certificate, Server, properly};
use super::*;
use crate::image::RegistrySettings;

fn settings(text: &str) -> RegistrySettings {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    RegistrySettings::read(file.path()).unwrap().with_certs_dir("/nonexistent".into())
}

fn with_mirrors(registry: &str, mirrors: &[&str]) -> RegistryOptions {
    let text = format!("[registry.{registry:?}]\nmirrors = {mirrors:?}");
    RegistryOptions { settings: settings(&text), ..RegistryOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_asked_first_and_the_registry_is_left_alone() {
    let image = Pushed::small();
    let served = image.clone();
    let mirror = Server::start(move |request| {
        // The mirror keeps it below a prefix.
        let inner = super::server::Seen { path: request.path.replace("/v2/hub/", "/v2/"), ..request.clone() };
        properly(&served, &inner)
    })
    .await;
    let registry = Server::of(image).await;
    let host = Host::with(with_mirrors(&registry.address, &[&format!("{}/hub", mirror.address)])).await;
    let pulled = host.pull(&format!("{}/app:1", registry.address)).await.unwrap();
    assert_eq!(pulled.name.domain(), registry.address);
    assert_eq!((registry.seen().len(), mirror.count("/v2/hub/app/")), (0, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_that_fail_are_passed_over_in_their_order_and_rest() {
    let image = Pushed::small();
    let registry = Server::of(image.clone()).await;
    let broken = Server::start(|_| Answer::status(500)).await;
    let lacking = Server::start(|_| Answer::status(404)).await;
    let host =
        Host::with(with_mirrors(&registry.address, &["127.0.0.1:1", &broken.address, &lacking.address]))
            .await;
    host.pull(&format!("{}/app:1", registry.address)).await.unwrap();
    assert_eq!(broken.seen().len(), 3, "it rests after three tries: {:?}", broken.seen());
    assert_eq!((lacking.seen().len(), registry.seen().len()), (4, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_mirror_damages_the_registry_mends() {
    let image = Pushed::small();
    let registry = Server::of(image.clone()).await;
    let mirror = Server::start(move |request| {
        let mut answer = properly(&image, request);
        if request.path.contains("/blobs/") {
            let last = answer.body.len() - 1;
            answer.body[last] ^= 1;
        }
        answer
    })
    .await;
    let host = Host::with(with_mirrors(&registry.address, &[&mirror.address])).await;
    host.pull(&format!("{}/app:1", registry.address)).await.unwrap();
    assert_eq!(
        (mirror.count("/blobs/"), registry.count("/blobs/"), registry.count("/manifests/")),
        (3, 3, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_does_not_get_what_is_for_the_registry() {
    let image = Pushed::small();
    let (registry, config) = (Server::of(image.clone()).await, tempfile::tempdir().unwrap());
    let mirror = Server::start(|request| match request.authorization {
        None => Answer::status(401).header("www-authenticate", "Basic realm=\"x\""),
        Some(_) => Answer::status(403),
    })
    .await;
    let path = config.path().join("config.json");
    let auths = json!({"auths": {registry.address.clone(): {"username": "user", "password": "hunter2"}}});
    fs::write(&path, auths.to_string()).unwrap();
    let options = with_mirrors(&registry.address, &[&mirror.address]);
    let host = Host::with(RegistryOptions { docker_config: Some(path), ..options }).await;
    host.pull(&format!("{}/app:1", registry.address)).await.unwrap();
    assert!(!mirror.received().contains("uthorization"), "{}", mirror.received());
    assert!(!mirror.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_verified_unless_settings_say_otherwise() {
    let image = Pushed::small();
    let certificate = Certificate::new(&["127.0.0.1"]);
    let server =
        Server::start_at("127.0.0.1", Some(&certificate), move |request| properly(&image, request)).await;
    let name = format!("{}/app:1", server.address);
    let certs = tempfile::tempdir().unwrap();
    let host =
        |settings: RegistrySettings| Host::with(RegistryOptions { settings, ..RegistryOptions::default() });
    // Docker's directory of certificates.
    certificate.trust(certs.path(), &server.address);
    let trusting = RegistrySettings::default().with_certs_dir(certs.path().to_path_buf());
    host(trusting).await.pull(&name).await.unwrap();
    // The same authority, named in the file.
    let ca = certs.path().join(&server.address).join("ca.crt");
    let text = format!("[registry.{:?}]\nca = {ca:?}", server.address);
    host(settings(&text)).await.pull(&name).await.unwrap();
    // Nobody asked who it is.
    let text = format!("[registry.{:?}]\ninsecure = \"unverified-tls\"", server.address);
    host(settings(&text)).await.pull(&name).await.unwrap();
    // Another authority.
    Certificate::new(&["127.0.0.1"]).trust(certs.path(), &server.address);
    let strict = host(RegistrySettings::default().with_certs_dir(certs.path().to_path_buf())).await;
    let fault = strict.pull(&name).await.unwrap_err().to_string();
    assert!(fault.contains("nobody that this host trusts") && fault.contains("certs.d"), "{fault}");
    strict.assert_untouched().await;
    // A certificate for somebody else.
    let other = Certificate::new(&["registry.example"]);
    let server = Server::start_at("127.0.0.1", Some(&other), |_| Answer::ok(b"{}")).await;
    other.trust(certs.path(), &server.address);
    let strict = host(RegistrySettings::default().with_certs_dir(certs.path().to_path_buf())).await;
    let fault = strict.pull(&format!("{}/app:1", server.address)).await.unwrap_err().to_string();
    assert!(fault.contains("is not who it says") && server.seen().is_empty(), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_tls_and_unusable_certificates_are_explained() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // What web servers say to the first bytes of TLS.
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await.unwrap();
    });
    let text = format!("[registry.{address:?}]\ninsecure = \"unverified-tls\"");
    let host = Host::with(RegistryOptions { settings: settings(&text), ..RegistryOptions::default() }).await;
    let fault = host.pull(&format!("{address}/app:1")).await.unwrap_err().to_string();
    assert!(fault.contains("does not speak TLS") && fault.contains("--insecure-registry"), "{fault}");
    let text = "[registry.\"127.0.0.1:1\"]\nca = \"/nonexistent/ca.pem\"";
    let host = Host::with(RegistryOptions { settings: settings(text), ..RegistryOptions::default() }).await;
    let fault = host.pull("127.0.0.1:1/app:1").await.unwrap_err().to_string();
    assert!(fault.contains("certificates for registry 127.0.0.1:1: /nonexistent/ca.pem"), "{fault}");
}
