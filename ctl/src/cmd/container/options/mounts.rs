//! What is mounted into a container: `--volume`, `--mount`, `--tmpfs`, `--volumes-from`, `--read-only`.
//!
//! Only the notation is read here, with Docker's words for what is wrong with it; the agent judges the rest. Relative
//! paths are those of this command, so they are made absolute before they leave.

mod long;
mod short;

use std::path::Path;

use proto::v1::{CreateContainerRequest, Mount, MountKind};

use crate::error::{CommandError, Kind};
use crate::output;

/// Mounts and volumes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Mounts")]
pub(super) struct Mounts {
    /// Mount a volume or a path of the host: [SOURCE:]TARGET[:OPTIONS]
    #[arg(long, short = 'v', value_name = "VOLUME")]
    volume: Vec<String>,
    /// Mount something: type=bind|volume|tmpfs|image,source=...,target=...[,readonly]...
    #[arg(long, value_name = "MOUNT")]
    mount: Vec<String>,
    /// Mount a file system in memory: TARGET[:OPTIONS]
    #[arg(long, value_name = "TARGET")]
    tmpfs: Vec<String>,
    /// Mount what another container has mounted: CONTAINER[:ro]
    #[arg(long, value_name = "CONTAINER")]
    volumes_from: Vec<String>,
    /// Driver of the volumes that --volume makes; local is the only one
    #[arg(long, value_name = "DRIVER", default_value = "", hide_default_value = true)]
    volume_driver: String,
    /// Take write access from the container's root file system
    #[arg(long)]
    read_only: bool,
}

impl Mounts {
    pub(super) fn fill(self, request: &mut CreateContainerRequest) -> Result<(), CommandError> {
        let directory = std::env::current_dir().map_err(|error| {
            CommandError::new(Kind::Environment, format!("the current directory: {error}"))
        })?;
        for text in &self.volume {
            let short::Parsed { mut mount, labelled } = short::parse(text, &directory).map_err(usage)?;
            if mount.kind() == MountKind::Volume {
                mount.driver.clone_from(&self.volume_driver);
            }
            if labelled {
                output::note(&format!(
                    "{text}: z and Z do nothing, as this host has no SELinux labels to set"
                ));
            }
            request.mounts.push(mount);
        }
        for text in &self.mount {
            request.mounts.push(long::parse(text, &directory).map_err(usage)?);
        }
        request.mounts.extend(self.tmpfs.iter().map(|text| tmpfs(text)));
        request.volumes_from = self.volumes_from;
        request.read_only = self.read_only;
        Ok(())
    }
}

fn usage(message: String) -> CommandError {
    CommandError::new(Kind::Usage, message).hint("how things are mounted:  ctl container run --help")
}

fn tmpfs(text: &str) -> Mount {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let words = options.split(',').filter(|word| !word.is_empty());
    let (read_only, options) = words.partition::<Vec<_>, _>(|word| *word == "ro");
    Mount {
        kind: MountKind::Tmpfs.into(),
        target: target.to_owned(),
        read_only: !read_only.is_empty(),
        tmpfs_options: options.into_iter().map(str::to_owned).collect(),
        ..Mount::default()
    }
}

/// A path of the host as the agent understands it: `.` and `..` at its beginning are this command's.
fn absolute(path: &str, directory: &Path) -> String {
    if !path.starts_with('.') {
        return path.to_owned();
    }
    let mut whole = directory.to_path_buf();
    for part in Path::new(path).components() {
        match part {
            std::path::Component::ParentDir => {
                whole.pop();
            }
            std::path::Component::Normal(name) => whole.push(name),
            _ => {}
        }
    }
    whole.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_are_those_of_the_command() {
        let at = Path::new("/home/me/project");
        assert_eq!(absolute("./src", at), "/home/me/project/src");
        assert_eq!(absolute(".", at), "/home/me/project");
        assert_eq!(absolute("../other", at), "/home/me/other");
        assert_eq!(absolute("/srv", at), "/srv");
    }

    #[test]
    fn a_tmpfs_has_a_target_and_options() {
        let mount = tmpfs("/run:ro,size=64m,noexec");
        assert_eq!((mount.target.as_str(), mount.read_only), ("/run", true));
        assert_eq!(mount.tmpfs_options, ["size=64m", "noexec"]);
        assert_eq!(tmpfs("/run").tmpfs_options, Vec::<String>::new());
    }
}
