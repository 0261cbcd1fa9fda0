//! Kommo, once amoCRM: lists by the time of the last change, webhooks that prove nothing.
//!
//! Nothing is found where nothing is there: an empty list is `204` without a body. Whoever calls too often is answered 429, and then 403 on whatever comes
//! from the address. Facts: <https://developers.kommo.com/docs/limitations>, <https://developers.kommo.com/reference/leads-list>.

mod mapping;
mod webhook;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use millrace_shared::crm::{Object, Provider, Tokens};
use millrace_shared::db::crm::records::Seen;
use reqwest::StatusCode;
use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::api::secret_header;
use super::error::usual;
use super::keyset::Keyset;
use super::record::{Drift, Look};
use super::{Account, Answer, Api, Call, Covered, Crm, CrmError, Delivered, Page, Pass, Scan};

/// The most that a list gives.
const PAGE: usize = 250;
/// Lists of users that go on for longer are not one account's.
const MOST_USER_PAGES: usize = 100;
/// How long nothing is called from an address that is blocked.
const BLOCKED: Duration = Duration::from_secs(600);

/// What notes are on: each sort has a list of its own.
const NOTED: [&str; 3] = ["leads", "contacts", "companies"];

pub(super) struct Kommo;

#[async_trait]
impl Crm for Kommo {
    fn provider(&self) -> Provider {
        Provider::Kommo
    }

