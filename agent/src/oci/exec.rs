//! `exec`: a further process in a container, from a file or from options.

use std::path::Path;
use std::process::ExitCode;

use agent_engine::oci::{Console, Exec, OciError, Process, Runtime};

use super::cli::Executing;
use super::lifecycle::seal;
use super::run::finish;

pub(super) fn exec(runtime: &Runtime, arguments: &Executing) -> Result<ExitCode, OciError> {
    seal()?;
    let mut process = match &arguments.process {
        Some(path) => read(path)?,
        None => given(runtime, arguments)?,
    };
    if arguments.tty {
        process.set_terminal(Some(true));
    }
    let console = match (&arguments.console_socket, arguments.detach) {
        (Some(socket), _) => Console::Socket(socket),
        (None, true) => Console::None,
        (None, false) => Console::Caller,
    };
    let asked = Exec {
        id: &arguments.id,
        process: &process,
        pid_file: arguments.pid_file.as_deref(),
        console,
        preserve: arguments.preserve_fds,
    };
    let created = runtime.exec(&asked)?;
    if arguments.detach { Ok(ExitCode::SUCCESS) } else { finish(&created).map(ExitCode::from) }
}

fn read(path: &Path) -> Result<Process, OciError> {
    let wrong = |reason: String| OciError::Config { path: path.to_owned(), reason };
    let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))
}

/// The container's own process, with what the arguments say otherwise.
fn given(runtime: &Runtime, arguments: &Executing) -> Result<Process, OciError> {
    if arguments.args.is_empty() {
        return Err(OciError::Usage("name a program to run, or a file with --process".to_owned()));
    }
    let mut process = runtime.first_process(&arguments.id)?;
    process.set_args(Some(arguments.args.clone())).set_terminal(Some(false));
    if let Some(cwd) = &arguments.cwd {
        process.set_cwd(cwd.clone());
    }
    let mut env = process.env().clone().unwrap_or_default();
    env.extend(arguments.env.iter().cloned());
    process.set_env(Some(env));
    if arguments.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    if let Some(user) = &arguments.user {
        let wrong = || OciError::Usage(format!("--user {user}: write numbers, UID or UID:GID"));
        let (uid, gid) = user.split_once(':').unwrap_or((user, "0"));
        let (uid, gid) = (uid.parse().map_err(|_| wrong())?, gid.parse().map_err(|_| wrong())?);
        process.user_mut().set_uid(uid).set_gid(gid);
    }
    if !arguments.additional_gids.is_empty() {
        process.user_mut().set_additional_gids(Some(arguments.additional_gids.clone()));
    }
    Ok(process)
}
