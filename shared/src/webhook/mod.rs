//! Verification of webhooks: whether a delivery was made by who knows the source's secret, when, and whether it is one that was seen before.
//!
//! All of it is pure: bytes in, a verdict out. What is signed are the raw bytes as they came, never a document that was parsed and written again, and the
//! URL that the operator configured, never one made of `Host` headers that the sender controls. A signature is compared in the form it is written
//! in, so that each has one spelling and no other passes, and in constant time.
//!
//! A scheme that signs is described by a recipe: where its signature stands, and what it is of. [`Scheme`] names those that vendors use, and lets an
//! operator put one together. Schemes that sign nothing (HTTP Basic, a secret in the URL) prove who sends and nothing of what is sent: their deliveries
//! may only ever cause a look at the CRM itself.

mod mac;
mod query;
mod recipe;
mod scheme;
#[cfg(test)]
mod tests;

use chrono::{DateTime, TimeDelta, Utc};
use http::HeaderMap;
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};

pub use mac::{Algorithm, Encoding};
pub use recipe::TimeUnit;
pub use scheme::{Custom, Scheme, SchemeError};

/// A request as it came.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// As it came; each scheme takes [one](Scheme::method) alone.
    pub method: &'a str,
    /// The URL that the sender was given, by the configured public address, with the query as it was sent.
    pub url: &'a str,
    /// The secret part of the URL's path, where there is one.
    pub token: Option<&'a str>,
    /// As they came.
    pub headers: &'a HeaderMap,
    /// The raw bytes.
    pub body: &'a [u8],
}

/// What a valid delivery has proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Which of the secrets it was signed with, in the order in which they were given.
    pub secret: usize,
    /// When the sender says that it was signed, where the scheme signs that.
    pub signed_at: Option<DateTime<Utc>>,
    /// The same for deliveries that are the same: of the signed id where the scheme has one, else of the signature and the body.
    pub fingerprint: [u8; 32],
    /// What a delivery without a body says, as JSON: of its query what it signs. Otherwise its body is what it says.
    pub said: Option<Vec<u8>>,
}

/// Why a delivery is refused. For operators and metrics; senders are told nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It came by another method than the scheme's.
    #[error("it came by another method than the one that the scheme asks for")]
    WrongMethod,
    /// A parameter of the query that the scheme needs is missing.
    #[error("the parameter {0} is missing in the query")]
    MissingParameter(&'static str),
    /// A header that the scheme needs is missing.
    #[error("the header {0} is missing")]
    MissingHeader(String),
    /// A header, or a query, has no value of the scheme's form.
    #[error("a header or the query does not have the form that the scheme asks for")]
    Malformed,
    /// No signature is by a secret of the source over these bytes.
    #[error("no signature is by a secret of the source over this body, URL, id and time")]
    WrongSignature,
    /// The name or the password is another one, or the URL's secret part is.
    #[error("the credentials are not those of the source")]
    WrongCredentials,
    /// The signature is right and too old.
    #[error("it was signed {0} seconds ago, longer than is tolerated")]
    TooOld(i64),
    /// The signature is right and from the future.
    #[error("it was signed {0} seconds in the future, further than is tolerated")]
    TooNew(i64),
}

impl Refusal {
    /// A name for metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::WrongMethod => "wrong_method",
            Self::MissingParameter(_) => "missing_parameter",
            Self::MissingHeader(_) => "missing_header",
            Self::Malformed => "malformed_header",
            Self::WrongSignature => "wrong_signature",
            Self::WrongCredentials => "wrong_credentials",
            Self::TooOld(_) => "too_old",
            Self::TooNew(_) => "too_new",
        }
    }
}

/// Judges a delivery by a source's scheme and its secrets: one, or two while one replaces the other. `tolerance` is how far the signed time may be from
/// `now`, either way.
///
/// # Errors
/// Why it is refused. A signature is judged before its time, so that only who has the secret can learn of the clock.
pub fn verify(
    scheme: &Scheme,
    secrets: &[SecretString],
    delivery: &Delivery<'_>,
    (now, tolerance): (DateTime<Utc>, TimeDelta),
) -> Result<Verified, Refusal> {
    if delivery.method != scheme.method() {
        return Err(Refusal::WrongMethod);
    }
    let proof = scheme.prove(secrets, delivery)?;
    if let Some(signed_at) = proof.signed_at {
        let age = now.signed_duration_since(signed_at);
        if age > tolerance {
            return Err(Refusal::TooOld(age.num_seconds()));
        }
        if -age > tolerance {
            return Err(Refusal::TooNew(-age.num_seconds()));
        }
    }
    let Proof { secret, signed_at, fingerprint, said } = proof;
    Ok(Verified { secret, signed_at, fingerprint, said })
}

/// What is left of a delivery once its signature is known to be right.
struct Proof {
    secret: usize,
    signed_at: Option<DateTime<Utc>>,
    fingerprint: [u8; 32],
    said: Option<Vec<u8>>,
}

/// A digest of parts that cannot be mistaken for other parts, because each is told with its length.
fn fingerprint(parts: &[&[u8]]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}
