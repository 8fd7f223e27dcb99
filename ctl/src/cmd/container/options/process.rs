//! The program of a container: what is run, as whom, where, with which
//! variables, and what its standard input is.

use proto::v1::CreateContainerRequest;

use crate::cmd::service::spec;
use crate::error::CommandError;
use crate::terminal;

/// What runs in the container.
#[derive(Debug, clap::Args)]
pub(in crate::cmd::container) struct Process {
    /// Keep standard input open
    #[arg(long, short = 'i')]
    pub(in crate::cmd::container) interactive: bool,
    /// Give it a terminal
    #[arg(long, short = 't')]
    pub(in crate::cmd::container) tty: bool,
    /// Set a variable: NAME=VALUE
    #[arg(long, short = 'e', value_name = "VARIABLE", value_parser = spec::env)]
    env: Vec<String>,
    /// Run as this user: UID[:GID] or a name of the image
    #[arg(long, short = 'u', default_value = "", hide_default_value = true)]
    user: String,
    /// Start in this directory
    #[arg(long, short = 'w', default_value = "", hide_default_value = true)]
    workdir: String,
    /// Run this program instead of the image's entrypoint
    #[arg(long)]
    entrypoint: Option<String>,
}

impl Process {
    pub(super) fn fill(self, request: &mut CreateContainerRequest) -> Result<(), CommandError> {
        let (rows, columns) = terminal::size().filter(|_| self.tty).unwrap_or((24, 80));
        (request.rows, request.columns) = (rows.into(), columns.into());
        (request.terminal, request.stdin) = (self.tty, self.interactive);
        let container = super::spec(request);
        container.entrypoint = self.entrypoint.into_iter().collect();
        container.env = self.env;
        container.user = self.user;
        container.working_dir = self.workdir;
        Ok(())
    }
}
