//! Making a container: everything is checked before anything exists, and the
//! record is written before anything of it exists on the host.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::health::Healthcheck;
use super::isolation::NetworkMode;
use super::record::{Entry, Phase, RANGES, Record, short};
use super::{
    ContainerConfig, ContainerEventKind, MEMORY_MINIMUM, files, fleeting, identity, restart, sharing, signal,
    spec, user,
};
use crate::EngineError;
use crate::engine::Inner;
use crate::image::{Image, Platform, Reference};
use crate::records::{Durability, MAX_VALUE};

/// What a record may still grow by, in bytes: times, an exit, an error.
const LATER: usize = 8 * 1024;

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

impl Inner {
    pub(crate) async fn create(self: &Arc<Self>, config: ContainerConfig) -> Result<String, EngineError> {
        check(&config)?;
        config.isolation.check(&config)?;
        self.host.check(&config)?;
        for port in &config.ports {
            if config.task.is_none() {
                self.check_port_free(port, None)?;
                self.network.check_port(port.protocol, port.published)?;
            }
        }
        let reference: Reference =
            config.image.parse().map_err(|error| EngineError::invalid("image", format!("{error}")))?;
        // Until the container is known by its record, what it is made of is in nobody's use.
        let staying = self.images.stay().await;
        let image = self.image_to_run(&reference, &config.image).await?;
        let image_digest = image.manifest_digest.clone();
        let record = self.prepare_record(config, image).await?;
        check_size(&record)?;
        super::logging::policy(&record)?;
        let entry = self.reserve(record)?;
        self.images.touch(&image_digest);
        drop(staying);
        let _work = entry.work.lock().await;
        if entry.live().removed {
            // Recovery came first, and took it for one whose maker is gone.
            return Err(EngineError::Keeper(
                "it was lost while the container was made; try again".to_owned(),
            ));
        }
        match self.make(&entry).await {
            Ok(()) => {
                self.tell(&entry, ContainerEventKind::Created);
                Ok(entry.id.clone())
            }
            Err(error) => {
                if let Err(left) = self.erase(&entry).await {
                    tracing::warn!(container = entry.id, %left, "cannot undo a failed create; the next start will");
                }
                Err(error)
            }
        }
    }

    /// The image of that name or id, which must be for this host.
    async fn image_to_run(&self, reference: &Reference, text: &str) -> Result<Image, EngineError> {
        let image = match self.images.get(reference).await? {
            Some(image) => image,
            None => {
                self.images.get_found(text).await?.ok_or_else(|| EngineError::NoSuchImage(text.to_owned()))?
            }
        };
        if !image.unpacked {
            let (host, own) = (Platform::host(), image.config.platform());
            let rule = format!("{text} is here for {own} only, this host is {host}: pull it again");
            return Err(EngineError::invalid("image", rule));
        }
        Ok(image)
    }

    async fn prepare_record(&self, mut config: ContainerConfig, image: Image) -> Result<Record, EngineError> {
        self.publish_exposed(&mut config, &image)?;
        if let NetworkMode::Container(other) = &mut config.isolation.namespaces.network {
            // Its name may be another's by the time of a start.
            let found = identity::resolve(&self.entries(), other)?.id.clone();
            *other = found;
        }
        self.resolve_sharing(&mut config)?;
        config.health = health(config.health.take(), &image)?;
        config.log.get_or_insert_default();
        self.resolve_mounts(&mut config, &image)?;
        let mounted = self.mounted_images(&config).await?;
        self.check_device_names(&config).await?;
        let command = command(&config, &image)?;
        let wanted_user = if config.user.is_empty() { &image.config.user } else { &config.user };
        let layers: Vec<_> =
            image.layers.iter().rev().map(|layer| self.snapshots.layer_path(layer)).collect();
        let (wanted, groups) = (wanted_user.clone(), config.isolation.groups.clone());
        let identity = blocking(move || {
            let mut identity = user::look_up(&layers, &wanted)?;
            user::add_groups(&layers, &mut identity, &groups)?;
            Ok(identity)
        })
        .await?;
        let working_dir = working_dir(&config, &image)?;
        // What the caller gave was checked; what an image says and nobody knows is the default, as in Docker.
        let given = signal::parse(&config.isolation.stop_signal);
        let stop_signal = given.or_else(|| signal::parse(&image.config.stop_signal)).unwrap_or(15);
        let env = spec::merge_environment(&[&image.config.env, &config.env]);
        let on_bridge = config.isolation.namespaces.network == NetworkMode::Bridge;
        let id = match on_bridge.then(|| self.network.lend()).flatten() {
            Some(id) => id,
            None => identity::new_id().map_err(|error| EngineError::file("read", "/dev/urandom", error))?,
        };
        let hostname = match (config.isolation.namespaces.uts_host, config.hostname.is_empty()) {
            (true, _) => rustix::system::uname().nodename().to_string_lossy().into_owned(),
            (false, true) => short(&id),
            (false, false) => config.hostname.clone(),
        };
        Ok(Record {
            name: config.name.clone().unwrap_or_else(|| short(&id)),
            id,
            phase: Phase::Making,
            image_digest: image.manifest_digest.to_string(),
            layers: image.layers,
            mounted,
            command,
            env,
            working_dir,
            hostname,
            identity,
            stop_signal,
            range: 0,
            project: None,
            created_at_ms: now_ms(),
            started_at_ms: None,
            exit: None,
            error: None,
            taken_down: false,
            restarts: restart::Restarts::default(),
            health: None,
            noted: false,
            config,
        })
    }

