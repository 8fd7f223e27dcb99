//! Debian's `docker-registry` with TLS and a password, an agent by itself, and skopeo, which reads what we push and
//! writes what we pull.

mod docker;
mod guarded;
mod push;

use std::path::Path;

use itest::host::Host;
use itest::image;
use itest::programs;
use itest::solo::Solo;

use self::guarded::{ADDRESS, Guarded, PASSWORD, USER};
use crate::scratch;

/// An agent that trusts the registry's authority, and `ctl` with credentials of its own.
struct Lab<'h> {
    registry: Guarded<'h>,
    solo: Solo<'h>,
    config: std::path::PathBuf,
}

impl<'h> Lab<'h> {
    fn start(host: &'h Host, root: &Path) -> Self {
        programs::need("skopeo", "skopeo");
        let registry = Guarded::start(host, root);
        let settings = root.join("registries.toml");
        let ca = registry.ca();
        std::fs::write(&settings, format!("[registry.{ADDRESS:?}]\nca = {ca:?}\n"))
            .expect("a scratch directory");
        let flag = settings.display().to_string();
        let solo = Solo::start_with(host, root, &["--registries", &flag]);
        Self { registry, solo, config: root.join("docker") }
    }

    /// Runs `ctl` with this test's own credentials; answers whether it worked, and all that it said.
    fn try_ctl(&self, arguments: &[&str], input: &str) -> (bool, String) {
        let mut command = self.solo.command(arguments);
        command.env("DOCKER_CONFIG", &self.config);
        let output = programs::output_of(&mut command, input.as_bytes());
        (output.status.success(), programs::said(&output))
    }

    #[track_caller]
    fn ctl(&self, arguments: &[&str]) -> String {
        let (worked, said) = self.try_ctl(arguments, "");
        assert!(worked, "{arguments:?}: {said}");
        said
    }

    #[track_caller]
    fn log_in(&self) {
        let arguments = ["login", "-u", USER, "--password-stdin", ADDRESS];
        let (worked, said) = self.try_ctl(&arguments, &format!("{PASSWORD}\n"));
        assert!(worked && said.contains("logged in to"), "{said}");
    }

    /// Makes an image of this name that has these files.
    fn make(&self, name: &str, files: &[(&str, &[u8])]) {
        // By way of the registry, as pushed by somebody else.
        let mut tree = image::Tree::default();
        for (path, content) in files {
            tree.file(path, 0o644, content);
        }
        self.registry.put(name, &tree.image(&["/x"]));
        self.ctl(&["image", "pull", "--quiet", &format!("{ADDRESS}/{name}")]);
    }
}
