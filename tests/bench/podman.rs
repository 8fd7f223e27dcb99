//! The peer without a daemon: Debian's podman with its own storage, runc (crun
//! does not take hybrid hosts) and a bridge network.

use std::path::{Path, PathBuf};

use itest::host::Host;
use itest::image::Image;
use itest::programs;

use crate::group::Group;

/// A podman with everything below one directory.
#[derive(Debug)]
pub(crate) struct Podman<'h> {
    host: &'h Host,
    dir: PathBuf,
}

impl<'h> Podman<'h> {
    /// With the image imported.
    pub(crate) fn new(host: &'h Host, dir: &Path, image: &Image) -> Self {
        programs::need("podman", "podman");
        let podman = Self { host, dir: dir.join("podman") };
        std::fs::create_dir_all(&podman.dir).expect("/tmp is writable");
        let layer = podman.dir.join("layer.tar.gz");
        std::fs::write(&layer, &image.layer).expect("/tmp is writable");
        podman.must(&format!("import {} {}", layer.display(), crate::IMAGE));
        podman
    }

    /// A command line for one container.
    pub(crate) fn line(&self, group: &Group) -> String {
        format!(
            "{} run --rm --ulimit nofile=1024:1024 --ulimit nproc=4096:4096 --cgroup-parent {} {} true",
            self.program(),
            group.path(),
            crate::IMAGE
        )
    }

    fn program(&self) -> String {
        let dir = self.dir.display();
        format!(
            "podman --root {dir}/storage --runroot {dir}/run --tmpdir {dir}/tmp --events-backend none \
             --cgroup-manager cgroupfs --runtime runc"
        )
    }

    fn must(&self, arguments: &str) {
        let line = format!("{} {arguments}", self.program());
        programs::succeed(self.host.command("sh").args(["-c", &line]));
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        let line = format!("{} rm --all --force --time 0", self.program());
        let _ = self.host.command("sh").args(["-c", &line]).output();
        let storage = self.dir.join("storage/overlay");
        let _ = std::process::Command::new("umount").arg("-l").arg(storage).output();
    }
}
