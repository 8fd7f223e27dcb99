//! Join tokens: `RDST1-<hex sha256 of the root certificate (DER)>-<secret>`.
//! The hash lets the joining agent verify the cluster before it says anything;
//! the secret lets the cluster verify the agent. State holds only the secret's
//! hash, so neither a snapshot nor a stolen log admits anybody.

use std::fmt;

use rustls::crypto::SecureRandom;
use sha2::{Digest as _, Sha256};

use super::CaError;

const PREFIX: &str = "RDST1";
/// Random bytes of a secret. With 128 bits guessing is hopeless, so a plain
/// hash is as good as a slow one.
const SECRET_BYTES: usize = 16;

/// A join token in clear, as it is shown once to the person who asked for it.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    root_sha256: String,
    secret: String,
}

/// A text that is not a join token.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    /// Not three parts with the right prefix.
    #[error("a join token looks like {PREFIX}-<64 hex digits>-<secret>")]
    Form,
    /// The part that pins the root.
    #[error("the join token's second part must be 64 hex digits; was it copied whole?")]
    Root,
    /// The part that proves the right to join.
    #[error("the join token's secret must be {} hex digits; was it copied whole?", SECRET_BYTES * 2)]
    Secret,
}

impl JoinToken {
    /// Makes a token with a fresh secret for the cluster of this root.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn make(root_der: &[u8], random: &dyn SecureRandom) -> Result<Self, CaError> {
        let mut secret = [0; SECRET_BYTES];
        random.fill(&mut secret).map_err(|_| CaError::Random)?;
        Ok(Self { root_sha256: hex::encode(Sha256::digest(root_der)), secret: hex::encode(secret) })
    }

    /// Parses what a person pasted; spaces around it are forgiven.
    ///
    /// # Errors
    /// Says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let mut parts = text.trim().split('-');
        let (Some(PREFIX), Some(root), Some(secret), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Form);
        };
        if !is_hex(root, 64) {
            return Err(TokenError::Root);
        }
        if !is_hex(secret, SECRET_BYTES * 2) {
            return Err(TokenError::Secret);
        }
        Ok(Self { root_sha256: root.to_owned(), secret: secret.to_owned() })
    }

    /// Whether the token is for the cluster of this root.
    #[must_use]
    pub fn pins(&self, root_der: &[u8]) -> bool {
        self.root_sha256 == hex::encode(Sha256::digest(root_der))
    }

    /// What the agent sends once it has verified the root.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// What State keeps.
    #[must_use]
    pub fn secret_hash(&self) -> String {
        hash_secret(&self.secret)
    }
}

/// The form in which State keeps a secret, and looks it up: hex sha256.
#[must_use]
pub fn hash_secret(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl fmt::Display for JoinToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{PREFIX}-{}-{}", self.root_sha256, self.secret)
    }
}

/// Without the secret, so that it can't reach a log.
impl fmt::Debug for JoinToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "JoinToken({PREFIX}-{}-...)", self.root_sha256)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> JoinToken {
        JoinToken::make(b"root", rustls::crypto::ring::default_provider().secure_random).unwrap()
    }

    #[test]
    fn a_token_survives_the_round_trip_and_pins_only_its_root() {
        let token = token();
        let read = JoinToken::parse(&format!(" {token}\n")).unwrap();
        assert_eq!(read, token);
        assert!(read.pins(b"root"));
        assert!(!read.pins(b"another root"));
        assert_eq!(read.secret_hash(), hash_secret(read.secret()));
    }

    #[test]
    fn no_two_tokens_are_alike_and_debug_hides_the_secret() {
        let (one, two) = (token(), token());
        assert_ne!(one, two);
        assert!(!format!("{one:?}").contains(one.secret()));
    }

    #[test]
    fn damaged_tokens_are_refused() {
        let good = token().to_string();
        for bad in [
            String::new(),
            good.replace("RDST1", "RDST2"),
            good[..good.len() - 1].to_owned(),
            format!("{good}0"),
            format!("{good}-x"),
            good.to_uppercase(),
            good.replacen('-', "", 1),
        ] {
            assert!(JoinToken::parse(&bad).is_err(), "{bad:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,200}") {
            let _ = JoinToken::parse(&text);
        }
    }
}
