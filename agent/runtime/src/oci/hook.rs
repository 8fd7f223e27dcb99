//! Hooks: programs of the caller's choice that are told the container's state on their standard input.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use oci_spec::runtime::Hook;
use serde::{Deserialize, Serialize};

/// Why a hook failed.
#[derive(Debug, thiserror::Error)]
#[error("the hook {path} failed: {reason}")]
pub struct HookError {
    path: PathBuf,
    reason: String,
}

/// What a hook is told, but for the status.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HookState {
    pub oci_version: String,
    pub id: String,
    pub bundle: PathBuf,
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub annotations: std::collections::BTreeMap<String, String>,
}

impl HookState {
    /// As a hook in the runtime's namespaces is told.
    pub(crate) fn in_runtime(&self, status: &str, pid: i32) -> String {
        let mut state = serde_json::json!({
            "ociVersion": self.oci_version,
            "id": self.id,
            "status": status,
            "bundle": self.bundle,
        });
        if pid > 0 {
            state["pid"] = pid.into();
        }
        if !self.annotations.is_empty() {
            state["annotations"] = serde_json::json!(self.annotations);
        }
        state.to_string()
    }

    /// As a hook in the container's namespaces is told: the process id is that of this process, as seen there.
    pub(crate) fn in_container(&self, status: &str) -> String {
        self.in_runtime(status, rustix::process::getpid().as_raw_pid())
    }
}

/// Runs `hooks` in their order, up to the first that fails.
pub(crate) fn run_all(hooks: &[Hook], state: &str) -> Result<(), HookError> {
    hooks.iter().try_for_each(|hook| run(hook, state))
}

/// Runs `hooks` in their order, all of them, and returns what failed.
pub(crate) fn run_each(hooks: &[Hook], state: &str) -> Vec<HookError> {
    hooks.iter().filter_map(|hook| run(hook, state).err()).collect()
}

/// Refuses hooks that cannot be meant.
pub(crate) fn check(hooks: &[Hook]) -> Result<(), HookError> {
    for hook in hooks {
        let failed = |reason: &str| HookError { path: hook.path().clone(), reason: reason.to_owned() };
        if !hook.path().is_absolute() {
            return Err(failed("its path must be absolute"));
        }
        if hook.timeout().is_some_and(|timeout| timeout <= 0) {
            return Err(failed("its timeout must be greater than zero"));
        }
    }
    Ok(())
}

fn run(hook: &Hook, state: &str) -> Result<(), HookError> {
    let failed = |reason: String| HookError { path: hook.path().clone(), reason };
    attempt(hook, state)
        .map_err(|error| failed(error.to_string()))?
        .map_or(Ok(()), |reason| Err(failed(reason)))
}

/// `Some` says how it ended when that is not success.
fn attempt(hook: &Hook, state: &str) -> io::Result<Option<String>> {
    let mut command = Command::new(hook.path());
    let args = hook.args().as_deref().unwrap_or_default();
    if let Some((name, rest)) = args.split_first() {
        command.arg0(name).args(rest);
    }
    command.env_clear();
    for variable in hook.env().iter().flatten() {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        command.env(name, value);
    }
    // What a hook prints belongs with the runtime's own complaints, not with what it answers.
    let errors = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3)?;
    let mut child = command.stdin(Stdio::piped()).stdout(errors).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook need not read it.
        let _ = stdin.write_all(state.as_bytes());
    }
    let timeout = hook.timeout().and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    let since = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((!status.success()).then(|| status.to_string()));
        }
        if timeout.is_some_and(|timeout| since.elapsed() >= timeout) {
            child.kill()?;
            child.wait()?;
            return Ok(Some("it took longer than its timeout".to_owned()));
        }
        if timeout.is_none() {
            let status = child.wait()?;
            return Ok((!status.success()).then(|| status.to_string()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
