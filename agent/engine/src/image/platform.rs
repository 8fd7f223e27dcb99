//! Platforms: which system and processor a manifest is made for, in the words of Go that images use.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::manifest::host_architecture;

/// A platform: `linux/amd64`, `linux/arm64/v8`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// The operating system.
    #[serde(default)]
    pub os: String,
    /// The processor.
    #[serde(default)]
    pub architecture: String,
    /// Which of its versions; usually empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// Text that names no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a platform: expected OS/PROCESSOR[/VARIANT], for example linux/arm64")]
pub struct PlatformError(String);

impl Platform {
    /// This machine.
    pub fn host() -> Self {
        Self { os: "linux".into(), architecture: host_architecture().into(), variant: String::new() }
    }

    /// Whether what is made for `offered` is meant by this. A variant that is not asked for does not matter, and of
    /// 64-bit ARM there is one only.
    pub fn admits(&self, offered: &Platform) -> bool {
        let variant = |platform: &Platform| match (platform.architecture.as_str(), platform.variant.as_str())
        {
            ("arm64", "v8") => String::new(),
            (_, variant) => variant.to_owned(),
        };
        self.os == offered.os
            && self.architecture == offered.architecture
            && (self.variant.is_empty() || variant(self) == variant(offered))
    }

    /// Whether it says anything: attestations stand in indexes under `unknown/unknown`.
    pub fn is_known(&self) -> bool {
        let says = |word: &str| !word.is_empty() && word != "unknown";
        says(&self.os) && says(&self.architecture)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let wrong = || PlatformError(text.chars().take(80).collect());
        let word = |word: &str| {
            !word.is_empty()
                && word.len() <= 32
                && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        };
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts.as_slice() {
            [architecture] => ("linux", *architecture, ""),
            [os, architecture] => (*os, *architecture, ""),
            [os, architecture, variant] if word(variant) => (*os, *architecture, *variant),
            _ => return Err(wrong()),
        };
        if !word(os) || !word(architecture) {
            return Err(wrong());
        }
        let (architecture, implied) = match architecture {
            "x86_64" | "x86-64" => ("amd64", ""),
            "aarch64" => ("arm64", ""),
            "armhf" => ("arm", "v7"),
            "i386" | "i686" => ("386", ""),
            other => (other, ""),
        };
        let variant = if variant.is_empty() { implied } else { variant };
        Ok(Self { os: os.to_lowercase(), architecture: architecture.to_lowercase(), variant: variant.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_read_as_people_write_them() {
        for (text, shown) in [
            ("linux/amd64", "linux/amd64"),
            ("arm64", "linux/arm64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/arm/v7", "linux/arm/v7"),
            ("armhf", "linux/arm/v7"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), shown);
        }
        for text in ["", "/", "linux/", "a/b/c/d", "linux/a b", "linux/arm/"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_variant_matters_where_it_is_asked_for() {
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        assert!(platform("linux/arm").admits(&platform("linux/arm/v6")));
        assert!(!platform("linux/arm/v7").admits(&platform("linux/arm/v6")));
        assert!(platform("linux/arm64/v8").admits(&platform("linux/arm64")));
        assert!(!platform("linux/arm64").admits(&platform("linux/amd64")));
        assert!(!Platform { os: "unknown".into(), ..platform("linux/unknown") }.is_known());
    }
}
