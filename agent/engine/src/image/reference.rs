//! Image references: Docker's grammar and its defaults.
//!
//! `[domain[:port]/]path[:tag][@digest]`. The first component is a domain when it holds a dot or a colon or is
//! `localhost`; otherwise the domain is `docker.io`, and a single component gets `library/` before it. Without tag
//! and digest the tag is `latest`. People see the familiar form ([`std::fmt::Display`]), records and the wire
//! the full one ([`Reference::full`]).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::content::Digest;

/// The registry that is meant when none is named.
const DEFAULT_DOMAIN: &str = "docker.io";
/// What stands before names of one component on the default registry.
const OFFICIAL: &str = "library/";
const DEFAULT_TAG: &str = "latest";
/// The longest name (domain and path), as everywhere.
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

/// A parsed and normalised reference. It has a tag, a digest or both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Text that is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an image reference: {reason}")]
pub struct ReferenceError {
    text: String,
    reason: &'static str,
}

impl Reference {
    /// The registry's host, with its port if it has one; `docker.io` for Docker Hub.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within the registry, such as `library/alpine`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag; [`None`] only when there is a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest that pins the content.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The unambiguous form: `docker.io/library/alpine:latest`.
    pub fn full(&self) -> String {
        let mut text = format!("{}/{}", self.domain, self.path);
        self.push_version(&mut text);
        text
    }

    /// Registry and repository without tag and digest: `docker.io/library/alpine`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The same as people write it: `alpine`.
    pub fn familiar_repository(&self) -> String {
        let bare = Self { tag: None, digest: None, ..self.clone() };
        bare.to_string()
    }

    /// The same name for content of this digest, without a tag.
    #[must_use]
    pub fn pinned(&self, digest: &Digest) -> Self {
        Self { tag: None, digest: Some(digest.clone()), ..self.clone() }
    }

    /// Repository and version without the registry, as in `other:1`: for messages that name the registry already.
    pub fn within_registry(&self) -> String {
        let mut text = self.path.clone();
        self.push_version(&mut text);
        text
    }

    fn push_version(&self, text: &mut String) {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut short = self.path.as_str();
        if self.domain == DEFAULT_DOMAIN {
            short = short.strip_prefix(OFFICIAL).filter(|rest| !rest.contains('/')).unwrap_or(short);
        }
        // Without its registry a path such as docker.io/localhost/x would mean something else.
        let mut text = if self.domain == DEFAULT_DOMAIN && split_domain(short) == (DEFAULT_DOMAIN, short) {
            short.to_owned()
        } else {
            format!("{}/{}", self.domain, self.path)
        };
        self.push_version(&mut text);
        f.write_str(&text)
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        parse(text).map_err(|reason| ReferenceError { text: text.chars().take(300).collect(), reason })
    }
}

impl TryFrom<String> for Reference {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, ReferenceError> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.full()
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (
            rest,
            Some(digest.parse::<Digest>().map_err(|_| "what follows @ is not a sha256 or sha512 digest")?),
        ),
        None => (text, None),
    };
    // A colon after the last slash starts a tag; one before it belongs to the registry's port.
    let name_end = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest.get(name_end..).and_then(|last| last.find(':')) {
        Some(colon) => {
            let (name, tag) = rest.split_at(name_end + colon);
            (name, Some(tag.trim_start_matches(':')).filter(|tag| rest.len() == name.len() + 1 + tag.len()))
        }
        None => (rest, None),
    };
    if name.len() != rest.len() && !tag.is_some_and(is_tag) {
        return Err(
            "a tag is up to 128 letters, digits, underscores, dots and dashes, not starting with . or -",
        );
    }
    let (domain, path) = split_domain(name);
    if !is_domain(domain) {
        return Err("the registry is not a valid host name");
    }
    if !path.split('/').all(is_component) {
        let upper = path.bytes().any(|byte| byte.is_ascii_uppercase());
        return Err(if upper {
            "the repository name must be lower case"
        } else {
            "the repository name is malformed"
        });
    }
    let path = if domain == DEFAULT_DOMAIN && !path.contains('/') {
        format!("{OFFICIAL}{path}")
    } else {
        path.to_owned()
    };
    if domain.len() + 1 + path.len() > MAX_NAME {
        return Err("the name is longer than 255 characters");
    }
    let tag = tag.map(str::to_owned).or_else(|| digest.is_none().then(|| DEFAULT_TAG.to_owned()));
    Ok(Reference { domain: domain.to_owned(), path, tag, digest })
}

