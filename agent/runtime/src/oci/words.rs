//! What a command line needs beside the containers: signals by name, times, exit codes, a configuration to start
//! from.

use std::os::fd::AsFd;
use std::str::FromStr;

use oci_spec::runtime::Spec;
use rustix::process::{WaitId, WaitIdOptions};

use super::error::cannot;
use super::{Created, OciError};
use crate::defaults;
use crate::keeper::time;

/// Exit code of a process that a signal ended, less the signal.
const SIGNALLED: i32 = 128;

/// A signal by its name, with or without `SIG`, or by its number.
pub fn signal_number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (0..=64).contains(&number).then_some(number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let offset: i32 = if rest.is_empty() { 0 } else { rest.strip_prefix('+')?.parse().ok()? };
        return (0..=30).contains(&offset).then_some(34 + offset);
    }
    nix::sys::signal::Signal::from_str(&format!("SIG{name}")).ok().map(|signal| signal as i32)
}

/// Seconds since 1970 as RFC 3339.
pub fn rfc3339(seconds: u64) -> String {
    time::rfc3339(seconds.saturating_mul(1_000_000_000))
}

/// Waits for the end of a process that this one made, and answers its exit code, or 128 and the signal.
pub fn wait_for(created: &Created) -> Result<u8, OciError> {
    let waited = rustix::process::waitid(WaitId::PidFd(created.pidfd.as_fd()), WaitIdOptions::EXITED);
    let status = waited.map_err(cannot("wait for the process"))?;
    let code = status.and_then(|status| {
        status.exit_status().or(status.terminating_signal().map(|signal| SIGNALLED + signal))
    });
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}

/// A shell in `rootfs`, with the confinement that this engine gives its own containers.
pub fn example() -> Spec {
    let mut spec = defaults::spec(None);
    spec.set_version(super::VERSION.to_owned()).set_hostname(Some("container".to_owned()));
    if let Some(root) = spec.root_mut() {
        root.set_path("rootfs".into()).set_readonly(Some(true));
    }
    if let Some(process) = spec.process_mut() {
        process.set_args(Some(vec!["sh".to_owned()])).set_terminal(Some(true));
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        assert_eq!(signal_number("KILL"), Some(9));
        assert_eq!(signal_number("sigterm"), Some(15));
        assert_eq!(signal_number("RTMIN+3"), Some(37));
        assert_eq!(signal_number("0"), Some(0));
        assert_eq!((signal_number("NONSENSE"), signal_number("65"), signal_number("-9")), (None, None, None));
    }
}
