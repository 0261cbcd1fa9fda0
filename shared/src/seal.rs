//! Secrets at rest: what others have entrusted to us (tokens of CRMs, secrets of webhooks) is in the database only sealed.
//!
//! XChaCha20-Poly1305, whose nonces are long enough to be drawn at random for ever. Every record names the key it was sealed with, so that keys can be
//! replaced one record at a time, and is bound to its place: a record that somebody copies to another row, column or organisation does not open.
//!
//! Layout: a version (1), the length of the key's id, the id, 24 bytes of nonce, the sealed bytes with their tag of 16.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use crate::ids::OrgId;

const VERSION: u8 = 1;
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
const MAX_ID_CHARS: usize = 32;

/// The keys of `MILLRACE_ENCRYPTION_KEYS`: the first one seals, all of them open.
#[derive(Clone)]
pub struct Keyring(Vec<Key>);

#[derive(Clone)]
struct Key {
    id: String,
    cipher: XChaCha20Poly1305,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

/// Why a list of keys cannot be used. Tells nothing of the keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// An entry is not `id:key`.
    #[error(
        "must be id:key, or several of these with commas between; a key is the base64 of 32 random bytes (openssl rand -base64 32)"
    )]
    Malformed,
    /// An id is not one.
    #[error("the id of a key must be 1 to 32 lower-case letters, digits, '-' or '_'")]
    Id,
    /// Two keys share an id.
    #[error("the id {0:?} is there twice")]
    Twice(String),
}

/// Why a record does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Its key is not on the ring.
    #[error("it was sealed with the key {0:?}, which is not in MILLRACE_ENCRYPTION_KEYS")]
    UnknownKey(String),
    /// It was changed, or belongs to another place, or its key has another value now.
    #[error("it does not open: it was changed, moved, or sealed with another key of the same id")]
    Damaged,
}

/// Where a record is: a table's column, and the row in it.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Such as `webhook_secrets.secret`.
    pub column: &'static str,
    /// Whose row it is.
    pub org: OrgId,
    /// The row.
    pub row: Uuid,
}

impl Place {
    /// What the record is bound to. The column is of a fixed set, without a NUL, and the ids have fixed lengths, so no two places are the same bytes.
    fn bytes(&self) -> Vec<u8> {
        [self.column.as_bytes(), &[0], self.org.as_bytes(), self.row.as_bytes()].concat()
    }
}

/// A sealed secret, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub struct Sealed(Vec<u8>);

impl Sealed {
    fn parts(&self) -> Option<(&str, &[u8], &[u8])> {
        let (id, rest) = split_head(&self.0)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_BYTES)?;
        Some((id, nonce, sealed))
    }

    /// The id of the key that it was sealed with.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        key_id(&self.0)
    }
}

/// The id of the key that a record was sealed with, of the record or of as many bytes as it begins with: version, length and id.
#[must_use]
pub fn key_id(head: &[u8]) -> Option<&str> {
    split_head(head).map(|(id, _)| id)
}

fn split_head(record: &[u8]) -> Option<(&str, &[u8])> {
    let (&[version, length], rest) = record.split_first_chunk()?;
    let (id, rest) = rest.split_at_checked(usize::from(length)).filter(|_| version == VERSION)?;
    // What is no id may be anything, and is shown to nobody.
    let id = std::str::from_utf8(id).ok().filter(|id| is_id(id))?;
    Some((id, rest))
}

fn is_id(text: &str) -> bool {
    let is_of_ids = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    (1..=MAX_ID_CHARS).contains(&text.len()) && text.chars().all(is_of_ids)
}

/// What a ring makes of a key's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It seals now.
    Current,
    /// It still opens.
    Old,
    /// It is not on the ring.
    Missing,
}

impl Keyring {
    /// Reads `id:key,id:key`.
    ///
    /// # Errors
    /// Says what is wrong with the list, and nothing of what is in it.
    pub fn parse(text: &SecretString) -> Result<Self, KeyringError> {
        let mut keys: Vec<Key> = Vec::new();
        for entry in text.expose_secret().split(',') {
            let (id, key) = entry.trim().split_once(':').ok_or(KeyringError::Malformed)?;
            if !is_id(id) {
                return Err(KeyringError::Id);
            }
            if keys.iter().any(|known| known.id == id) {
                return Err(KeyringError::Twice(id.to_owned()));
            }
            let key = STANDARD.decode(key).ok().filter(|key| key.len() == KEY_BYTES).ok_or(KeyringError::Malformed)?;
            let cipher = XChaCha20Poly1305::new_from_slice(&key).map_err(|_| KeyringError::Malformed)?;
            keys.push(Key { id: id.to_owned(), cipher });
        }
        Ok(Self(keys))
    }

    /// Seals a secret for its place, with the first key.
    #[must_use]
    pub fn seal(&self, place: &Place, secret: &SecretString) -> Sealed {
        let key = &self.0[0];
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload { msg: secret.expose_secret().as_bytes(), aad: &place.bytes() };
        let sealed = key.cipher.encrypt(&XNonce::from(nonce), payload).expect("secrets are far shorter than 256 GiB");
        let id_chars = u8::try_from(key.id.len()).expect("ids have 32 characters at most");
        Sealed([&[VERSION, id_chars], key.id.as_bytes(), &nonce, &sealed].concat())
    }

