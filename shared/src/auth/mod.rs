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

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => write!(formatter, "key:{id}"),
            Self::Token(subject) => write!(formatter, "token:{subject}"),
        }
    }
}
