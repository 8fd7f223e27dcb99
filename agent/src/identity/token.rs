//! The join token: `RDST1-<hex sha256 of the root certificate>-<secret>`. The
//! hash lets the agent recognise the cluster before it says the secret.

use std::fmt;
use std::str::FromStr;

/// A parsed token. Its `Debug` form hides the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// SHA-256 of the cluster's root certificate in DER form.
    pub root_hash: [u8; 32],
    secret: String,
}

impl JoinToken {
    /// What the controller compares; not to be logged.
    pub fn secret(&self) -> &str {
        &self.secret
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RDST1-{}-(secret)", hex::encode(self.root_hash))
    }
}

/// Why a text is not a token. The text itself is left out: it may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Another kind of token, or no token.
    #[error("a join token begins with RDST1-; get one with `ctl cluster token`")]
    Prefix,
    /// The part that pins the root certificate.
    #[error("the token's hash is not 64 hexadecimal digits; copy the token whole")]
    Hash,
    /// The part that only the cluster knows.
    #[error("the token's secret is missing or has unusual characters; copy the token whole")]
    Secret,
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let rest = text.trim().strip_prefix("RDST1-").ok_or(TokenError::Prefix)?;
        let (hash, secret) = rest.split_once('-').ok_or(TokenError::Secret)?;
        let mut root_hash = [0; 32];
        hex::decode_to_slice(hash, &mut root_hash).map_err(|_| TokenError::Hash)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if secret.is_empty() || secret.len() > 256 || !secret.bytes().all(plain) {
            return Err(TokenError::Secret);
        }
        Ok(Self { root_hash, secret: secret.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_carries_the_hash_and_the_secret_and_hides_the_latter() {
        let text = format!("RDST1-{}-s3cr3t", "0a".repeat(32));
        let token: JoinToken = text.parse().unwrap();
        assert_eq!(token.root_hash, [10; 32]);
        assert_eq!(token.secret(), "s3cr3t");
        assert!(!format!("{token:?}").contains("s3cr3t"));
    }

    #[test]
    fn damaged_tokens_are_refused_with_what_is_wrong() {
        let hash = "0a".repeat(32);
        for (text, error) in [
            (String::new(), TokenError::Prefix),
            (format!("SWMTKN-{hash}-x"), TokenError::Prefix),
            (format!("RDST1-{hash}"), TokenError::Secret),
            (format!("RDST1-{hash}-"), TokenError::Secret),
            (format!("RDST1-{hash}-a b"), TokenError::Secret),
            (format!("RDST1-{}-x", &hash[1..]), TokenError::Hash),
            (format!("RDST1-{}zz-x", &hash[2..]), TokenError::Hash),
        ] {
            assert_eq!(text.parse::<JoinToken>(), Err(error), "{text}");
        }
    }
}
