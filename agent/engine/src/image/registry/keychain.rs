//! Docker's credential helpers: `docker-credential-NAME get`, the registry on its standard input, JSON on its standard
//! output. A helper is the administrator's own program; it is still bounded in time and output, and what it prints
//! is in no message, since that may be a secret.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::credentials::Credentials;

const PATIENCE: Duration = Duration::from_secs(30);
const MAX_OUTPUT: u64 = 64 << 10;
/// What helpers print when they have nothing for a registry; it is no failure.
const NONE: &str = "credentials not found";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// Asks the helper `name` for what it has for `registry`.
pub(super) async fn get(name: &str, registry: &str) -> Result<Option<Credentials>, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !name.bytes().all(plain) {
        return Err(format!("{name:.40?} is no name of a credential helper"));
    }
    let program = PathBuf::from(format!("docker-credential-{name}"));
    let asking = ask(&program, registry);
    tokio::time::timeout(PATIENCE, asking)
        .await
        .unwrap_or_else(|_| Err(format!("{} did not answer in {} s", program.display(), PATIENCE.as_secs())))
}

async fn ask(program: &Path, registry: &str) -> Result<Option<Credentials>, String> {
    let failed = |what: &str| format!("{}: {what}", program.display());
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|fault| failed(&fault.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read what it is asked for says so by its answer.
        let _ = stdin.write_all(registry.as_bytes()).await;
    }
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let reading = stdout.take(MAX_OUTPUT + 1).read_to_end(&mut output).await;
        reading.map_err(|fault| failed(&fault.to_string()))?;
    }
    if output.len() as u64 > MAX_OUTPUT {
        return Err(failed("it prints without end"));
    }
    let status = child.wait().await.map_err(|fault| failed(&fault.to_string()))?;
    if !status.success() {
        let nothing = String::from_utf8_lossy(&output).contains(NONE);
        return if nothing { Ok(None) } else { Err(failed(&format!("it failed ({status})"))) };
    }
    let answer: Answer =
        serde_json::from_slice(&output).map_err(|_| failed("what it printed is not what a helper prints"))?;
    Ok(match (answer.username.as_str(), answer.secret.as_str()) {
        (_, "") => None,
        ("<token>", token) => Some(Credentials::identity_token(token)),
        (user, password) => Some(Credentials::password(user, password)),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    async fn run(script: &str) -> Result<Option<Credentials>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker-credential-test");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        ask(&path, "r.example").await
    }

    #[tokio::test]
    async fn a_helper_is_asked_by_its_protocol() {
        let script = r#"[ "$1 $(cat)" = "get r.example" ] && echo '{"ServerURL":"r.example","Username":"u","Secret":"p"}'"#;
        assert_eq!(run(script).await, Ok(Some(Credentials::password("u", "p"))));
        let script = r#"echo '{"Username":"<token>","Secret":"t"}'"#;
        assert_eq!(run(script).await, Ok(Some(Credentials::identity_token("t"))));
        assert_eq!(run("echo 'credentials not found in native keychain'; exit 1").await, Ok(None));
    }

    #[tokio::test]
    async fn a_helper_that_misbehaves_is_named_and_not_quoted() {
        for (script, expected) in [
            ("echo hunter2; exit 3", "failed"),
            ("echo hunter2", "not what a helper prints"),
            ("yes hunter2", "without end"),
        ] {
            let reason = run(script).await.unwrap_err();
            assert!(reason.contains(expected) && !reason.contains("hunter2"), "{reason}");
        }
    }
}
