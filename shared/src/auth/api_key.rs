//! API keys: `mr_` and 43 characters of base64url, which are 32 random bytes.
//!
//! Only the SHA-256 of a key is stored. A slow hash (Argon2, bcrypt) makes guessing a password dear; 256 random bits cannot be
//! guessed at any speed, and a slow hash on every request would only hand attackers a way to burn our CPU. There is no
//! checksum in the key either: a mistyped key costs one index lookup, which is what a valid one costs.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const PREFIX: &str = "mr_";
const RANDOM_BYTES: usize = 32;
const ENCODED_CHARS: usize = 43;

/// A key in the clear: shown once when it is made, and held while a request is checked.
#[derive(Debug)]
pub struct ApiKey(SecretString);

/// The text is not shaped like an API key.
#[derive(Debug, thiserror::Error)]
#[error("not an API key")]
pub struct MalformedKey;

impl ApiKey {
    /// A fresh key from the thread's cryptographic random generator.
    #[must_use]
    pub fn generate() -> Self {
        let random: [u8; RANDOM_BYTES] = rand::random();
        Self(SecretString::from(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random))))
    }

    /// Whether `text` claims to be an API key, so that it is not tried as a token.
    #[must_use]
    pub fn is_claimed_by(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// Reads a key from a header.
    ///
    /// # Errors
    /// When the text has another shape; saves the lookup.
    pub fn parse(text: &str) -> Result<Self, MalformedKey> {
        let encoded = text.strip_prefix(PREFIX).filter(|encoded| encoded.len() == ENCODED_CHARS).ok_or(MalformedKey)?;
        // The canonical decoder also refuses a last character with stray bits, so that one key has one spelling.
        URL_SAFE_NO_PAD.decode(encoded).map_err(|_| MalformedKey)?;
        Ok(Self(SecretString::from(text.to_owned())))
    }

    /// What is stored.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash(Sha256::digest(self.0.expose_secret().as_bytes()).into())
    }

    /// The first characters, by which people tell their keys apart; gives away 30 of 256 bits.
    #[must_use]
    pub fn display_prefix(&self) -> String {
        self.0.expose_secret().chars().take(PREFIX.len() + 5).collect()
    }

    /// The key itself, for the one time that it is shown.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.0.expose_secret()
    }
}

/// The SHA-256 of a key. Equality takes the same time wherever the difference is.
#[derive(Clone, Copy)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether `stored` is this hash, in constant time.
    #[must_use]
    pub fn matches(&self, stored: &[u8]) -> bool {
        self.0.ct_eq(stored).into()
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_key_is_read_back_with_the_same_hash() {
        let key = ApiKey::generate();
        assert_eq!(key.reveal().len(), 46);
        let read = ApiKey::parse(key.reveal()).expect("its own text");
        assert!(read.hash().matches(key.hash().as_bytes()));
        assert!(!ApiKey::generate().hash().matches(key.hash().as_bytes()));
        assert!(key.reveal().starts_with(&key.display_prefix()));
    }

    #[test]
    fn other_shapes_are_refused() {
        let key = ApiKey::generate();
        let short = &key.reveal()[..45];
        let long = format!("{}A", key.reveal());
        let other_alphabet = format!("mr_{}", "+".repeat(43));
        let stray_bits = format!("mr_{}B", "A".repeat(42));
        for text in ["", "mr_", short, &long, &other_alphabet, &stray_bits, "mr_ääää", "sk_xxxxxxxxxxxxxxxxxxxxx"] {
            assert!(ApiKey::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn debug_shows_nothing() {
        let key = ApiKey::generate();
        assert!(!format!("{key:?}{:?}", key.hash()).contains(&key.reveal()[3..]));
    }
}
