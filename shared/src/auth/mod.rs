//! Who is asking: roles, API keys and JSON web tokens.
//!
//! Nothing here reads the database or HTTP; callers bring the header's text and the stored key, and get a [`Principal`].

mod api_key;
pub mod jwt;
mod role;

use std::fmt;

pub use api_key::{ApiKey, KeyHash, MalformedKey};
pub use jwt::{JwtVerifier, TokenRefused};
pub use role::{Role, UnknownRole};
use sha2::{Digest as _, Sha256};

use crate::ids::{KeyId, OrgId};

/// What the caller proved: their organisation and what they may do in it.
///
/// The organisation of every request comes from here and from nowhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The tenant whose data the caller sees.
    pub org: OrgId,
    /// What they may do.
    pub role: Role,
    /// Who they are, for the audit log.
    pub subject: Subject,
}

/// Who a credential was given to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The holder of an API key.
    Key(KeyId),
    /// The `sub` of a token, as its issuer wrote it.
    Token(String),
}

/// What logs show. A token's subject may be a person's name or address, so of that they get a part of its SHA-256: enough to tell
/// callers apart, and to find one whose subject is known.
impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => write!(formatter, "key:{id}"),
            Self::Token(subject) => {
                formatter.write_str("token:")?;
                Sha256::digest(subject).iter().take(6).try_for_each(|byte| write!(formatter, "{byte:02x}"))
            }
        }
    }
}
