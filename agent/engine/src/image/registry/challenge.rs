//! `WWW-Authenticate` (RFC 9110, 11.6.1), as far as registries use it: one scheme with quoted parameters. Pure.

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A token from `realm`, for `service`.
    Bearer { realm: String, service: Option<String> },
    /// User and password with every request.
    Basic,
}

/// Longest header that is looked at.
const MAX_LENGTH: usize = 4096;

/// The best of several challenges: a token rather than the password itself.
pub(super) fn best(headers: &[String]) -> Option<Challenge> {
    let all: Vec<Challenge> = headers.iter().filter_map(|header| parse(header)).collect();
    let bearer = all.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    bearer.or(all.first()).cloned()
}

fn parse(header: &str) -> Option<Challenge> {
    if header.len() > MAX_LENGTH {
        return None;
    }
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service) = (None, None);
    let mut rest = rest.trim_start();
    while let Some((key, after)) = rest.split_once('=') {
        let (value, after) = value(after)?;
        let slot = match key.trim().to_ascii_lowercase().as_str() {
            "realm" => &mut realm,
            "service" => &mut service,
            // The scope is ours to choose: reading this one repository.
            _ => &mut None,
        };
        // A parameter that stands twice could be read either way.
        if slot.replace(value).is_some() {
            return None;
        }
        rest = after.trim_start().trim_start_matches(',').trim_start();
    }
    Some(Challenge::Bearer { realm: realm?, service })
}

/// A token or a quoted string, and what follows.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(',').unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return Some((value.trim().to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return quoted.get(at + 1..).map(|rest| (value, rest)),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn challenges_of_real_registries_are_read() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a:pull,push""#;
        let service = Some("registry.docker.io".to_owned());
        let expected = Challenge::Bearer { realm: "https://auth.docker.io/token".into(), service };
        assert_eq!(best(&["Basic realm=\"x\"".into(), hub.into()]), Some(expected));
        assert_eq!(best(&["Basic realm=\"Registry Realm\"".into()]), Some(Challenge::Basic));
        assert_eq!(best(&["Negotiate".into()]), None);
    }

    #[test]
    fn malformed_challenges_are_no_challenge() {
        for header in
            ["Bearer", "Bearer service=\"x\"", "Bearer realm=\"open", "Bearer realm=\"a\",realm=\"b\""]
        {
            assert_eq!(best(&[header.into()]), None, "{header}");
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_the_parser_panic(header in "\\PC{0,100}") {
            let _ = best(&[header.clone(), format!("Bearer {header}")]);
        }
    }
}
