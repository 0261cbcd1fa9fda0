//! Tags over a message given in pieces, in the form in which they are written.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::Hmac;
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;

/// The hash function under an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// HMAC-SHA1, for vendors that leave no choice.
    HmacSha1,
    /// HMAC-SHA256.
    HmacSha256,
    /// HMAC-SHA512.
    HmacSha512,
    /// SHA-256 of the secret and then the message, as `HubSpot`'s first two versions have it: no HMAC, so for these alone.
    #[serde(skip)]
    PrefixedSha256,
}

/// How a tag is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Lower case.
    Hex,
    /// Upper case.
    HexUpper,
    /// With padding (RFC 4648, section 4).
    Base64,
}

/// The tag of a message, as it would be written.
pub(super) fn tag(algorithm: Algorithm, encoding: Encoding, key: &[u8], message: &[&[u8]]) -> String {
    let bytes = match algorithm {
        Algorithm::HmacSha1 => hmac::<Hmac<Sha1>>(key, message),
        Algorithm::HmacSha256 => hmac::<Hmac<Sha256>>(key, message),
        Algorithm::HmacSha512 => hmac::<Hmac<Sha512>>(key, message),
        Algorithm::PrefixedSha256 => {
            let digest = message.iter().fold(Sha256::new_with_prefix(key), Sha256::chain_update);
            digest.finalize().to_vec()
        }
    };
    match encoding {
        Encoding::Hex => hex(&bytes, b"0123456789abcdef"),
        Encoding::HexUpper => hex(&bytes, b"0123456789ABCDEF"),
        Encoding::Base64 => STANDARD.encode(bytes),
    }
}

fn hmac<M: hmac::Mac + hmac::KeyInit>(key: &[u8], message: &[&[u8]]) -> Vec<u8> {
    let mut mac = <M as hmac::KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    for piece in message {
        mac.update(piece);
    }
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8], digits: &[u8; 16]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(digits[usize::from(digit)])).collect()
}

/// Whether two texts are the same, in a time that depends on their lengths alone.
pub(super) fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}
