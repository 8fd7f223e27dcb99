//! Where a registry is reached: scheme, host and port.

use std::net::Ipv4Addr;

use super::RegistryOptions;
use crate::image::Reference;

/// A registry as an http origin.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    /// As in references and messages: `docker.io`, `localhost:5000`.
    pub(super) name: String,
    /// Such as `https://registry-1.docker.io`.
    pub(super) base: String,
}

impl Origin {
    pub(super) fn of(image: &Reference, options: &RegistryOptions) -> Self {
        let name = image.domain().to_owned();
        let plain = is_local(&name) || options.insecure.contains(&name);
        let base = match name.as_str() {
            "docker.io" => "https://registry-1.docker.io".to_owned(),
            host if plain => format!("http://{host}"),
            host => format!("https://{host}"),
        };
        Self { name, base }
    }
}

/// `localhost` and 127.0.0.0/8, as Docker does; what is on this host needs no TLS to be what it says.
fn is_local(domain: &str) -> bool {
    let host = match domain.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => domain.split(':').next().unwrap_or_default(),
    };
    host == "localhost"
        || host == "::1"
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_local_and_listed_registries_are_plain_http() {
        let options =
            RegistryOptions { insecure: vec!["10.0.0.1:5000".into()], ..RegistryOptions::default() };
        let base = |text: &str| Origin::of(&text.parse().unwrap(), &options).base;
        assert_eq!(base("alpine"), "https://registry-1.docker.io");
        assert_eq!(base("localhost:5000/x"), "http://localhost:5000");
        assert_eq!(base("127.9.9.9/x"), "http://127.9.9.9");
        assert_eq!(base("[::1]:5000/x"), "http://[::1]:5000");
        assert_eq!(base("10.0.0.1:5000/x"), "http://10.0.0.1:5000");
        assert_eq!(base("10.0.0.1/x"), "https://10.0.0.1");
        assert_eq!(base("127.0.0.1.example.com/x"), "https://127.0.0.1.example.com");
        assert_eq!(base("localhost.example.com/x"), "https://localhost.example.com");
    }
}
