//! Where a repository is reached: scheme, host and port, the path there, and as whom.

use reqwest::Url;

use super::Access;
use super::credentials::Credentials;
use super::settings::RegistrySettings;

/// A registry as an http origin.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    /// As in references and messages: `docker.io`, `localhost:5000`.
    pub(super) name: String,
    /// Such as `https://registry-1.docker.io`.
    pub(super) base: String,
}

/// One repository on one registry, and what is done there.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) origin: Origin,
    /// Such as `library/alpine`.
    pub(super) repository: String,
    /// Whether it is written, not only read.
    pub(super) push: bool,
    /// Other repositories there that are read, to take blobs over from them.
    pub(super) sources: Vec<String>,
    /// Given with the request; else the host's own are looked up when they are needed.
    pub(super) login: Option<Credentials>,
}

impl Origin {
    pub(super) fn of(name: &str, settings: &RegistrySettings) -> Self {
        let base = match name {
            "docker.io" => "https://registry-1.docker.io".to_owned(),
            host if settings.is_plain(host) => format!("http://{host}"),
            host => format!("https://{host}"),
        };
        Self { name: name.to_owned(), base }
    }

    /// The name under which settings know the host of a URL.
    pub(super) fn name_of(url: &Url) -> String {
        let host = url.host_str().unwrap_or_default();
        match (host, url.port()) {
            ("registry-1.docker.io", None) => "docker.io".to_owned(),
            (host, Some(port)) => format!("{host}:{port}"),
            (host, None) => host.to_owned(),
        }
    }
}

impl Target {
    /// The registry itself.
    pub(super) fn own(access: &Access<'_>, settings: &RegistrySettings) -> Self {
        Self {
            origin: Origin::of(access.image.domain(), settings),
            repository: access.image.path().to_owned(),
            push: false,
            sources: Vec::new(),
            login: access.login.cloned(),
        }
    }

    /// Where an image can be read: mirrors first, the registry itself last. What was given to log in with is for the
    /// registry only.
    pub(super) fn readable(access: &Access<'_>, settings: &RegistrySettings) -> Vec<Self> {
        let mirrors = settings.of(access.image.domain()).mirrors;
        let mirrors = mirrors.into_iter().filter(|_| access.mirrors).map(|mirror| Self {
            origin: Origin::of(&mirror.host, settings),
            repository: format!("{}{}", mirror.prefix, access.image.path()),
            push: false,
            sources: Vec::new(),
            login: None,
        });
        mirrors.chain([Self::own(access, settings)]).collect()
    }

    /// What a token must allow.
    pub(super) fn scopes(&self) -> Vec<String> {
        if self.repository.is_empty() {
            return Vec::new();
        }
        let actions = if self.push { "pull,push" } else { "pull" };
        let own = format!("repository:{}:{actions}", self.repository);
        let sources = self.sources.iter().map(|source| format!("repository:{source}:pull"));
        std::iter::once(own).chain(sources).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_local_and_listed_registries_are_plain_http() {
        let settings = RegistrySettings::default().with_plain_http(["10.0.0.1:5000".to_owned()]);
        let base = |name: &str| Origin::of(name, &settings).base;
        assert_eq!(base("docker.io"), "https://registry-1.docker.io");
        assert_eq!(base("localhost:5000"), "http://localhost:5000");
        assert_eq!(base("127.9.9.9"), "http://127.9.9.9");
        assert_eq!(base("[::1]:5000"), "http://[::1]:5000");
        assert_eq!(base("10.0.0.1:5000"), "http://10.0.0.1:5000");
        assert_eq!(base("10.0.0.1"), "https://10.0.0.1");
        assert_eq!(base("127.0.0.1.example.com"), "https://127.0.0.1.example.com");
        assert_eq!(base("localhost.example.com"), "https://localhost.example.com");
        for name in ["docker.io", "localhost:5000", "[::1]:5000", "10.0.0.1"] {
            assert_eq!(Origin::name_of(&Url::parse(&base(name)).unwrap()), name);
        }
    }
}
