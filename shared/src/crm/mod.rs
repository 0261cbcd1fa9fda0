//! CRMs: what both sides need to know of them. How they are talked to is the worker's business alone.

mod assertion;
mod credentials;
mod decimal;
mod endpoints;
mod rates;
mod writable;

pub use assertion::{NoKey, assertion};
pub use credentials::{Credentials, OauthClient, Tokens, place};
pub use decimal::decimal;
pub use endpoints::{AccountError, Addresses, Endpoints, EndpointsError};
pub use rates::{CallClass, Rates};
pub(crate) use writable::raw_field;
pub use writable::{check_field, writable};

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

macro_rules! names {
    ($(#[$doc:meta])* $name:ident, $unknown:literal { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, ToSchema,
        )]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name in rows, payloads and labels.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = &'static str;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|known| known.as_str() == text).ok_or($unknown)
            }
        }
    };
}

names! {
    /// A CRM.
    Provider, "must be one of kommo, hubspot, salesforce, pipedrive" {
        /// Kommo, once amoCRM.
        Kommo = "kommo",
        /// HubSpot.
        Hubspot = "hubspot",
        /// Salesforce.
        Salesforce = "salesforce",
        /// Pipedrive.
        Pipedrive = "pipedrive",
    }
}

names! {
    /// A sort of record. What a provider calls otherwise (leads, opportunities, persons, organizations, users) goes by these names.
    Object, "must be one of owners, pipelines, companies, contacts, deals, notes" {
        /// Those who work with the CRM.
        Owners = "owners",
        /// Pipelines with their stages.
        Pipelines = "pipelines",
        /// Firms.
        Companies = "companies",
        /// People.
        Contacts = "contacts",
        /// What is to be sold.
        Deals = "deals",
        /// What was written down.
        Notes = "notes",
    }
}

names! {
    /// What becomes of a change of ours where the CRM's record has changed meanwhile, in one of the same fields.
    ConflictPolicy, "must be one of crm_wins, local_wins, newest_wins, manual" {
        /// The change is dropped.
        CrmWins = "crm_wins",
        /// The change is written all the same.
        LocalWins = "local_wins",
        /// The one that was made later stays.
        NewestWins = "newest_wins",
        /// Somebody says which one stays.
        Manual = "manual",
    }
}

/// How a sync goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SyncMode {
    /// What has changed since the last one; everything where there was none.
    #[default]
    Incremental,
    /// Everything, and what is gone.
    Full,
}

impl SyncMode {
    /// Its name in rows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Incremental => "incremental",
            Self::Full => "full",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_in_rows_and_in_json() {
        for provider in Provider::ALL {
            assert_eq!(serde_json::to_value(provider).unwrap(), provider.as_str());
            assert_eq!(provider.as_str().parse(), Ok(*provider));
        }
        for object in Object::ALL {
            assert_eq!(serde_json::to_value(object).unwrap(), object.as_str());
            assert_eq!(object.as_str().parse(), Ok(*object));
        }
        for mode in [SyncMode::Incremental, SyncMode::Full] {
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.as_str());
        }
    }
}
