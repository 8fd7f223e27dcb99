//! The peer: Debian's dockerd, started by hand on a host of its own, as a swarm
//! of one node.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use itest::host::Host;
use itest::image::Image;
use itest::{dev, programs, wait};

/// A running dockerd.
pub(crate) struct Docker<'h> {
    host: &'h Host,
    socket: String,
    root: PathBuf,
    child: Child,
}

impl<'h> Docker<'h> {
    /// Starts it with everything below `root`.
    pub(crate) fn start(host: &'h Host, root: &Path) -> Self {
        programs::need("dockerd", "docker.io");
        let path = |part: &str| root.join(part).display().to_string();
        std::fs::create_dir_all(root).expect("/tmp is writable");
        let socket = format!("unix://{}", path("docker.sock"));
        let log = std::fs::File::create(root.join("dockerd.log")).expect("/tmp is writable");
        let mut command = host.command("dockerd");
        command.args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")]);
        command.args(["--host", &socket]).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("nsenter starts");
        let docker = Self { host, socket, root: root.to_owned(), child };
        wait::until("dockerd answers", Duration::from_secs(60), || {
            let output = programs::output(&mut docker.command(&["version"]));
            if output.status.success() { Ok(()) } else { Err(programs::said(&output)) }
        });
        docker.must(&["swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1:2377"]);
        docker
    }

    /// A `docker` command.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.host.command("docker");
        command.args(["--host", &self.socket]).args(arguments).stdin(Stdio::null());
        command
    }

    /// A command line for the shell of this host.
    pub(crate) fn line(&self, arguments: &str) -> String {
        format!("docker --host {} {arguments}", self.socket)
    }

    /// Its processes: the engine and the containerd that it started.
    pub(crate) fn daemons(&self) -> Vec<u32> {
        let own = self.root.display().to_string();
        let is_own = |line: &[String]| {
            line.first()
                .is_some_and(|program| program.ends_with("dockerd") || program.ends_with("containerd"))
                && line.iter().any(|word| word.contains(&own))
        };
        dev::processes().filter(|(_, line)| is_own(line)).map(|(pid, _)| pid).collect()
    }

    /// Runs `docker`, which must succeed.
    #[track_caller]
    pub(crate) fn must(&self, arguments: &[&str]) -> String {
        programs::succeed(&mut self.command(arguments))
    }

    /// Both versions, on a line.
    pub(crate) fn version(&self) -> String {
        let format =
            "docker {{.Client.Version}}, engine {{.Server.Version}}, kernel {{.Server.KernelVersion}}";
        self.must(&["version", "--format", format]).trim().to_owned()
    }

    /// Makes an image of the same single layer.
    pub(crate) fn import(&self, image: &Image) {
        let file = self.root.join("layer.tar.gz");
        std::fs::write(&file, &image.layer).expect("/tmp is writable");
        let name = file.display().to_string();
        self.must(&["import", "--change", "CMD [\"sleep\", \"1000000\"]", &name, crate::IMAGE]);
    }
}

impl Drop for Docker<'_> {
    fn drop(&mut self) {
        dev::kill(self.child.id(), "TERM");
        let _ = self.child.wait();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let below = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .filter(|path| Path::new(path).starts_with(&self.root));
        for path in below.collect::<Vec<_>>().into_iter().rev() {
            let _ = Command::new("umount").args(["-l", path]).output();
        }
    }
}