    /// Takes the name and a range of ids, in one step with becoming known.
    fn reserve(&self, mut record: Record) -> Result<Arc<Entry>, EngineError> {
        let mut entries = self.entries();
        let mut taken = std::collections::BTreeSet::new();
        let mut projects = std::collections::BTreeSet::new();
        for entry in entries.values() {
            let live = entry.live();
            if live.record.name == record.name && !live.is_leaving() {
                return Err(EngineError::NameTaken { name: record.name, id: live.record.short_id() });
            }
            if record.config.task.is_some() && live.record.config.task == record.config.task {
                let name = record.config.task.unwrap_or_default();
                return Err(EngineError::NameTaken { name, id: live.record.short_id() });
            }
            taken.insert(live.record.range);
            projects.extend(live.record.project);
        }
        if record.config.isolation.resources.root_bytes.is_some() {
            record.project = self.config.projects_of_containers().find(|project| !projects.contains(project));
        }
        if let Some(shared) = sharing::range(&entries, &record)? {
            record.range = shared;
            let entry = Arc::new(Entry::new(record));
            entries.insert(entry.id.clone(), Arc::clone(&entry));
            return Ok(entry);
        }
        record.range = (0..RANGES).find(|range| !taken.contains(range)).ok_or_else(|| {
            EngineError::invalid("container", format!("this host has {RANGES} containers, no more fit"))
        })?;
        let entry = Arc::new(Entry::new(record));
        entries.insert(entry.id.clone(), Arc::clone(&entry));
        Ok(entry)
    }

    async fn make(&self, entry: &Entry) -> Result<(), EngineError> {
        let record = entry.live().record.clone();
        // Losing this one loses nothing: what it announces is then found to be an orphan. Volumes are not.
        let noted = record.is_fleeting() && record.config.mounts.is_empty();
        if !noted {
            self.put(&record, Durability::Volatile).await?;
        }
        self.make_volumes(&record).await?;
        let mounts = self.snapshots.prepare(&record.id, &record.layers, record.ids()).await?;
        if let (Some(project), Some(bytes)) = (record.project, record.config.isolation.resources.root_bytes) {
            self.snapshots.limit(&record.id, project, bytes).await?;
        }
        let dir = self.config.container_dir(&record.id);
        files::make_dir(&dir)?;
        let record = entry.change(|live| {
            live.record.phase = Phase::Created;
            live.record.noted = noted;
            live.mounts = Some(mounts);
        });
        let durability = if record.is_fleeting() { Durability::Volatile } else { Durability::Synced };
        if record.is_fleeting() {
            fleeting::note(&dir, &record)?;
        }
        self.put(&record, durability).await
    }
}

/// What is asked for, over what the image says; only what is checked at all is kept.
fn health(asked: Option<Healthcheck>, image: &Image) -> Result<Option<Healthcheck>, EngineError> {
    let health = asked.unwrap_or_default().over(&image.config.healthcheck);
    health.validate()?;
    Ok(health.check().is_some().then_some(health))
}

/// Runs what blocks on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| EngineError::Closed)?
}

pub(super) fn check(config: &ContainerConfig) -> Result<(), EngineError> {
    if let Some(name) = &config.name {
        identity::check_name(name)?;
    }
    check_restart(config)?;
    if let Some(bytes) = config.limits.memory_bytes
        && bytes < MEMORY_MINIMUM
    {
        let rule = format!(
            "{bytes} bytes is too little to start a container, at least {MEMORY_MINIMUM} (6 MiB) are needed"
        );
        return Err(EngineError::invalid("memory limit", rule));
    }
    if config.limits.pids == Some(0) || config.limits.nano_cpus == Some(0) {
        return Err(EngineError::invalid("limits", "a limit of 0 leaves nothing to run with"));
    }
    if config.hostname.len() > 63
        || !config.hostname.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
    {
        let rule = format!("{:?} is not one: at most 63 letters, digits, '-' and '.'", config.hostname);
        return Err(EngineError::invalid("hostname", rule));
    }
    for entry in &config.env {
        if entry.starts_with('=') || !entry.contains('=') {
            return Err(EngineError::invalid("env", format!("{entry:?} is not NAME=value")));
        }
    }
    let mut texts = config.env.iter().chain(&config.command).chain(&config.entrypoint);
    if texts.any(|text| text.contains('\0')) {
        return Err(EngineError::invalid("command", "a NUL byte cannot be part of an argument or variable"));
    }
    for (index, port) in config.ports.iter().enumerate() {
        if port.published == 0 || port.target == 0 {
            return Err(EngineError::invalid("ports", "a port must be between 1 and 65535"));
        }
        let is_same =
            |other: &super::PortMapping| (other.protocol, other.published) == (port.protocol, port.published);
        if config.ports[..index].iter().any(is_same) {
            return Err(EngineError::invalid(
                "ports",
                format!("{}/{} is published twice", port.published, port.protocol),
            ));
        }
    }
    Ok(())
}

