//! CRMs: a provider says how its CRM is asked and what its documents mean; everything else is done here once for all.
//!
//! A provider is a folder with an implementation of [`Crm`] and one line in [`Crms::new`]. It never waits, retries, paces, stores or logs: its calls go
//! through [`Api`], which keeps the account's rate, its circuit breaker and its tokens, and tells apart what went wrong.

mod api;
mod connection;
mod error;
mod hubspot;
mod keyset;
mod kommo;
mod own_fields;
mod pipedrive;
mod record;
mod salesforce;
mod tokens;

pub(crate) use api::{Answer, Api, Call};
pub(crate) use connection::{Clients, open, open_in_any_state};
pub(crate) use error::CrmError;

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millrace_shared::crm::{Credentials, Object, Provider, Tokens};
use millrace_shared::db::crm::records::Seen;
use reqwest::header::{HeaderName, HeaderValue};
use secrecy::SecretString;
use serde_json::Value;

/// Which records a scan is after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// Those that are there.
    Live,
    /// Those that were deleted, as far as the provider tells.
    Deleted,
}

/// A place in a scan.
#[derive(Debug, Clone)]
pub(crate) struct Scan<'a> {
    pub(crate) object: Object,
    pub(crate) pass: Pass,
    /// Only what has changed since, by the provider's clock.
    pub(crate) since: Option<DateTime<Utc>>,
    /// [`Page::next`] of the page before.
    pub(crate) cursor: Option<&'a str>,
}

/// Of which records a page is all there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Covered {
    /// Of none: others may be on other pages.
    Nothing,
    /// Of those that were updated in this span, its end excluded; without an end, of all from its begin on.
    Updated(Option<DateTime<Utc>>, Option<DateTime<Utc>>),
}

/// Some records of a scan.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) seen: Vec<Seen>,
    /// Ids of records that are gone, and when that was, if it is told.
    pub(crate) gone: Vec<(String, Option<DateTime<Utc>>)>,
    /// Where the next page begins; nothing on the last one.
    pub(crate) next: Option<String>,
    pub(crate) covered: Covered,
    /// Whether `covered` is of this page and the one before together.
    pub(crate) continued: bool,
    /// Fields that were not what they are known to be, and what they were instead.
    pub(crate) drift: Vec<(String, String)>,
    /// The provider's clock when it answered.
    pub(crate) answered_at: Option<DateTime<Utc>>,
}

/// Whose account a connection leads to.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
}

/// A record that a delivery is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Touched {
    pub(crate) object: Object,
    pub(crate) id: String,
}

/// What a delivery says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Delivered {
    /// The account that it says it is from.
    pub(crate) account_id: Option<String>,
    pub(crate) touched: Vec<Touched>,
    /// Events of sorts that are no concern of ours.
    pub(crate) ignored: usize,
}

/// How tokens are asked for.
#[derive(Debug, Clone)]
pub(crate) enum Grant<'a> {
    Code(&'a SecretString),
    Refresh(&'a SecretString),
}

/// A CRM. See the module.
#[async_trait]
pub(crate) trait Crm: Send + Sync + 'static {
    fn provider(&self) -> Provider;

    /// The passes of a scan; `whole` where it is not after changes alone.
    fn passes(&self, object: Object, whole: bool) -> &'static [Pass];

    /// One page of a scan.
    async fn page(&self, api: &Api<'_>, scan: &Scan<'_>) -> Result<Page, CrmError>;

    /// One record; `None` if there is none of that id, or none any more.
    async fn record(&self, api: &Api<'_>, object: Object, id: &str) -> Result<Option<Seen>, CrmError>;

    /// Writes fields of a record, named as [`writable`](millrace_shared::crm::writable) has them; all of them or none.
    async fn write(
        &self,
        api: &Api<'_>,
        object: Object,
        id: &str,
        fields: &BTreeMap<String, Value>,
    ) -> Result<(), CrmError>;

    /// Whose account it is.
    async fn account(&self, api: &Api<'_>) -> Result<Account, CrmError>;

    /// Reads what a webhook delivered. The error says what is wrong with it, and nothing of what is in it.
    fn delivered(&self, body: &[u8]) -> Result<Delivered, String>;

    /// What an answer means that is no success, where that is not what [`error::usual`] says.
    fn refusal(&self, answer: &Answer) -> CrmError {
        error::usual(answer)
    }

    /// The header that proves who calls.
    fn proof(&self, credentials: &Credentials) -> Option<(HeaderName, HeaderValue)> {
        api::bearer(credentials)
    }

    /// The fields of a request for tokens, and whether they are sent as JSON instead of as a form.
    fn sends_grants_as_json(&self) -> bool {
        false
    }

    /// The account's part of its host where it has moved to, if a refusal of its tokens may mean that.
    async fn moved_to(&self, _api: &Api<'_>, _tokens: &Tokens) -> Result<Option<String>, CrmError> {
        Ok(None)
    }
}

/// A page of nothing.
fn empty_page(answer: &Answer) -> Page {
    Page {
        seen: Vec::new(),
        gone: Vec::new(),
        next: None,
        covered: Covered::Nothing,
        continued: false,
        drift: Vec::new(),
        answered_at: answer.date(),
    }
}

/// An id or a cursor as a part of a path or a query that cannot be anything else.
fn path_segment(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn json_body(body: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(body)
        .map_err(|error| format!("it is no JSON at line {}, column {}", error.line(), error.column()))
}

/// The fields of a change by the provider's names. `own` gives those of a common field; fields of the provider's own keep their names.
fn by_own_names<'f>(
    fields: &'f BTreeMap<String, Value>,
    own: impl Fn(&str, &'f Value) -> Vec<(String, Value)>,
) -> serde_json::Map<String, Value> {
    let named = |(name, value): (&'f String, &'f Value)| match name.strip_prefix("raw.") {
        Some(raw) => vec![(raw.to_owned(), value.clone())],
        None => own(name, value),
    };
    fields.iter().flat_map(named).collect()
}

/// Values of a list for fields of which each takes one; what is left over is emptied.
fn one_each(names: &[&str], values: &Value) -> Vec<(String, Value)> {
    let value = |at: usize| values.get(at).cloned().unwrap_or_default();
    names.iter().enumerate().map(|(at, name)| ((*name).to_owned(), value(at))).collect()
}

/// The providers, by name.
pub(crate) struct Crms(BTreeMap<Provider, Box<dyn Crm>>);

impl Crms {
    /// The registry. A new provider is one line here.
    pub(crate) fn new() -> Self {
        let all: [Box<dyn Crm>; 4] = [
            Box::<hubspot::Hubspot>::default(),
            Box::new(kommo::Kommo),
            Box::new(pipedrive::Pipedrive),
            Box::new(salesforce::Salesforce::default()),
        ];
        Self(all.into_iter().map(|crm| (crm.provider(), crm)).collect())
    }

    pub(crate) fn get(&self, provider: Provider) -> &dyn Crm {
        &**self.0.get(&provider).expect("every provider is in the registry")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_provider_is_in_the_registry() {
        let crms = Crms::new();
        for provider in Provider::ALL {
            assert_eq!(crms.get(*provider).provider(), *provider);
        }
    }
}
