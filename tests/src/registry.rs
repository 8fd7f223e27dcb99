//! Debian's `docker-registry` on a host, and pushing images to it over HTTP.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::host::Host;
use crate::image::{self, Image};
use crate::{programs, wait};

/// A running registry.
#[derive(Debug)]
pub struct Registry<'h> {
    host: &'h Host,
    child: Child,
}

/// Where it listens on its host.
pub const ADDRESS: &str = "localhost:5000";

impl<'h> Registry<'h> {
    /// Starts a registry on `host`, with its data below `root`.
    ///
    /// # Panics
    /// Without the package docker-registry, or when it does not answer.
    pub fn start(host: &'h Host, root: &Path) -> Self {
        programs::need("docker-registry", "docker-registry");
        programs::need("curl", "curl");
        let data = root.join("registry");
        std::fs::create_dir_all(&data).expect("the test's directory is writable");
        let config = root.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:5000\n",
            data.display()
        );
        std::fs::write(&config, text).expect("the test's directory is writable");
        let mut command = host.command("docker-registry");
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("nsenter starts");
        let registry = Self { host, child };
        wait::until("the registry answers", Duration::from_secs(10), || registry.request(&[&url("")]));
        registry
    }

    /// Pushes an image as `name:tag`.
    ///
    /// # Panics
    /// When the registry refuses it.
    pub fn push(&self, name: &str, tag: &str, image: &Image) {
        self.push_blob(name, &image.layer);
        self.push_blob(name, &image.config);
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": image::digest(&image.config),
                "size": image.config.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "digest": image::digest(&image.layer),
                "size": image.layer.len(),
            }],
        });
        let kind = "Content-Type: application/vnd.oci.image.manifest.v1+json";
        let target = url(&format!("{name}/manifests/{tag}"));
        self.must(&["-X", "PUT", "-H", kind, "--data-binary", &manifest.to_string(), &target]);
    }

    fn push_blob(&self, name: &str, bytes: &[u8]) {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::io::Write::write_all(&mut file, bytes).expect("a temporary file");
        let headers = self.must(&["-X", "POST", "-D", "-", &url(&format!("{name}/blobs/uploads/"))]);
        let location = headers
            .lines()
            .find_map(|line| line.strip_prefix("Location: "))
            .expect("an upload has a location");
        let separator = if location.contains('?') { '&' } else { '?' };
        let target = format!("{}{separator}digest={}", location.trim(), image::digest(bytes));
        let data = format!("@{}", file.path().display());
        self.must(&[
            "-X",
            "PUT",
            "-H",
            "Content-Type: application/octet-stream",
            "--data-binary",
            &data,
            &target,
        ]);
    }

    fn must(&self, arguments: &[&str]) -> String {
        self.request(arguments).unwrap_or_else(|error| panic!("registry: {arguments:?}: {error}"))
    }

    fn request(&self, arguments: &[&str]) -> Result<String, String> {
        let output =
            programs::output(self.host.command("curl").args(["-sS", "--fail-with-body"]).args(arguments));
        if output.status.success() { Ok(programs::said(&output)) } else { Err(programs::said(&output)) }
    }
}

fn url(path: &str) -> String {
    format!("http://{ADDRESS}/v2/{path}")
}

impl Drop for Registry<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
