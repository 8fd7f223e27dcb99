//! Versions of the API: every path may begin with one, `/v1.43/...`.

use std::fmt;

/// A version of the Engine API, such as 1.51.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u16,
    minor: u16,
}

/// The newest version that is spoken.
pub const MAXIMUM: Version = Version { major: 1, minor: 51 };
/// The oldest version that is spoken.
pub const MINIMUM: Version = Version { major: 1, minor: 24 };

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Splits `/v1.43/info` into its version and `/info`. A path without a version
/// speaks the newest one.
///
/// # Errors
/// Docker's own words for a client that is too old or too new.
pub(crate) fn split(path: &str) -> Result<(Version, &str), String> {
    let Some((version, rest)) = versioned(path) else { return Ok((MAXIMUM, path)) };
    if version > MAXIMUM {
        return Err(format!(
            "client version {version} is too new. Maximum supported API version is {MAXIMUM}"
        ));
    }
    if version < MINIMUM {
        return Err(format!(
            "client version {version} is too old. Minimum supported API version is {MINIMUM}, please upgrade your client to a newer version"
        ));
    }
    Ok((version, rest))
}

fn versioned(path: &str) -> Option<(Version, &str)> {
    let rest = path.strip_prefix("/v")?;
    let (number, _) = rest.split_once('/')?;
    let (major, minor) = number.split_once('.')?;
    let version = Version { major: major.parse().ok()?, minor: minor.parse().ok()? };
    Some((version, &rest[number.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_split_off() {
        let version = Version { major: 1, minor: 43 };
        assert_eq!(split("/v1.43/containers/json"), Ok((version, "/containers/json")));
        assert_eq!(split("/_ping"), Ok((MAXIMUM, "/_ping")));
        assert_eq!(split("/volumes"), Ok((MAXIMUM, "/volumes")));
    }

    #[test]
    fn versions_outside_the_range_are_refused_in_dockers_words() {
        assert!(split("/v1.52/info").is_err_and(|said| said.contains("too new")));
        assert!(split("/v1.23/info").is_err_and(|said| said.contains("too old")));
    }
}
