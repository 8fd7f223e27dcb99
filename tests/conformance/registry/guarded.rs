//! `docker-registry` behind TLS and a password, whose life the test has in hand.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use itest::host::Host;
use itest::image::Image;
use itest::{programs, wait};

/// Where it listens on its host.
pub(super) const ADDRESS: &str = "127.0.0.1:5443";
pub(super) const USER: &str = "dora";
pub(super) const PASSWORD: &str = "open-sesame";
/// The password as `htpasswd -B` writes it.
const HASHED: &str = "$2y$05$abcdefghijklmnopqrstuutXu9KzOt.1yBoZUeFWoT/914/JfszCO";

/// The registry; it is killed when this goes.
pub(super) struct Guarded<'h> {
    host: &'h Host,
    root: PathBuf,
    child: Option<Child>,
}

impl<'h> Guarded<'h> {
    pub(super) fn start(host: &'h Host, root: &Path) -> Self {
        programs::need("docker-registry", "docker-registry");
        programs::need("curl", "curl");
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let write =
            |name: &str, text: &str| std::fs::write(root.join(name), text).expect("a scratch directory");
        write("ca.pem", &made.cert.pem());
        write("key.pem", &made.signing_key.serialize_pem());
        write("htpasswd", &format!("{USER}:{HASHED}\n"));
        let at = |name: &str| root.join(name).display().to_string();
        write(
            "registry.yml",
            &format!(
                "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {ADDRESS}\n  secret: the-same-after-a-restart\n  tls:\n    certificate: {}\n    key: {}\nauth:\n  htpasswd:\n    realm: test\n    path: {}\n",
                at("registry"),
                at("ca.pem"),
                at("key.pem"),
                at("htpasswd"),
            ),
        );
        let mut registry = Self { host, root: root.to_owned(), child: None };
        registry.run();
        registry
    }

    /// Starts it, on what it had before.
    pub(super) fn run(&mut self) {
        let mut command = self.host.command("docker-registry");
        let log = std::fs::File::create(self.root.join("registry.log")).expect("a scratch directory");
        command.arg("serve").arg(self.root.join("registry.yml")).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("nsenter starts"));
        wait::until("the registry answers", Duration::from_secs(20), || {
            let output = self.curl(&[&url("")]);
            if output.status.success() { Ok(()) } else { Err(programs::said(&output)) }
        });
    }

    /// Ends it in the middle of whatever it does.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it is our child");
            child.wait().expect("it is our child");
        }
    }

    /// Who vouches for it.
    pub(super) fn ca(&self) -> PathBuf {
        self.root.join("ca.pem")
    }

    /// Bytes that it has of uploads that have not ended.
    pub(super) fn uploading(&self, name: &str) -> u64 {
        let uploads = self.root.join(format!("registry/docker/registry/v2/repositories/{name}/_uploads"));
        let entries = std::fs::read_dir(uploads).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| std::fs::metadata(entry.path().join("data")).ok())
            .map(|data| data.len())
            .sum()
    }

    /// Puts an image there with skopeo, as somebody else would. `name` is `repository:tag`.
    pub(super) fn put(&self, name: &str, image: &Image) {
        let layout = self.root.join("layout");
        write_layout(&layout, image);
        let from = format!("oci:{}:x", layout.display());
        programs::succeed(&mut self.skopeo(&["copy", "--dest-tls-verify=false"], &[&from, &at(name)]));
        std::fs::remove_dir_all(layout).expect("a scratch directory");
    }

    /// What skopeo says of an image there.
    pub(super) fn inspect(&self, arguments: &[&str], name: &str) -> serde_json::Value {
        let before = [&["inspect", "--tls-verify=false"], arguments].concat();
        let text = programs::succeed(&mut self.skopeo(&before, &[&at(name)]));
        serde_json::from_str(&text).expect("skopeo prints JSON")
    }

    /// skopeo, with the password.
    pub(super) fn skopeo(&self, before: &[&str], after: &[&str]) -> Command {
        let mut command = self.host.command("skopeo");
        let auth = self.root.join("skopeo-auth.json");
        let encoded = "ZG9yYTpvcGVuLXNlc2FtZQ==";
        let text = format!(r#"{{"auths":{{"{ADDRESS}":{{"auth":"{encoded}"}}}}}}"#);
        std::fs::write(&auth, text).expect("a scratch directory");
        command.args(["--insecure-policy", "--tmpdir", "/tmp"]).args(before);
        command.arg("--authfile").arg(auth).args(after);
        command
    }

    fn curl(&self, arguments: &[&str]) -> Output {
        let user = format!("{USER}:{PASSWORD}");
        let mut command = self.host.command("curl");
        command.args(["-sS", "--fail-with-body", "-u", &user, "--cacert"]).arg(self.ca()).args(arguments);
        programs::output(&mut command)
    }
}

impl Drop for Guarded<'_> {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn url(path: &str) -> String {
    format!("https://{ADDRESS}/v2/{path}")
}

/// An image there, as skopeo names it.
pub(super) fn at(name: &str) -> String {
    format!("docker://{ADDRESS}/{name}")
}

/// Writes an OCI layout with one image, tagged `x`.
fn write_layout(dir: &Path, image: &Image) {
    use itest::image::digest;
    let blobs = dir.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).expect("a scratch directory");
    let put = |bytes: &[u8]| {
        let digest = digest(bytes);
        std::fs::write(blobs.join(&digest["sha256:".len()..]), bytes).expect("a scratch directory");
        digest
    };
    let (config, layer) = (put(&image.config), put(&image.layer));
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": image.config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": layer, "size": image.layer.len()}],
    });
    let manifest = manifest.to_string().into_bytes();
    let digest = put(&manifest);
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": manifest.len(),
        "annotations": {"org.opencontainers.image.ref.name": "x"},
    }]});
    std::fs::write(dir.join("index.json"), index.to_string()).expect("a scratch directory");
    std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a scratch directory");
}
