//! The peer below all peers: runc alone, with the specification it makes itself
//! (no system call filter, no image, no link, no limits), plus the layer as a directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use itest::image::Image;
use itest::programs;

/// A bundle.
#[derive(Debug)]
pub(crate) struct Runc {
    dir: PathBuf,
}

impl Runc {
    /// Makes one whose program is `true`.
    pub(crate) fn new(dir: &Path, image: &Image) -> Self {
        programs::need("runc", "runc");
        let dir = dir.join("runc");
        unpack(image, &dir.join("rootfs"));
        programs::succeed(Command::new("runc").args(["spec", "--bundle"]).arg(&dir));
        let file = dir.join("config.json");
        let text = std::fs::read_to_string(&file).expect("runc spec wrote it");
        let mut spec: serde_json::Value = serde_json::from_str(&text).expect("runc writes JSON");
        spec["process"]["args"] = serde_json::json!(["true"]);
        spec["process"]["terminal"] = false.into();
        spec["root"]["readonly"] = false.into();
        std::fs::write(&file, spec.to_string()).expect("/tmp is writable");
        Self { dir }
    }

    /// A command line for one container, from nothing to nothing.
    pub(crate) fn line(&self) -> String {
        let dir = self.dir.display();
        format!("runc --root {dir}/state run --bundle {dir} bench$$")
    }

    /// Where the layer lies unpacked.
    pub(crate) fn layer(&self) -> PathBuf {
        self.dir.join("rootfs")
    }
}

fn unpack(image: &Image, to: &Path) {
    std::fs::create_dir_all(to).expect("/tmp is writable");
    let layer = flate2::read::GzDecoder::new(image.layer.as_slice());
    tar::Archive::new(layer).unpack(to).expect("our own archive");
}
