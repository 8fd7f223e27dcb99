//! The form of an image reference: `[domain[:port]/]path[:tag][@digest]`, by the same rules as the agent's, which
//! `tests/conformance/references.rs` holds them to. Only the form is checked here; what a reference names is for the
//! agent and the registry to find out.

/// The longest name (domain and path), as everywhere.
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;
/// Text of a refused reference that is repeated.
const SHOWN: usize = 300;

/// Says what is wrong with a reference, or nothing.
pub(super) fn check(reference: &str) -> Result<(), String> {
    if reference.is_empty() {
        return Err("must not be empty".into());
    }
    form(reference).map_err(|rule| {
        let shown: String = reference.chars().take(SHOWN).collect();
        format!("{shown:?} is not an image reference: {rule}")
    })
}

fn form(reference: &str) -> Result<(), &'static str> {
    let (rest, digest) = match reference.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (reference, None),
    };
    if !digest.is_none_or(is_digest) {
        return Err("what follows @ is not a sha256 or sha512 digest");
    }
    // A colon after the last slash starts a tag; one before it belongs to the registry's port.
    let last = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest.get(last..).and_then(|part| part.find(':')) {
        Some(colon) => {
            let (name, tag) = rest.split_at(last + colon);
            (name, tag.strip_prefix(':'))
        }
        None => (rest, None),
    };
    if !tag.is_none_or(is_tag) {
        return Err(
            "a tag is up to 128 letters, digits, underscores, dots and dashes, not starting with . or -",
        );
    }
    let (domain, path) = match name.split_once('/') {
        // As in Docker, upper case marks a host too: repositories never have it.
        Some((first, path)) if is_host(first) => (Some(first), path),
        _ => (None, name),
    };
    if !domain.is_none_or(is_domain) {
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
    // The name in full: Docker's own registry, and its folder for names of one word.
    let length = match domain {
        Some("index.docker.io" | "docker.io") | None => {
            let folder = if path.contains('/') { 0 } else { "library/".len() };
            "docker.io/".len() + folder + path.len()
        }
        Some(domain) => domain.len() + 1 + path.len(),
    };
    if length > MAX_NAME { Err("the name is longer than 255 characters") } else { Ok(()) }
}

fn is_host(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_digest(text: &str) -> bool {
    let digits = |hex: &str, count| {
        hex.len() == count && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    match text.split_once(':') {
        Some(("sha256", hex)) => digits(hex, 64),
        Some(("sha512", hex)) => digits(hex, 128),
        _ => false,
    }
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

fn is_domain(domain: &str) -> bool {
    let port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    if let Some(rest) = domain.strip_prefix('[') {
        let Some((address, rest)) = rest.split_once(']') else { return false };
        let is_address = address.parse::<core::net::Ipv6Addr>().is_ok();
        return is_address && (rest.is_empty() || rest.strip_prefix(':').is_some_and(port));
    }
    let (host, number) = match domain.split_once(':') {
        Some((host, number)) => (host, Some(number)),
        None => (domain, None),
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(label) && number.is_none_or(port)
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
    use super::check;

    #[test]
    fn real_references_pass() {
        let digest = format!("debian@sha256:{}", "0a".repeat(32));
        for good in [
            "roadstead/hello",
            "debian:12",
            "localhost:5000/web:1",
            "localhost/x",
            "ghcr.io/a/b-c/d_e:v1.2",
            "[::1]:5000/x",
            &digest,
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in [
            "",
            "a b",
            "upper/Case",
            "a..b",
            "web:",
            ":1",
            "a//b",
            "a/../b",
            "x@sha256:12",
            "host:0/x",
            "host:99999/x",
            "-a",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
