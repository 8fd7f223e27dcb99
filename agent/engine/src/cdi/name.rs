//! Names of kinds and devices, by the specification's grammar.

use std::fmt;
use std::str::FromStr;

use super::CdiError;

/// The longest part of a name.
const LONGEST: usize = 128;

/// `vendor/class`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    vendor: String,
    class: String,
}

/// `vendor/class=device`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Before the `=`.
    pub kind: Kind,
    /// After it.
    pub device: String,
}

impl Kind {
    /// Before the `/`.
    pub fn vendor(&self) -> &str {
        &self.vendor
    }
}

impl FromStr for Kind {
    type Err = CdiError;

    fn from_str(text: &str) -> Result<Kind, CdiError> {
        let wrong = || CdiError::Name(text.chars().take(LONGEST).collect());
        let (vendor, class) = text.split_once('/').ok_or_else(wrong)?;
        let starts = |part: &str| part.starts_with(|first: char| first.is_ascii_alphabetic());
        if starts(vendor) && starts(class) && is_part(vendor, "-_.") && is_part(class, "-_") {
            return Ok(Kind { vendor: vendor.to_owned(), class: class.to_owned() });
        }
        Err(wrong())
    }
}

impl FromStr for Name {
    type Err = CdiError;

    fn from_str(text: &str) -> Result<Name, CdiError> {
        let wrong = || CdiError::Name(text.chars().take(LONGEST).collect());
        let (kind, device) = text.split_once('=').ok_or_else(wrong)?;
        let kind = kind.parse().map_err(|_| wrong())?;
        match is_device(device) {
            true => Ok(Name { kind, device: device.to_owned() }),
            false => Err(wrong()),
        }
    }
}

/// Whether a device may be called so.
pub(super) fn is_device(name: &str) -> bool {
    is_part(name, "-_.:")
}

/// Letters, digits and these, beginning and ending with a letter or digit.
fn is_part(text: &str, inner: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric();
    text.len() <= LONGEST
        && text.starts_with(plain)
        && text.ends_with(plain)
        && text.chars().all(|letter| plain(letter) || inner.contains(letter))
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.vendor, self.class)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.kind, self.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_grammar() {
        for good in ["nvidia.com/gpu=all", "v.com/net-2_x=GPU-1:0.5", "a/b=0"] {
            assert_eq!(good.parse::<Name>().map(|name| name.to_string()), Ok(good.to_owned()));
        }
        for bad in [
            "",
            "a",
            "a/b",
            "a=b",
            "/b=c",
            "a/=c",
            "a/b=",
            "1a/b=c",
            "a/1b=c",
            "a./b=c",
            "a/b.c=d",
            "a/b=-c",
            "a/b=c/d",
            "a/b=c d",
            "a/b=../c",
            "/dev/null",
            "a/b/c=d",
            "a/b=c=d",
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
        assert!(format!("a/b={}", "c".repeat(200)).parse::<Name>().is_err());
    }
}