    fn passes(&self, object: Object, _whole: bool) -> &'static [Pass] {
        if object == Object::Deals { &[Pass::Live, Pass::Deleted] } else { &[Pass::Live] }
    }

    async fn page(&self, api: &Api<'_>, scan: &Scan<'_>) -> Result<Page, CrmError> {
        match scan.object {
            Object::Owners => users(api).await,
            Object::Pipelines => pipelines(api).await,
            Object::Notes => notes(api, scan).await,
            object => {
                let with = match (object, scan.pass) {
                    (_, Pass::Deleted) => "&with=only_deleted",
                    (Object::Deals, Pass::Live) => "&with=contacts",
                    _ => "",
                };
                let keyset = Keyset::read(scan.cursor, scan.since);
                let listed = list(api, (object, entity(object)), with, keyset).await?;
                Ok(listed.into_page(keyset, scan.pass))
            }
        }
    }

    async fn record(&self, api: &Api<'_>, object: Object, id: &str) -> Result<Option<Seen>, CrmError> {
        let id = super::path_segment(id);
        let paths: Vec<String> = match object {
            Object::Notes => NOTED.iter().map(|on| format!("/api/v4/{on}/notes/{id}")).collect(),
            Object::Pipelines => vec![format!("/api/v4/leads/pipelines/{id}")],
            Object::Deals => vec![format!("/api/v4/leads/{id}?with=contacts")],
            object => vec![format!("/api/v4/{}/{id}", entity(object))],
        };
        for (at, path) in paths.into_iter().enumerate() {
            match get(api, &path).await {
                Ok(answer) if answer.status == StatusCode::NO_CONTENT => {}
                Ok(answer) => {
                    let document: Value = answer.json()?;
                    let on = NOTED.get(at).copied().filter(|_| object == Object::Notes);
                    let is_gone = document.get("is_deleted") == Some(&Value::Bool(true));
                    return Ok(mapping::seen(object, on, &document, &Drift::default()).filter(|_| !is_gone));
                }
                Err(CrmError::Missing) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    async fn write(
        &self,
        api: &Api<'_>,
        object: Object,
        id: &str,
        fields: &BTreeMap<String, Value>,
    ) -> Result<(), CrmError> {
        let path = format!("/api/v4/{}/{}", entity(object), super::path_segment(id));
        api.call(&Call::patch(path, mapping::change(fields))).await.map(drop)
    }

    async fn account(&self, api: &Api<'_>) -> Result<Account, CrmError> {
        let account: Value = get(api, "/api/v4/account").await?.json()?;
        let drift = Drift::default();
        let look = Look::at(&account, &drift);
        let id = look.id("id").ok_or_else(|| CrmError::broken("the account has no `id`"))?;
        Ok(Account { id, name: look.text("name") })
    }

    fn delivered(&self, body: &[u8]) -> Result<Delivered, String> {
        webhook::read(body)
    }

    fn refusal(&self, answer: &Answer) -> CrmError {
        // Who lacks a right is told so in the way of the API; who is blocked does not reach it.
        if answer.status == StatusCode::FORBIDDEN && !answer.is_json() {
            return CrmError::busy(Some(BLOCKED));
        }
        // An account that has moved leaves nothing behind that would answer in the way of the API.
        if answer.status == StatusCode::NOT_FOUND { CrmError::Missing } else { usual(answer) }
    }

    fn sends_grants_as_json(&self) -> bool {
        true
    }

    /// As the vendor's own client does it: amocrm/amocrm-api-php, `src/AmoCRM/OAuth/AmoCRMOAuth.php`.
    async fn moved_to(&self, api: &Api<'_>, tokens: &Tokens) -> Result<Option<String>, CrmError> {
        let Some(refresh) = &tokens.refresh else { return Ok(None) };
        let Some(domain) = api_domain(tokens.access.expose_secret()) else { return Ok(None) };
        let Some(header) = secret_header("x-refresh-token".parse().expect("a header's name"), "", refresh) else {
            return Ok(None);
        };
        let answer = api.ask_elsewhere(&domain, "/oauth2/account/current/subdomain", header).await?;
        if !answer.status.is_success() {
            return Ok(None);
        }
        let body: Value = answer.json()?;
        let drift = Drift::default();
        let moved = Look::at(&body, &drift).text("subdomain");
        Ok(moved.filter(|to| Some(to.as_str()) != api.connection().account.as_deref()))
    }
}

/// Asks, and asks where the account is now if it is not there any more: a record that is not found must not be taken for deleted because all of it has moved.
async fn get(api: &Api<'_>, path: &str) -> Result<Answer, CrmError> {
    match api.get(path).await {
        Err(CrmError::Missing) if api.follow_if_moved().await? => api.get(path).await,
        answer => answer,
    }
}

/// What the provider calls a sort of record.
fn entity(object: Object) -> &'static str {
    match object {
        Object::Deals => "leads",
        Object::Contacts => "contacts",
        Object::Companies => "companies",
        Object::Owners => "users",
        Object::Pipelines => "pipelines",
        Object::Notes => "notes",
    }
}

/// The host for the account's questions of where it is, if it is one of Kommo's: the label before `.kommo.com`.
fn api_domain(access: &str) -> Option<String> {
    let claims = URL_SAFE_NO_PAD.decode(access.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    let label = claims.get("api_domain")?.as_str()?.strip_suffix(".kommo.com")?.to_owned();
    Provider::Kommo.check_account(Some(&label)).ok().map(|()| label)
}

/// A page of a list.
struct Listed {
    page: Page,
    more: bool,
}

impl Listed {
    fn into_page(self, keyset: Keyset, pass: Pass) -> Page {
        let Self { mut page, more } = self;
        let times: Vec<_> = page.seen.iter().map(|record| record.updated_at).collect();
        page.next = keyset.next(&times, more);
        page.covered = keyset.covered(&times, more);
        page.continued = keyset.is_continued();
        if pass == Pass::Deleted {
            // What little it tells of them would take the place of all that is known.
            page.gone = page.seen.drain(..).map(|record| (record.external_id, Some(record.updated_at))).collect();
            page.covered = Covered::Nothing;
        }
        page
    }
}

async fn list(api: &Api<'_>, (object, path): (Object, &str), with: &str, keyset: Keyset) -> Result<Listed, CrmError> {
    let from = keyset.from.map(|from| format!("&filter[updated_at][from]={}", from.timestamp())).unwrap_or_default();
    let page = keyset.page;
    let answer =
        get(api, &format!("/api/v4/{path}?limit={PAGE}&page={page}&order[updated_at]=asc{from}{with}")).await?;
    let mut page = super::empty_page(&answer);
    if answer.status == StatusCode::NO_CONTENT {
        return Ok(Listed { page, more: false });
    }
    let body: Value = answer.json()?;
    let drift = Drift::default();
    let look = Look::at(&body, &drift);
    let (on, name) = path.split_once('/').map_or((None, path), |(on, name)| (Some(on), name));
    if let Some(embedded) = look.part("_embedded") {
        page.seen =
            embedded.list(name).filter_map(|record| mapping::seen(object, on, record.value(), &drift)).collect();
    } else {
        drift.note("_embedded", "is missing");
    }
    let more = look.part("_links").and_then(|links| links.part("next")).is_some();
    page.drift = drift.into_found();
    Ok(Listed { page, more })
}

/// The lists of notes one after the other: a cursor begins with the number of the list.
async fn notes(api: &Api<'_>, scan: &Scan<'_>) -> Result<Page, CrmError> {
    let (at, cursor) = match scan.cursor.and_then(|cursor| cursor.split_once('|')) {
        Some((at, "")) => (at.parse().unwrap_or(0), None),
        Some((at, cursor)) => (at.parse().unwrap_or(0), Some(cursor)),
        None => (0, None),
    };
    let Some(on) = NOTED.get(at) else { return Err(CrmError::broken("the cursor is of no list of notes")) };
    let keyset = Keyset::read(cursor, scan.since);
    let mut page = list(api, (Object::Notes, &format!("{on}/notes")), "", keyset).await?.into_page(keyset, scan.pass);
    page.covered = Covered::Nothing;
    page.next = match page.next {
        Some(next) => Some(format!("{at}|{next}")),
        None if at + 1 < NOTED.len() => Some(format!("{}|", at + 1)),
        None => None,
    };
    Ok(page)
}

async fn users(api: &Api<'_>) -> Result<Page, CrmError> {
    let mut whole: Option<Page> = None;
    for number in 1..=MOST_USER_PAGES {
        let answer = get(api, &format!("/api/v4/users?limit={PAGE}&page={number}")).await?;
        let page = whole.get_or_insert_with(|| super::empty_page(&answer));
        if answer.status == StatusCode::NO_CONTENT {
            break;
        }
        let body: Value = answer.json()?;
        let drift = Drift::default();
        let look = Look::at(&body, &drift);
        let users = look.part("_embedded").into_iter().flat_map(|embedded| embedded.list("users"));
        page.seen.extend(users.filter_map(|user| mapping::seen(Object::Owners, None, user.value(), &drift)));
        let more = look.part("_links").and_then(|links| links.part("next")).is_some();
        page.drift.extend(drift.into_found());
        if !more {
            break;
        }
    }
    let page = whole.ok_or_else(|| CrmError::broken("there is no list of users"))?;
    Ok(Page { covered: Covered::Updated(None, None), ..page })
}

async fn pipelines(api: &Api<'_>) -> Result<Page, CrmError> {
    let answer = get(api, "/api/v4/leads/pipelines").await?;
    let mut page = super::empty_page(&answer);
    page.covered = Covered::Updated(None, None);
    if answer.status == StatusCode::NO_CONTENT {
        return Ok(page);
    }
    let body: Value = answer.json()?;
    let drift = Drift::default();
    let rows = Look::at(&body, &drift).part("_embedded").into_iter().flat_map(|embedded| embedded.list("pipelines"));
    page.seen = rows.filter_map(|row| mapping::seen(Object::Pipelines, None, row.value(), &drift)).collect();
    page.drift = drift.into_found();
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_to_hosts_of_the_vendor_alone() {
        let token = |domain: &str| {
            let claims = URL_SAFE_NO_PAD.encode(serde_json::json!({ "api_domain": domain }).to_string());
            api_domain(&format!("x.{claims}.y"))
        };
        assert_eq!(token("api-b.kommo.com").as_deref(), Some("api-b"));
        for domain in ["evil.example", "evil.example/.kommo.com", "a.b.kommo.com", "kommo.com", "@x.kommo.com"] {
            assert_eq!(token(domain), None, "{domain}");
        }
        assert_eq!(api_domain("no-token"), None);
    }
}
