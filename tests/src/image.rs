//! Images made from what this machine has: a static busybox, and Debian's own
//! bash with the libraries it needs. No network is involved.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::programs;

/// An image in memory: one gzip layer and its configuration.
#[derive(Debug, Clone)]
pub struct Image {
    /// The compressed layer.
    pub layer: Vec<u8>,
    /// The image configuration, JSON.
    pub config: Vec<u8>,
}

/// `sha256:...` of bytes.
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// A file system that is being collected into a tar archive.
pub struct Tree {
    archive: tar::Builder<Vec<u8>>,
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree").finish_non_exhaustive()
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self { archive: tar::Builder::new(Vec::new()) }
    }
}

impl Tree {
    fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(1_700_000_000);
        header
    }

    /// Adds a directory.
    ///
    /// # Panics
    /// When the path is no archive path.
    pub fn folder(&mut self, path: &str, mode: u32) -> &mut Self {
        let mut header = Self::header(tar::EntryType::Directory, mode, 0);
        self.archive.append_data(&mut header, path, std::io::empty()).expect("a short relative path");
        self
    }

    /// Adds a file.
    ///
    /// # Panics
    /// When the path is no archive path.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> &mut Self {
        let mut header = Self::header(tar::EntryType::Regular, mode, content.len() as u64);
        self.archive.append_data(&mut header, path, content).expect("a short relative path");
        self
    }

    /// Adds a symbolic link.
    ///
    /// # Panics
    /// When the path is no archive path.
    pub fn link(&mut self, path: &str, target: &str) -> &mut Self {
        let mut header = Self::header(tar::EntryType::Symlink, 0o777, 0);
        self.archive.append_link(&mut header, path, target).expect("short paths");
        self
    }

    /// Adds a further name of a file that is there.
    ///
    /// # Panics
    /// When the path is no archive path.
    pub fn hard_link(&mut self, path: &str, target: &str) -> &mut Self {
        let mut header = Self::header(tar::EntryType::Link, 0o644, 0);
        self.archive.append_link(&mut header, path, target).expect("short paths");
        self
    }

    /// Adds a node: a FIFO, or a device by its numbers.
    ///
    /// # Panics
    /// When the path is no archive path.
    pub fn node(&mut self, path: &str, kind: tar::EntryType, major: u32, minor: u32) -> &mut Self {
        let mut header = Self::header(kind, 0o666, 0);
        header.set_device_major(major).expect("a header with device numbers");
        header.set_device_minor(minor).expect("a header with device numbers");
        self.archive.append_data(&mut header, path, std::io::empty()).expect("a short relative path");
        self
    }

    /// Makes an image whose command is `command`.
    ///
    /// # Panics
    /// Never, in practice: it writes to memory.
    pub fn image(self, command: &[&str]) -> Image {
        let tar = self.archive.into_inner().expect("writing to memory");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&tar).expect("writing to memory");
        let layer = gzip.finish().expect("writing to memory");
        let config = serde_json::json!({
            "architecture": "amd64",
            "os": "linux",
            "config": { "Cmd": command, "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"] },
            "rootfs": { "type": "layers", "diff_ids": [digest(&tar)] },
        });
        Image { layer, config: config.to_string().into_bytes() }
    }
}

/// The applets that can be called by their own names.
const APPLETS: &[&str] = &[
    "sh", "cat", "echo", "env", "false", "hostname", "httpd", "id", "ls", "sleep", "true", "wc", "yes",
    "seq", "stty", "dd", "mount", "ps", "grep", "stat", "tty", "kill", "mkdir", "find", "tr", "cut", "head",
    "tail",
];

/// A static busybox with its usual applets.
///
/// # Panics
/// When busybox-static is not installed.
pub fn busybox(command: &[&str]) -> Image {
    busybox_tree(&[]).image(command)
}

/// What [`busybox`] is made of, but for the names in `without`, in whose place something else is to be put.
///
/// # Panics
/// When busybox-static is not installed.
pub fn busybox_tree(without: &[&str]) -> Tree {
    programs::need("busybox", "busybox-static");
    let program = ["/bin/busybox", "/usr/bin/busybox"].iter().find_map(|path| std::fs::read(path).ok());
    let is_wanted = |path: &str| !without.iter().any(|gone| Path::new(path).starts_with(gone));
    let mut tree = Tree::default();
    for folder in ["bin", "dev", "etc", "proc", "root", "sys", "var"].iter().filter(|path| is_wanted(path)) {
        tree.folder(folder, 0o755);
    }
    if is_wanted("tmp") {
        tree.folder("tmp", 0o1777);
    }
    tree.file("bin/busybox", 0o755, &program.expect("busybox-static is installed"));
    let passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";
    for (path, text) in [("etc/passwd", passwd), ("etc/group", "root:x:0:\nnogroup:x:65534:\n")] {
        if is_wanted(path) {
            tree.file(path, 0o644, text.as_bytes());
        }
    }
    for applet in APPLETS.iter().filter(|applet| is_wanted(&format!("bin/{applet}"))) {
        tree.link(&format!("bin/{applet}"), "busybox");
    }
    tree
}

/// Debian's bash and what it needs, taken from this machine.
///
/// # Panics
/// When this machine has no bash or no ldd.
pub fn debian_bash() -> Image {
    let mut tree = Tree::default();
    let mut folders = BTreeSet::new();
    let programs =
        ["/bin/bash", "/bin/cat", "/bin/ls", "/usr/bin/id", "/usr/bin/tty", "/bin/stty", "/bin/sleep"];
    let mut files: BTreeSet<PathBuf> = programs.iter().map(PathBuf::from).collect();
    for program in programs {
        let needed = programs::succeed(Command::new("ldd").arg(program));
        let paths = needed.split_whitespace().filter(|word| word.starts_with('/'));
        files.extend(paths.map(PathBuf::from));
    }
    for file in &files {
        for folder in file.ancestors().skip(1).filter(|folder| *folder != Path::new("/")) {
            folders.insert(folder.to_owned());
        }
    }
    folders.extend(["/etc", "/proc", "/sys", "/dev", "/root", "/tmp"].map(PathBuf::from));
    let inside = |path: &Path| path.display().to_string().trim_start_matches('/').to_owned();
    for folder in &folders {
        tree.folder(&inside(folder), 0o755);
    }
    for file in &files {
        tree.file(&inside(file), 0o755, &std::fs::read(file).expect("ldd names files that exist"));
    }
    tree.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/bash\n");
    tree.file("etc/debian_version", 0o644, b"12\n");
    tree.image(&["bash"])
}