    /// Opens what was sealed for this place.
    ///
    /// # Errors
    /// When the key is not here, or the record is not what was sealed there.
    pub fn open(&self, place: &Place, sealed: &Sealed) -> Result<SecretString, OpenError> {
        let (id, nonce, bytes) = sealed.parts().ok_or(OpenError::Damaged)?;
        let key = self.0.iter().find(|key| key.id == id).ok_or_else(|| OpenError::UnknownKey(id.to_owned()))?;
        let nonce = XNonce::try_from(nonce).map_err(|_| OpenError::Damaged)?;
        let payload = Payload { msg: bytes, aad: &place.bytes() };
        let opened = key.cipher.decrypt(&nonce, payload).map_err(|_| OpenError::Damaged)?;
        String::from_utf8(opened).map(SecretString::from).map_err(|_| OpenError::Damaged)
    }

    /// The id of the key that seals now. What was sealed with another is to be sealed anew.
    #[must_use]
    pub fn current(&self) -> &str {
        &self.0[0].id
    }

    /// The ids of its keys, in their order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|key| key.id.as_str())
    }

    /// What it makes of this id.
    #[must_use]
    pub fn standing(&self, id: &str) -> Standing {
        match self.ids().position(|known| known == id) {
            Some(0) => Standing::Current,
            Some(_) => Standing::Old,
            None => Standing::Missing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(ids: &[(&str, u8)]) -> Keyring {
        let entry = |(id, byte): &(&str, u8)| format!("{id}:{}", STANDARD.encode([*byte; KEY_BYTES]));
        let text = ids.iter().map(entry).collect::<Vec<_>>().join(", ");
        Keyring::parse(&SecretString::from(text)).unwrap()
    }

    fn place() -> Place {
        Place { column: "webhook_secrets.secret", org: OrgId::new(), row: Uuid::now_v7() }
    }

    #[test]
    fn what_is_sealed_opens_at_its_place_and_nowhere_else() {
        let (ring, place) = (ring(&[("a", 1)]), place());
        let sealed = ring.seal(&place, &SecretString::from("whsec"));
        assert_eq!(ring.open(&place, &sealed).unwrap().expose_secret(), "whsec");
        for other in [
            Place { column: "connections.tokens", ..place },
            Place { org: OrgId::new(), ..place },
            Place { row: Uuid::now_v7(), ..place },
        ] {
            assert_eq!(ring.open(&other, &sealed).unwrap_err(), OpenError::Damaged);
        }
        assert_ne!(
            sealed,
            ring.seal(&place, &SecretString::from("whsec")),
            "the same secret twice is not told as the same"
        );
    }

    #[test]
    fn every_bit_of_a_record_counts() {
        let (ring, place) = (ring(&[("a", 1), ("b", 2)]), place());
        let sealed = ring.seal(&place, &SecretString::from("Mühle"));
        for bit in 0..sealed.0.len() * 8 {
            let mut changed = sealed.clone();
            changed.0[bit / 8] ^= 1 << (bit % 8);
            assert!(ring.open(&place, &changed).is_err(), "bit {bit}");
        }
        for length in 0..sealed.0.len() {
            assert!(ring.open(&place, &Sealed(sealed.0[..length].to_vec())).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn keys_are_replaced_while_old_records_open() {
        let place = place();
        let old = ring(&[("2026-01", 1)]).seal(&place, &SecretString::from("token"));
        let both = ring(&[("2026-07", 2), ("2026-01", 1)]);
        assert_eq!(both.open(&place, &old).unwrap().expose_secret(), "token");
        assert_eq!((old.key_id(), both.current()), (Some("2026-01"), "2026-07"));
        assert_eq!(
            ["2026-07", "2026-01", "2025-07"].map(|id| both.standing(id)),
            [Standing::Current, Standing::Old, Standing::Missing]
        );
        let new = both.seal(&place, &SecretString::from("token"));
        assert_eq!(new.key_id(), Some("2026-07"));
        let error = ring(&[("2026-07", 2)]).open(&place, &old).unwrap_err();
        assert_eq!(error, OpenError::UnknownKey("2026-01".to_owned()));
        assert_eq!(ring(&[("2026-01", 9)]).open(&place, &old).unwrap_err(), OpenError::Damaged);
    }

    #[test]
    fn the_key_is_told_by_what_a_record_begins_with_and_by_nothing_that_is_no_id() {
        let sealed = ring(&[("2026-07", 1)]).seal(&place(), &SecretString::from("token"));
        assert_eq!(key_id(&sealed.0[..9]), Some("2026-07"));
        assert_eq!(key_id(&sealed.0[..8]), None);
        for other in [&b""[..], b"\x01", b"\x01\x00", b"\x02\x01a", b"\x01\x01A", b"\x01\x02a\x1b"] {
            assert_eq!(key_id(other), None, "{other:?}");
        }
    }

    #[test]
    fn lists_that_cannot_be_used_are_refused_without_a_word_of_the_keys() {
        let error = |text: &str| Keyring::parse(&SecretString::from(text)).unwrap_err();
        let key = STANDARD.encode([7; KEY_BYTES]);
        assert_eq!(error(""), KeyringError::Malformed);
        assert_eq!(error(&key), KeyringError::Malformed);
        assert_eq!(error("a:c2hvcnQ="), KeyringError::Malformed);
        assert_eq!(error(&format!("A b:{key}")), KeyringError::Id);
        assert_eq!(error(&format!("a:{key},a:{key}")), KeyringError::Twice("a".to_owned()));
        assert!(!format!("{:?}", ring(&[("a", 7)])).contains(&key[..6]));
    }
}
