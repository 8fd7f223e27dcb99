//! Several programs, one product: the real binaries on hosts made of network
//! namespaces, driven by `ctl` as a user drives them.

mod adoption;
mod bad_input;
mod dev;
mod faults;
mod registry_faults;
mod service_logs;
mod terminal;
mod transcript;
mod two_nodes;

use std::time::Duration;

use itest::dev::Dev;
use itest::wait;

/// What nobody should have to wait for longer than.
const SOON: Duration = Duration::from_secs(20);

/// A directory for one test, short enough for unix sockets and gone afterwards.
fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("rt-").tempdir_in("/tmp").expect("/tmp is writable")
}

/// Asks a service until `count` different tasks have answered.
#[track_caller]
fn answers_from(dev: &Dev<'_>, url: &str, count: usize) {
    let mut seen = std::collections::BTreeSet::new();
    wait::until(&format!("{count} tasks answer on {url}"), SOON, || {
        let text = dev.curl(url)?;
        let task = text.lines().find_map(|line| line.strip_prefix("task ")).ok_or_else(|| text.clone())?;
        seen.insert(task.to_owned());
        if seen.len() >= count { Ok(()) } else { Err(format!("{seen:?}")) }
    });
}

/// The exit code of a command that must fail, and what it said.
#[track_caller]
fn failure(output: &std::process::Output) -> (i32, String) {
    let said = itest::programs::said(output);
    assert!(!output.status.success(), "it should have failed: {said}");
    (output.status.code().unwrap_or(-1), said)
}
