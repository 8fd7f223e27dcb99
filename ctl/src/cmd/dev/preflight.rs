//! What must hold before anything is started. Each refusal says what to do.

use std::net::{SocketAddr, TcpListener};

use super::Args;
use super::layout::Layout;
use crate::error::{CommandError, Kind};

/// Looks at user, kernel and ports.
///
/// # Errors
/// [`Kind::Environment`] with the first thing that is missing.
pub(super) fn check(args: &Args, layout: &Layout) -> Result<(), CommandError> {
    root()?;
    let filesystems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    overlay(&filesystems)?;
    if std::os::unix::net::UnixStream::connect(layout.agent_socket()).is_ok() {
        let text = format!("a cluster already runs on {}", layout.root.display());
        return Err(CommandError::new(Kind::Environment, text)
            .hint("use it as it is:  ctl service ls")
            .hint("or stop it with Ctrl-C where it was started"));
    }
    free(args.controller, "--controller")?;
    free(args.agent, "--agent")
}

fn root() -> Result<(), CommandError> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(CommandError::new(Kind::Environment, "running containers needs root")
        .hint("start it as root:  sudo ctl dev"))
}

fn overlay(filesystems: &str) -> Result<(), CommandError> {
    if filesystems.lines().any(|line| line.split_whitespace().last() == Some("overlay")) {
        return Ok(());
    }
    Err(CommandError::new(Kind::Environment, "this kernel does not know the overlay file system")
        .hint("load it:  modprobe overlay"))
}

fn free(address: SocketAddr, option: &str) -> Result<(), CommandError> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(CommandError::new(Kind::Environment, format!("cannot listen on {address}: {error}"))
                .hint(format!("see who does:  ss -ltnp 'sport = :{}'", address.port()))
                .hint(format!("or take another port:  ctl dev {option} {}:PORT", address.ip())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlay_is_found_by_its_whole_name() {
        assert!(overlay("nodev\tsysfs\nnodev\toverlay\n").is_ok());
        assert!(overlay("nodev\toverlayx\n").is_err());
    }

    #[test]
    fn a_taken_port_names_the_option_to_change() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = taken.local_addr().expect("address");
        let error = free(address, "--agent").expect_err("taken");
        assert!(error.message.contains(&address.to_string()));
        assert!(error.hints.iter().any(|hint| hint.contains("--agent")));
    }
}