fn split_domain(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        // As in Docker, upper case marks a host too: repositories never have it.
        Some((first, path))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            // Docker Hub's old name.
            (if first == "index.docker.io" { DEFAULT_DOMAIN } else { first }, path)
        }
        _ => (DEFAULT_DOMAIN, name),
    }
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => {
                if address.parse::<std::net::Ipv6Addr>().is_err() {
                    return false;
                }
                (None, port.strip_prefix(':').or(if port.is_empty() { None } else { Some("") }))
            }
            None => return false,
        },
        None => match domain.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(domain), None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let port_fits = port.is_none_or(|port| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0)
    });
    host.is_none_or(|host| host.split('.').all(label)) && port_fits
}

/// Lower-case letters and digits, separated by one dot, one or two underscores, or any number of dashes.
fn is_component(component: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = component.bytes().next().is_some_and(alphanumeric)
        && component.bytes().last().is_some_and(alphanumeric);
    ends && component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).all(|separator| {
        matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn references_are_normalised_as_docker_does() {
        let digest = format!("sha256:{HEX}");
        let cases = [
            ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("alpine:3.20", "docker.io/library/alpine:3.20", "alpine:3.20"),
            ("roadstead/hello", "docker.io/roadstead/hello:latest", "roadstead/hello:latest"),
            ("docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("index.docker.io/library/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
            ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
            ("localhost:5000/x", "localhost:5000/x:latest", "localhost:5000/x:latest"),
            (
                "localhost:5000/a/b__c-d.e:v1_.-X",
                "localhost:5000/a/b__c-d.e:v1_.-X",
                "localhost:5000/a/b__c-d.e:v1_.-X",
            ),
            ("127.0.0.1:5000/debian:12", "127.0.0.1:5000/debian:12", "127.0.0.1:5000/debian:12"),
            ("[::1]:5000/x:1", "[::1]:5000/x:1", "[::1]:5000/x:1"),
            ("x:5000", "docker.io/library/x:5000", "x:5000"),
        ];
        for (text, full, short) in cases {
            let reference: Reference = text.parse().unwrap_or_else(|fault| panic!("{text}: {fault}"));
            assert_eq!((reference.full().as_str(), reference.to_string().as_str()), (full, short));
        }
        let pinned: Reference = format!("alpine@{digest}").parse().unwrap();
        assert_eq!(pinned.full(), format!("docker.io/library/alpine@{digest}"));
        let both: Reference = format!("ghcr.io/a/b:1@{digest}").parse().unwrap();
        assert_eq!((both.tag(), both.digest().map(Digest::hex)), (Some("1"), Some(HEX)));
    }

    #[test]
    fn what_docker_refuses_is_refused() {
        let long = "a".repeat(256);
        let wrong = [
            "",
            " ",
            "UPPER",
            "a/B",
            "a:",
            "a:-x",
            "a::b",
            "a@",
            "a@sha256:12",
            "/a",
            "a/",
            "a//b",
            "a..b",
            "a.",
            "-a",
            "a___b",
            "localhost:99999/a",
            "localhost:0/a",
            "local_host:5000/a",
            "a b",
            "a:b/c",
            "../a",
            "[::1/a",
            "[zz]/a",
            "ä",
            &long,
        ];
        for text in wrong {
            assert!(text.parse::<Reference>().is_err(), "{text} was accepted");
        }
        let fault = "UPPER".parse::<Reference>().unwrap_err();
        assert_eq!(
            fault.to_string(),
            "\"UPPER\" is not an image reference: the repository name must be lower case"
        );
    }

    proptest! {
        #[test]
        fn the_full_and_the_familiar_form_mean_the_same(
            domain in prop::option::of("[a-z]{1,8}\\.[a-z]{2,3}(:[1-9][0-9]{0,3})?"),
            path in "[a-z0-9]{1,6}((_|__|-{1,3})[a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,3}(\\.[a-z0-9]{1,3})?){0,3}",
            tag in prop::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}"),
        ) {
            let mut text = domain.map_or_else(String::new, |domain| format!("{domain}/"));
            text += &path;
            if let Some(tag) = tag {
                text += &format!(":{tag}");
            }
            let reference: Reference = text.parse().unwrap();
            prop_assert_eq!(&reference.full().parse::<Reference>().unwrap(), &reference);
            prop_assert_eq!(&reference.to_string().parse::<Reference>().unwrap(), &reference);
        }

        #[test]
        fn parsing_never_panics_and_its_result_is_stable(text in "\\PC{0,60}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.full().parse::<Reference>().unwrap(), reference);
            }
        }
    }
}
