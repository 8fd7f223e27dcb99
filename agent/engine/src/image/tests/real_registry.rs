//! Against Debian's docker-registry: an image pushed by plain PUTs, pulled by us.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use reqwest::{Client, StatusCode};

use super::*;

const PROGRAM: &str = "/usr/bin/docker-registry";

/// A registry process on a free port of the loopback; ends with the test.
struct Registry {
    process: Child,
    address: String,
    _dir: tempfile::TempDir,
}

impl Registry {
    async fn start() -> Self {
        assert!(Path::new(PROGRAM).exists(), "{PROGRAM} is missing: install the package docker-registry");
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let config = dir.path().join("config.yml");
        let storage = dir.path().join("storage").display().to_string();
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {storage}}}}}\nhttp: {{addr: \"{address}\"}}\n"
        );
        fs::write(&config, text).unwrap();
        let process = Command::new(PROGRAM)
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self { process, address, _dir: dir };
        for _ in 0..500 {
            if tokio::net::TcpStream::connect(&registry.address).await.is_ok() {
                return registry;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("docker-registry did not start");
    }

    async fn push(&self, image: &Pushed) {
        let client = client();
        for (digest, bytes) in &image.blobs {
            let start = format!("http://{}/v2/app/blobs/uploads/", self.address);
            let answer = client.post(&start).send().await.unwrap();
            let location = answer.headers()["location"].to_str().unwrap();
            let separator = if location.contains('?') { '&' } else { '?' };
            let target = format!("{location}{separator}digest={digest}");
            let answer = client.put(target).body(bytes.clone()).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::CREATED);
        }
        let target = format!("http://{}/v2/app/manifests/1", self.address);
        let request = client.put(target).header("content-type", image.content_type);
        let answer = request.body(image.manifest.clone()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().tls_certs_only([]).no_proxy().build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_pushed_to_docker_registry_is_pulled_by_tag_and_by_digest() {
    let registry = Registry::start().await;
    let image =
        Pushed::new(&[tar_of(&[("big", &noise(5_000_000))]), tar_of(&[("hello", b"from the registry")])]);
    registry.push(&image).await;
    let host = Host::new().await;
    let pulled = host.pull(&format!("{}/app:1", registry.address)).await.unwrap();
    assert_eq!(pulled.manifest_digest, Digest::of(&image.manifest));
    assert_eq!(read(&host.snapshots.layer_path(&pulled.layers[1]).join("hello")), "from the registry");
    let pinned = format!("{}/app@{}", registry.address, pulled.manifest_digest);
    assert_eq!(host.pull(&pinned).await.unwrap().layers, pulled.layers);
    let fault = host.pull(&format!("{}/none:1", registry.address)).await.unwrap_err();
    assert_eq!(fault.to_string(), format!("image {}/none:1 not found in the registry", registry.address));
}
