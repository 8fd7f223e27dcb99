//! Credentials for registries where Docker keeps them: `config.json` in `$DOCKER_CONFIG` or `~/.docker`, and the
//! helper programs that it names. What else is in the file stays as it is.

mod keychain;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto::v1::RegistryAuth;
use serde_json::{Map, Value, json};

use crate::error::{CommandError, Kind};
use crate::output;

/// Docker Hub among registries, and its key in Docker's file.
const HUB: &str = "docker.io";
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// Docker's configuration file.
#[derive(Debug)]
pub struct DockerConfig {
    path: PathBuf,
    members: Map<String, Value>,
}

/// Where credentials were kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the file itself.
    File(PathBuf),
    /// With the helper of this name.
    Helper(String),
}

/// This user's credentials for an image's registry. Without any, or when they cannot be read, the agent's own are
/// left to be taken.
pub async fn for_image(image: &str) -> Option<RegistryAuth> {
    let config = match DockerConfig::load() {
        Ok(config) => config,
        Err(error) => {
            output::note(&format!("going on without credentials: {error}"));
            return None;
        }
    };
    let registry = of_image(image);
    config.find(&registry).await.unwrap_or_else(|error| {
        output::note(&format!("going on without credentials for {registry}: {error}"));
        None
    })
}

/// The registry in an image's name, by Docker's rule: what stands before the first slash, if it can be a host.
fn of_image(image: &str) -> String {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => host(first).to_owned(),
        _ => HUB.to_owned(),
    }
}

/// A registry as people write it to log in: its host, perhaps as a URL.
///
/// # Errors
/// When it cannot be one.
pub fn registry(text: &str) -> Result<String, CommandError> {
    let host = host(text);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
    match host {
        "" => Ok(HUB.to_owned()),
        host if host.bytes().all(plain) && !host.starts_with(['.', '-', ':']) => Ok(host.to_owned()),
        _ => Err(CommandError::new(Kind::Usage, format!("{text:?} is not a registry"))
            .hint("write its host and port, for example registry.example:5000")),
    }
}

/// Keys are hosts, or URLs from older versions; Docker Hub goes by its first name.
fn host(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    match key.split('/').next().unwrap_or_default() {
        "index.docker.io" | "registry-1.docker.io" => HUB,
        host => host,
    }
}

fn key(registry: &str) -> &str {
    if registry == HUB { HUB_KEY } else { registry }
}

impl DockerConfig {
    /// Reads the file; one that is not there is empty.
    ///
    /// # Errors
    /// When it cannot be read or is not Docker's.
    pub fn load() -> Result<Self, CommandError> {
        let dir = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
        let dir = dir.or_else(home).ok_or_else(|| {
            CommandError::new(Kind::Environment, "there is no place for credentials")
                .hint("set DOCKER_CONFIG or HOME")
        })?;
        Self::load_from(&dir.join("config.json"))
    }

    fn load_from(path: &Path) -> Result<Self, CommandError> {
        let failed = |reason: String| {
            CommandError::new(Kind::Environment, format!("cannot read {}: {reason}", path.display()))
        };
        // Behind a link lies the file that is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let members = match fs::read(&path) {
            // Not the parser's own words: they may quote a secret.
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|fault| failed(format!("line {} is not what docker login writes", fault.line())))?,
            Err(fault) if fault.kind() == ErrorKind::NotFound => Map::new(),
            Err(fault) => return Err(failed(fault.to_string())),
        };
        Ok(Self { path, members })
    }

    /// The credentials for a registry.
    ///
    /// # Errors
    /// When its helper fails.
    pub async fn find(&self, registry: &str) -> Result<Option<RegistryAuth>, CommandError> {
        if let Some(helper) = self.helper(registry)
            && let Some(found) = keychain::get(&helper, key(registry)).await?
        {
            return Ok(Some(RegistryAuth { registry: registry.to_owned(), ..found }));
        }
        let entries = self.members.get("auths").and_then(Value::as_object);
        let entry = entries.and_then(|entries| entries.iter().find(|(key, _)| host(key) == registry));
        Ok(entry.and_then(|(_, entry)| decode(registry, entry)))
    }

    /// Keeps credentials: with the registry's helper, or in the file.
    ///
    /// # Errors
    /// When that does not work; nothing is changed then.
    pub async fn store(mut self, auth: &RegistryAuth) -> Result<Place, CommandError> {
        let (entry, place) = match self.helper(&auth.registry) {
            Some(helper) => {
                keychain::store(&helper, key(&auth.registry), auth).await?;
                (json!({}), Place::Helper(helper))
            }
            None => {
                let encoded = STANDARD.encode(format!("{}:{}", auth.username, auth.password));
                (json!({ "auth": encoded }), Place::File(self.path.clone()))
            }
        };
        self.forget(&auth.registry);
        let auths = self.members.entry("auths").or_insert_with(|| json!({}));
        if let Some(auths) = auths.as_object_mut() {
            auths.insert(key(&auth.registry).to_owned(), entry);
        }
        self.save()?;
        Ok(place)
    }

    /// Forgets the credentials for a registry; answers whether there were any.
    ///
    /// # Errors
    /// When its helper fails, or the file cannot be written.
    pub async fn erase(mut self, registry: &str) -> Result<bool, CommandError> {
        let mut known = false;
        if let Some(helper) = self.helper(registry) {
            known = keychain::get(&helper, key(registry)).await?.is_some();
            if known {
                keychain::erase(&helper, key(registry)).await?;
            }
        }
        if self.forget(registry) {
            self.save()?;
            known = true;
        }
        Ok(known)
    }

    /// The helper for a registry.
    fn helper(&self, registry: &str) -> Option<String> {
        let own = self.members.get("credHelpers").and_then(Value::as_object);
        let own = own.and_then(|own| own.iter().find(|(key, _)| host(key) == registry)).map(|(_, name)| name);
        let name = own.or_else(|| self.members.get("credsStore"))?.as_str()?;
        Some(name.to_owned()).filter(|name| !name.is_empty())
    }

    /// Takes a registry out of the list; answers whether it was in it.
    fn forget(&mut self, registry: &str) -> bool {
        let Some(auths) = self.members.get_mut("auths").and_then(Value::as_object_mut) else { return false };
        let before = auths.len();
        auths.retain(|key, _| host(key) != registry);
        auths.len() != before
    }

    /// Replaces the file in one step; only its owner may read it.
    fn save(&self) -> Result<(), CommandError> {
        let write = || -> std::io::Result<()> {
            let dir = self.path.parent().unwrap_or(Path::new("."));
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            let temporary = dir.join(format!(".config.json.{}", std::process::id()));
            // What a killed one of the same number left.
            let _ = fs::remove_file(&temporary);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            let written = serde_json::to_writer_pretty(&file, &self.members).map_err(std::io::Error::from);
            let written = written.and_then(|()| file.write_all(b"\n")).and_then(|()| file.sync_all());
            let renamed = written.and_then(|()| fs::rename(&temporary, &self.path));
            if renamed.is_err() {
                let _ = fs::remove_file(&temporary);
            }
            renamed.and_then(|()| File::open(dir)?.sync_all())
        };
        write().map_err(|fault| {
            CommandError::new(Kind::Environment, format!("cannot write {}: {fault}", self.path.display()))
        })
    }
}

