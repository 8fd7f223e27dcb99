//! Versions of the API: every path may begin with one, `/v1.43/...`.

use std::fmt;

use crate::error::ApiError;

/// A version of the Engine API, such as 1.51.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    major: u16,
    minor: u16,
}

/// The newest version that is spoken.
pub(crate) const MAXIMUM: Version = Version { major: 1, minor: 51 };
/// The oldest version that is spoken.
pub(crate) const MINIMUM: Version = Version { major: 1, minor: 24 };

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Takes the version off `/v1.43/info`. A path without one speaks the newest.
///
/// # Errors
/// Docker's own words for a client that is too old or too new.
pub(crate) fn split(path: &str) -> Result<&str, ApiError> {
    let Some((version, rest)) = versioned(path) else { return Ok(path) };
    if version > MAXIMUM {
        return Err(ApiError::TooNew(version));
    }
    if version < MINIMUM {
        return Err(ApiError::TooOld(version));
    }
    Ok(rest)
}

/// Docker takes any digits and dots for a version: `/v1/` and `/v1.43.0/` too.
fn versioned(path: &str) -> Option<(Version, &str)> {
    let (number, _) = path.strip_prefix("/v")?.split_once('/')?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    // Digits that fit no number are one that is too new.
    let part = |text: Option<&str>| match text {
        None | Some("") => 0,
        Some(digits) => digits.parse().unwrap_or(u16::MAX),
    };
    let mut parts = number.split('.');
    let version = Version { major: part(parts.next()), minor: part(parts.next()) };
    Some((version, &path["/v".len() + number.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_split_off() {
        for (path, rest) in [
            ("/v1.43/containers/json", "/containers/json"),
            ("/v1.51/info", "/info"),
            ("/v1.24/", "/"),
            ("/v1.43.2/info", "/info"),
            ("/_ping", "/_ping"),
            ("/volumes", "/volumes"),
            ("/v/info", "/v/info"),
            ("/v1.43", "/v1.43"),
            ("/v1.x/info", "/v1.x/info"),
            ("*", "*"),
        ] {
            assert_eq!(split(path).ok(), Some(rest), "{path}");
        }
    }

    #[test]
    fn versions_outside_the_range_are_refused_in_dockers_words() {
        let said = |path| split(path).map_err(|error| error.to_string()).unwrap_err();
        for path in ["/v1.52/info", "/v2.0/info", "/v1.99999999999999999999/info", "/v77777777/info"] {
            assert!(said(path).contains("is too new. Maximum supported API version is 1.51"), "{path}");
        }
        for path in ["/v1.23/info", "/v1/info", "/v0.9/info", "/v./info"] {
            assert!(said(path).contains("is too old. Minimum supported API version is 1.24"), "{path}");
        }
    }
}
