//! The form of an image reference: `[host[:port]/]path[:tag][@sha256:digest]`. Only the form is checked here;
//! what it names is for the agent and the registry to find out.

/// Says what is wrong with a reference, or nothing.
pub(super) fn check(reference: &str) -> Result<(), String> {
    if reference.is_empty() {
        return Err("must not be empty".into());
    }
    if reference.len() > 512 {
        return Err("must be at most 512 characters".into());
    }
    let wrong = |part: &str| Err(format!("{reference:?} is not an image reference: {part}"));
    let (name, digest) = match reference.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (reference, None),
    };
    if let Some(digest) = digest {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if digest.strip_prefix("sha256:").is_none_or(|rest| rest.len() != 64 || !rest.bytes().all(hex)) {
            return wrong("a digest is \"sha256:\" and 64 hexadecimal digits");
        }
    }
    let (host, rest) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), rest),
        _ => (None, name),
    };
    if let Some(host) = host {
        let (host, port) = host.split_once(':').unwrap_or((host, "443"));
        if host.is_empty() || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-') {
            return wrong("the registry is a host name or an address");
        }
        if port.parse::<u16>().is_ok_and(|port| port > 0) {
            Ok(())
        } else {
            wrong("the registry's port is 1 to 65535")
        }?;
    }
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (rest, None),
    };
    if let Some(tag) = tag {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let good = tag.len() <= 128 && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-');
        if !good || !tag.bytes().next().is_some_and(word) {
            return wrong("a tag has at most 128 letters, digits, \"_\", \".\" and \"-\"");
        }
    }
    let part = |part: &str| {
        let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        part.bytes().all(|b| edge(b) || matches!(b, b'.' | b'_' | b'-'))
            && part.bytes().next().is_some_and(edge)
            && part.bytes().last().is_some_and(edge)
    };
    if path.split('/').all(part) {
        Ok(())
    } else {
        wrong("its path has lower-case letters, digits, \".\", \"_\", \"-\" and \"/\"")
    }
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
            "UPPER/case",
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