/// An entry of Docker's list.
fn decode(registry: &str, entry: &Value) -> Option<RegistryAuth> {
    let text = |member: &str| entry.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (mut username, mut password) = (text("username"), text("password"));
    let identity_token = text("identitytoken");
    if let Some(plain) =
        STANDARD.decode(text("auth").trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok())
        && let Some((user, word)) = plain.split_once(':')
    {
        (username, password) = (user.to_owned(), word.trim_end_matches('\0').to_owned());
    }
    let found = RegistryAuth { registry: registry.to_owned(), username, password, identity_token };
    Some(found).filter(|found| !found.username.is_empty() || !found.identity_token.is_empty())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn auth(registry: &str, username: &str, password: &str) -> RegistryAuth {
        let [registry, username, password] = [registry, username, password].map(str::to_owned);
        RegistryAuth { registry, username, password, identity_token: String::new() }
    }

    #[tokio::test]
    async fn what_is_stored_is_found_and_the_rest_of_the_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/config.json");
        fs::create_dir(dir.path().join("new")).unwrap();
        fs::write(&path, r#"{"psFormat":"x","auths":{"https://other.example/v1/":{"auth":"YTpi"}}}"#)
            .unwrap();
        let load = || DockerConfig::load_from(&path).unwrap();
        for registry in ["docker.io", "localhost:5000"] {
            let given = auth(registry, "user", "a:b c");
            assert_eq!(load().store(&given).await.unwrap(), Place::File(path.clone()));
            assert_eq!(load().find(registry).await.unwrap(), Some(given));
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("psFormat") && text.contains(HUB_KEY), "{text}");
        assert!(!text.contains("a:b c"), "{text}");
        assert_eq!(load().find("other.example").await.unwrap(), Some(auth("other.example", "a", "b")));
        assert!(load().erase("localhost:5000").await.unwrap());
        assert!(!load().erase("localhost:5000").await.unwrap());
        assert_eq!(load().find("localhost:5000").await.unwrap(), None);
        assert_eq!(load().find("localhost").await.unwrap(), None);
        assert_eq!(fs::read_dir(dir.path().join("new")).unwrap().count(), 1, "nothing temporary stays");
    }

    #[test]
    fn registries_are_read_from_images_and_from_what_people_write() {
        for (image, expected) in [
            ("alpine", "docker.io"),
            ("library/alpine:3", "docker.io"),
            ("localhost/x", "localhost"),
            ("localhost:5000/x", "localhost:5000"),
            ("index.docker.io/x/y", "docker.io"),
            ("r.example/x@sha256:0", "r.example"),
        ] {
            assert_eq!(of_image(image), expected);
        }
        for (text, expected) in
            [("", "docker.io"), ("https://r.example/v2/", "r.example"), ("r:5000", "r:5000")]
        {
            assert_eq!(registry(text).unwrap(), expected);
        }
        for bad in ["a b", "-x", ":5000", "x\u{1b}"] {
            assert!(registry(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_broken_file_is_named_and_not_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        fs::write(&path, r#"{"auths":{"x":{"auth":"c2VjcmV0" oops}}}"#).unwrap();
        let message = DockerConfig::load_from(&path).unwrap_err().message;
        assert!(message.contains("config.json") && !message.contains("c2VjcmV0"), "{message}");
    }
}
