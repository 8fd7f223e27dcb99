//! The program of a container: what is run, as whom, where, with which
//! variables, how it is ended, and what its standard input is.

use std::path::PathBuf;

use proto::v1::CreateContainerRequest;

use super::notation;
use crate::cmd::service::spec;
use crate::error::{CommandError, Kind};
use crate::terminal;

/// What runs in the container.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Program")]
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
    /// Set the variables that a file lists, one a line
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Run as this user: UID[:GID] or a name of the image
    #[arg(long, short = 'u', default_value = "", hide_default_value = true)]
    user: String,
    /// Add the program to a group: a name of the image, or a number
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// Start in this directory
    #[arg(long, short = 'w', default_value = "", hide_default_value = true)]
    workdir: String,
    /// Run this program instead of the image's entrypoint
    #[arg(long)]
    entrypoint: Option<String>,
    /// The signal that asks it to end (default: the image's, else SIGTERM)
    #[arg(long, value_name = "SIGNAL", default_value = "", hide_default_value = true)]
    stop_signal: String,
    /// How long it may take to end before it is killed (default 10); -1 for as long as it likes
    #[arg(long, value_name = "SECONDS", value_parser = notation::grace, allow_hyphen_values = true)]
    stop_timeout: Option<u32>,
    /// Run a small process 1 that reaps what is left to it and passes signals on
    #[arg(long)]
    init: bool,
    /// Set a label: KEY=VALUE
    #[arg(long, short = 'l', value_parser = spec::label)]
    label: Vec<(String, String)>,
    /// Set the labels that a file lists, one a line
    #[arg(long, value_name = "FILE")]
    label_file: Vec<PathBuf>,
    /// Note something for other tools: KEY=VALUE
    #[arg(long, value_parser = spec::label)]
    annotation: Vec<(String, String)>,
}

impl Process {
    pub(super) fn fill(self, request: &mut CreateContainerRequest) -> Result<(), CommandError> {
        let (rows, columns) = terminal::size().filter(|_| self.tty).unwrap_or((24, 80));
        (request.rows, request.columns) = (rows.into(), columns.into());
        (request.terminal, request.stdin) = (self.tty, self.interactive);
        let container = super::spec(request);
        container.entrypoint = self.entrypoint.into_iter().collect();
        // What is given by name goes over what comes from a file.
        container.env = variables_of(&self.env_file)?;
        container.env.extend(self.env);
        container.labels =
            from_files(&self.label_file, |line| Some(spec::label(line)))?.into_iter().collect();
        container.labels.extend(self.label);
        container.user = self.user;
        container.working_dir = self.workdir;
        let isolation = super::isolation(request);
        isolation.groups = self.group_add;
        isolation.init = self.init;
        isolation.stop_signal = self.stop_signal;
        isolation.stop_seconds = self.stop_timeout;
        isolation.annotations = self.annotation.into_iter().collect();
        Ok(())
    }
}

/// The variables that some files set.
pub(in crate::cmd::container) fn variables_of(files: &[PathBuf]) -> Result<Vec<String>, CommandError> {
    from_files(files, |line| variable(line).transpose())
}

/// What the lines of some files mean; the first that means nothing is named.
fn from_files<T>(
    files: &[PathBuf],
    read: impl Fn(&str) -> Option<Result<T, String>>,
) -> Result<Vec<T>, CommandError> {
    let mut all = Vec::new();
    for path in files {
        let lines = notation::lines_of(path).map_err(|message| CommandError::new(Kind::Usage, message))?;
        for value in lines.iter().filter_map(|line| read(line)) {
            all.push(value.map_err(|message| {
                CommandError::new(Kind::Usage, format!("{}: {message}", path.display()))
            })?);
        }
    }
    Ok(all)
}

/// A line of a file of variables. A name alone takes its value from here, and is nothing where it has none.
fn variable(line: &str) -> Result<Option<String>, String> {
    let name = line.split('=').next().unwrap_or_default();
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(format!("{line:?} has no name without blanks; expected NAME=VALUE"));
    }
    match line.contains('=') {
        true => Ok(Some(line.to_owned())),
        false => Ok(std::env::var(name).ok().map(|value| format!("{name}={value}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_a_value_takes_it_from_here() {
        assert_eq!(variable("A=b=c"), Ok(Some("A=b=c".into())));
        assert_eq!(variable("NO_SUCH_VARIABLE_HERE"), Ok(None));
        let here = std::env::var("PATH").map(|path| Some(format!("PATH={path}")));
        assert_eq!(variable("PATH"), here.map_err(|error| error.to_string()));
        assert!(variable("a b=c").is_err() && variable("=c").is_err());
    }

    #[test]
    fn a_bad_line_names_its_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "A=1\nb c=2\n").unwrap();
        let files = [file.path().to_owned()];
        let error = from_files(&files, |line| variable(line).transpose()).unwrap_err();
        assert!(error.message.contains(&*file.path().to_string_lossy()), "{error}");
    }
}
