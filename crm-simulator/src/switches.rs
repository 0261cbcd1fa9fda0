//! Where vendors differ, where their pages leave a question open, and what a test wants quicker than it is.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::provider::Provider;

/// Whom a rate is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateScope {
    /// All that reach the account.
    Account,
    /// All that come from the address, whatever account they ask for.
    Address,
    /// All that show the token.
    Token,
}

/// What becomes of a refresh token that was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotation {
    /// It stays the same.
    Never,
    /// There is a new one, and the old one is valid until the new one is first used (Kommo).
    UntilUsed,
    /// There is a new one, and the old one is void at once.
    OneShot,
}

/// What ends the time in which a replaced refresh token is still valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClosedBy {
    /// The first use of the new refresh token.
    RefreshToken,
    /// The first use of the new refresh token or of the access token that came with it.
    AnyToken,
}

/// Where Pipedrive puts the next cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NextCursor {
    /// `additional_data.next_cursor`
    AdditionalData,
    /// `additional_data.pagination.next_cursor`
    Pagination,
}

/// What Pipedrive answers to who asks for a deleted record by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeletedById {
    /// The record, marked as deleted.
    Row,
    /// 404.
    NotFound,
}

/// All switches of an account; each vendor has defaults of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switches {
    /// So many requests are taken in a sliding window; zero for any number.
    pub requests: u32,
    /// The window's length.
    pub window_ms: u64,
    /// Whom they are counted for.
    pub rate_scope: RateScope,
    /// After so many refusals within a minute the address is blocked (Kommo); zero for never.
    pub block_after: u32,
    /// For how long.
    pub block_ms: u64,
    /// The `Retry-After` of a 429, if it has one.
    pub retry_after_s: Option<u64>,
    /// So many requests a day are taken; zero for any number (`HubSpot`, Salesforce).
    pub daily_requests: u64,
    /// `HubSpot`'s searches per second and token.
    pub searches_per_second: u32,
    /// How far into its results a search of `HubSpot`'s can be paged.
    pub search_cap: usize,
    /// How long after its change a record is missing in `HubSpot`'s search.
    pub search_lag_ms: i64,
    /// How long access tokens are valid.
    pub access_token_s: i64,
    /// How long refresh tokens are valid.
    pub refresh_token_s: i64,
    /// What becomes of a used refresh token.
    pub rotation: Rotation,
    /// What ends the time of the replaced one.
    pub rotation_closed_by: ClosedBy,
    /// The status of `invalid_grant`.
    pub invalid_grant_status: u16,
    /// The most rows that a page of Salesforce's has.
    pub page_rows: usize,
    /// The last page that Kommo gives; zero for any.
    pub max_page: u64,
    /// Where Pipedrive puts the next cursor.
    pub next_cursor: NextCursor,
    /// What Pipedrive answers for a deleted record.
    pub deleted_by_id: DeletedById,
    /// For how many days Pipedrive lists what was deleted.
    pub deleted_days: i64,
    /// What the old name of a Kommo account that has moved answers.
    pub moved_status: u16,
    /// The claim `api_domain` of Kommo's access tokens.
    pub api_domain: String,
    /// Whether the user refuses at the authorize page.
    pub refuses_consent: bool,
    /// What every request takes at least.
    pub latency_ms: u64,
    /// Whether parameters are refused that the vendor does not have (Pipedrive v2, `HubSpot`'s search).
    pub strict_parameters: bool,
}

const DAY_S: i64 = 86_400;

impl Switches {
    /// The vendor's defaults.
    #[must_use]
    pub fn of(provider: Provider) -> Self {
        let common = Self {
            requests: 7,
            window_ms: 1000,
            rate_scope: RateScope::Account,
            block_after: 0,
            block_ms: 60_000,
            retry_after_s: None,
            daily_requests: 0,
            searches_per_second: 0,
            search_cap: 10_000,
            search_lag_ms: 0,
            access_token_s: DAY_S,
            refresh_token_s: 90 * DAY_S,
            rotation: Rotation::Never,
            rotation_closed_by: ClosedBy::RefreshToken,
            invalid_grant_status: 400,
            page_rows: 2000,
            max_page: 0,
            next_cursor: NextCursor::AdditionalData,
            deleted_by_id: DeletedById::Row,
            deleted_days: 30,
            moved_status: 404,
            api_domain: "api-b.kommo.com".to_owned(),
            refuses_consent: false,
            latency_ms: 0,
            strict_parameters: true,
        };
        match provider {
            Provider::Kommo => {
                Self { block_after: 10, rotation: Rotation::UntilUsed, invalid_grant_status: 401, ..common }
            }
            Provider::Hubspot => Self {
                requests: 110,
                window_ms: 10_000,
                searches_per_second: 5,
                access_token_s: 1800,
                refresh_token_s: 3650 * DAY_S,
                ..common
            },
            Provider::Salesforce => Self {
                requests: 0,
                daily_requests: 100_000,
                access_token_s: 7200,
                refresh_token_s: 3650 * DAY_S,
                ..common
            },
            Provider::Pipedrive => {
                Self { requests: 80, window_ms: 2000, access_token_s: 3600, refresh_token_s: 60 * DAY_S, ..common }
            }
        }
    }

    /// These, with some of them set.
    ///
    /// # Errors
    /// When there is no such switch, or the value is none of its.
    pub(crate) fn with(&self, set: &Map<String, Value>) -> Result<Self, serde_json::Error> {
        let mut all = serde_json::to_value(self)?;
        if let Some(all) = all.as_object_mut() {
            all.extend(set.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        serde_json::from_value(all)
    }
}
