//! What an engine is opened with. Plain data from the caller's command line;
//! nothing here touches the host.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::image::RegistrySettings;

/// Where one engine keeps its things, and what it calls them.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Everything that outlives a reboot: images, layers, records, logs.
    pub data_dir: PathBuf,
    /// Sockets and network namespaces; empty after a reboot.
    pub run_dir: PathBuf,
    /// The host's bridge that containers are attached to.
    pub bridge: String,
    /// The subnet of that bridge in CIDR form, for instance `10.213.0.0/16`.
    pub subnet: String,
    /// The program that runs [`crate::keeper_main`] when its first argument is
    /// `keeper`; usually the agent's own executable.
    pub keeper_program: PathBuf,
    /// Where vendors' CDI specifications are; the later goes over the earlier. Usually [`crate::cdi::DIRECTORIES`].
    pub cdi_dirs: Vec<PathBuf>,
    /// What is known of single registries: mirrors, certificates, and which are spoken to without TLS.
    pub registries: RegistrySettings,
    /// Whether to set the option `favordynmods` of the host's version 2 cgroup hierarchy, without which every start
    /// on a host with version 1 hierarchies waits for the kernel.
    pub favor_dynmods: bool,
    /// So many networks are made before containers ask for them; zero makes each when it is needed.
    pub network_pool: usize,
    /// When images go by themselves, for want of room; never without it.
    pub image_gc: Option<ImageGc>,
}

/// When images that can be pulled again go by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageGc {
    /// The share of the file system, in percent, at which images begin to go.
    pub high: u8,
    /// The share at which that ends.
    pub low: u8,
    /// How often that is looked at.
    pub every: Duration,
    /// What was pulled, or used by a container, within this time stays.
    pub spare: Duration,
}

impl EngineConfig {
    /// First 8 hex digits of the SHA-256 of the data directory: tells the
    /// cgroups of several engines on one host apart.
    pub fn instance(&self) -> String {
        let digest = Sha256::digest(self.data_dir.as_os_str().as_encoded_bytes());
        hex::encode(&digest[..4])
    }

    /// First of this engine's 65,536 project ids, by which quotas are counted; from the instance, since other engines
    /// may have their data on the same file system.
    pub(crate) fn first_project(&self) -> u32 {
        let number = u32::from_str_radix(&self.instance(), 16).unwrap_or_default();
        0x4000_0000 | (number & 0x3fff_0000)
    }

    /// Those of them that count the writable layers of containers; volumes are counted by the first ones.
    pub(crate) fn projects_of_containers(&self) -> impl Iterator<Item = u32> {
        let first = self.first_project();
        (first | 0x8000)..=(first | 0xffff)
    }

    /// The keeper's socket.
    pub fn keeper_socket(&self) -> PathBuf {
        self.run_dir.join("keeper.sock")
    }

    /// State directories of all containers.
    pub(crate) fn containers_dir(&self) -> PathBuf {
        self.data_dir.join("containers")
    }

    /// State directory of one container: log, exit record, files bound into it.
    pub fn container_dir(&self, id: &str) -> PathBuf {
        self.containers_dir().join(id)
    }

    /// The cgroup of one container, below the hierarchies' roots.
    pub fn cgroup(&self, id: &str) -> String {
        format!("/roadstead/{}/{id}", self.instance())
    }

    /// The same engine with its directories made absolute.
    pub(crate) fn absolute(mut self) -> std::io::Result<Self> {
        self.data_dir = std::path::absolute(&self.data_dir)?;
        self.run_dir = std::path::absolute(&self.run_dir)?;
        Ok(self)
    }
}

/// Makes a directory only root may enter, and its parents.
pub(crate) fn private_dir(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(data: &str) -> EngineConfig {
        EngineConfig {
            data_dir: data.into(),
            run_dir: "/run/x".into(),
            bridge: "b0".into(),
            subnet: "10.0.0.0/16".into(),
            keeper_program: "/bin/agent".into(),
            cdi_dirs: Vec::new(),
            registries: RegistrySettings::default(),
            favor_dynmods: true,
            network_pool: 0,
            image_gc: None,
        }
    }

    #[test]
    fn engines_with_different_data_directories_use_different_cgroups() {
        let (one, two) = (config("/data/one"), config("/data/two"));
        assert_eq!(one.instance().len(), 8);
        assert_ne!(one.cgroup("abc"), two.cgroup("abc"));
        assert_eq!(one.cgroup("abc"), config("/data/one").cgroup("abc"));
    }
}