fn check_restart(config: &ContainerConfig) -> Result<(), EngineError> {
    if config.restart == restart::RestartPolicy::No {
        return Ok(());
    }
    let rule = if config.auto_remove {
        "a container that removes itself when it has exited cannot be started again: choose one of the two"
    } else if config.task.is_some() {
        "a service's tasks are replaced by the controller, not restarted by their host"
    } else {
        return Ok(());
    };
    Err(EngineError::invalid("restart", rule))
}

/// A record that cannot be written cannot be undone either, so it is refused before anything exists.
fn check_size(record: &Record) -> Result<(), EngineError> {
    let size = serde_json::to_vec(record).map_or(usize::MAX, |json| json.len());
    let most = MAX_VALUE - LATER;
    if size > most {
        let rule =
            format!("its arguments, variables and labels are too long: {size} bytes, at most {most} fit");
        return Err(EngineError::invalid("container", rule));
    }
    Ok(())
}

/// An entrypoint that is given drops the image's command, and an empty one means none, as in Docker.
fn command(config: &ContainerConfig, image: &Image) -> Result<Vec<String>, EngineError> {
    let replaces = !config.entrypoint.is_empty();
    let given: &[String] = if config.entrypoint == [""] { &[] } else { &config.entrypoint };
    let entrypoint = if replaces { given } else { &image.config.entrypoint };
    let arguments = if config.command.is_empty() && !replaces { &image.config.cmd } else { &config.command };
    let command: Vec<String> = entrypoint.iter().chain(arguments).cloned().collect();
    match command.first() {
        Some(program) if !program.is_empty() => Ok(command),
        _ => {
            Err(EngineError::invalid("command", format!("none is given and image {} has none", config.image)))
        }
    }
}

fn working_dir(config: &ContainerConfig, image: &Image) -> Result<String, EngineError> {
    let given = if config.working_dir.is_empty() { &image.config.working_dir } else { &config.working_dir };
    match given.as_str() {
        "" => Ok("/".to_owned()),
        path if path.starts_with('/') && !path.contains('\0') => Ok(path.to_owned()),
        path => Err(EngineError::invalid("working directory", format!("{path:?} is not an absolute path"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::{Limits, PortMapping, Protocol};

    fn image(entrypoint: &[&str], cmd: &[&str]) -> Image {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        let config = crate::image::ImageConfig {
            entrypoint: words(entrypoint),
            cmd: words(cmd),
            ..crate::image::ImageConfig::default()
        };
        let digest: crate::content::Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        Image {
            name: "a/b:1".parse().unwrap(),
            id: digest.clone(),
            unpacked: true,
            manifest_digest: digest.clone(),
            config_digest: digest,
            config,
            layers: Vec::new(),
            size: 0,
            created_at_ms: 0,
        }
    }

    fn merged(entrypoint: &str, command_line: &str, image: &Image) -> Result<String, String> {
        let words = |text: &str| text.split_ascii_whitespace().map(str::to_owned).collect();
        let config = ContainerConfig {
            entrypoint: if entrypoint == "none" { vec![String::new()] } else { words(entrypoint) },
            command: words(command_line),
            ..ContainerConfig::default()
        };
        command(&config, image).map(|command| command.join(" ")).map_err(|error| error.to_string())
    }

    #[test]
    fn command_and_entrypoint_merge_as_in_docker() {
        let image = image(&["/entry"], &["one", "two"]);
        assert_eq!(merged("", "", &image).unwrap(), "/entry one two");
        assert_eq!(merged("", "three", &image).unwrap(), "/entry three");
        assert_eq!(merged("/other", "", &image).unwrap(), "/other");
        assert_eq!(merged("/other", "x", &image).unwrap(), "/other x");
        assert_eq!(merged("none", "x y", &image).unwrap(), "x y");
        assert!(merged("none", "", &image).is_err());
        assert!(merged("", "", &self::image(&[], &[])).is_err());
    }

    #[test]
    fn bad_input_names_the_field_and_the_number() {
        let limits = Limits { memory_bytes: Some(1_000_000), ..Limits::default() };
        let config = ContainerConfig { limits, ..ContainerConfig::default() };
        let text = check(&config).unwrap_err().to_string();
        assert!(text.contains("1000000") && text.contains("6291456"), "{text}");
        let port = PortMapping { protocol: Protocol::Tcp, published: 80, target: 80 };
        assert!(check(&ContainerConfig { ports: vec![port, port], ..ContainerConfig::default() }).is_err());
        assert!(check(&ContainerConfig { env: vec!["x".into()], ..ContainerConfig::default() }).is_err());
        assert!(check(&ContainerConfig { hostname: "a b".into(), ..ContainerConfig::default() }).is_err());
        assert!(check(&ContainerConfig::default()).is_ok());
    }
}
