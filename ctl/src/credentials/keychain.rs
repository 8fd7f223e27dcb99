//! Docker's credential helpers: `docker-credential-NAME get|store|erase`, what it is about on standard input, JSON on
//! standard output. Bounded in time and output; what a helper prints is in no message, since it may be a secret.

use std::process::Stdio;
use std::time::Duration;

use proto::v1::RegistryAuth;
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::error::{CommandError, Kind};

/// People may have to touch a key or type something.
const PATIENCE: Duration = Duration::from_secs(120);
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

/// What a helper has for a key.
pub(super) async fn get(name: &str, key: &str) -> Result<Option<RegistryAuth>, CommandError> {
    let Some(output) = run(name, "get", key).await? else { return Ok(None) };
    let answer: Answer = serde_json::from_slice(&output)
        .map_err(|_| failed(name, "what it printed is not what a helper prints"))?;
    let found = match (answer.username, answer.secret) {
        (_, secret) if secret.is_empty() => return Ok(None),
        (user, identity_token) if user == "<token>" => {
            RegistryAuth { identity_token, ..RegistryAuth::default() }
        }
        (username, password) => RegistryAuth { username, password, ..RegistryAuth::default() },
    };
    Ok(Some(found))
}

/// Gives credentials to a helper.
pub(super) async fn store(name: &str, key: &str, auth: &RegistryAuth) -> Result<(), CommandError> {
    let text = json!({ "ServerURL": key, "Username": auth.username, "Secret": auth.password }).to_string();
    run(name, "store", &text).await.map(drop)
}

/// Makes a helper forget.
pub(super) async fn erase(name: &str, key: &str) -> Result<(), CommandError> {
    run(name, "erase", key).await.map(drop)
}

fn failed(name: &str, what: &str) -> CommandError {
    CommandError::new(Kind::Environment, format!("docker-credential-{name:.40}: {what}"))
        .hint("it is named in Docker's config.json as credsStore or credHelpers")
}

/// Runs a helper; `None` when it has nothing.
async fn run(name: &str, verb: &str, input: &str) -> Result<Option<Vec<u8>>, CommandError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !name.bytes().all(plain) {
        return Err(failed(&name.escape_debug().to_string(), "that is no name of a helper"));
    }
    let running = exchange(name, verb, input);
    let ended = tokio::time::timeout(PATIENCE, running).await;
    ended.unwrap_or_else(|_| Err(failed(name, &format!("it did not answer in {} s", PATIENCE.as_secs()))))
}

async fn exchange(name: &str, verb: &str, input: &str) -> Result<Option<Vec<u8>>, CommandError> {
    let fault = |fault: std::io::Error| failed(name, &fault.to_string());
    let mut child = Command::new(format!("docker-credential-{name}"))
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(fault)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read what it is asked for says so by its answer.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_OUTPUT + 1).read_to_end(&mut output).await.map_err(fault)?;
    }
    if output.len() as u64 > MAX_OUTPUT {
        return Err(failed(name, "it prints without end"));
    }
    let status = child.wait().await.map_err(fault)?;
    if status.success() {
        return Ok(Some(output));
    }
    let nothing = String::from_utf8_lossy(&output).contains(NONE);
    if nothing { Ok(None) } else { Err(failed(name, &format!("{verb} failed ({status})"))) }
}
