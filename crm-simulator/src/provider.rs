//! Which vendor an account is with, and which kinds of records it has.

use serde::{Deserialize, Serialize};

/// A vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Kommo, also known as amoCRM.
    Kommo,
    /// `HubSpot`.
    Hubspot,
    /// Salesforce.
    Salesforce,
    /// Pipedrive.
    Pipedrive,
}

impl Provider {
    /// The one of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Kommo, Self::Hubspot, Self::Salesforce, Self::Pipedrive].into_iter().find(|one| one.name() == name)
    }

    /// As it stands in URLs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kommo => "kommo",
            Self::Hubspot => "hubspot",
            Self::Salesforce => "salesforce",
            Self::Pipedrive => "pipedrive",
        }
    }

    /// A time as the vendor keeps it: `HubSpot` knows milliseconds, the others whole seconds.
    pub(crate) fn round(self, time_ms: i64) -> i64 {
        if self == Self::Hubspot { time_ms } else { time_ms - time_ms.rem_euclid(1000) }
    }
}

/// A kind of record, by the name that is the same for all vendors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Object {
    /// People: contacts, Pipedrive's persons.
    Contacts,
    /// Companies, Salesforce's accounts, Pipedrive's organizations.
    Companies,
    /// Deals, Kommo's leads, Salesforce's opportunities.
    Deals,
    /// Notes.
    Notes,
    /// Salesforce's tasks; no other vendor has them here.
    Tasks,
    /// The users that own records.
    Owners,
}

impl Object {
    /// All of them, in the order in which they are made: each links only to those before it.
    pub const ALL: [Self; 6] = [Self::Owners, Self::Companies, Self::Contacts, Self::Deals, Self::Notes, Self::Tasks];

    /// As it stands in the control API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Contacts => "contacts",
            Self::Companies => "companies",
            Self::Deals => "deals",
            Self::Notes => "notes",
            Self::Tasks => "tasks",
            Self::Owners => "owners",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}
