//! Identifiers as types, so that an organisation's id can never be passed where a job's is meant.
//!
//! All are UUIDv7 (RFC 9562): ordered by time of creation, so that they serve as keyset cursors and keep B-tree inserts at the right edge.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type, schemars::JsonSchema,
        )]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A fresh id, ordered after every id this process made before.
            #[must_use]
            #[expect(clippy::new_without_default, reason = "every call gives another id, which no default should")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// The 16 bytes, as Redis keeps them.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = uuid::Error;

            fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
                Uuid::from_slice(bytes).map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    };
}

id!(
    /// A tenant.
    OrgId
);
id!(
    /// An accepted job.
    JobId
);
id!(
    /// An uploaded document.
    AssetId
);
id!(
    /// An API key's record; never the key itself.
    KeyId
);
