//! Pipedrive: version 2 of its API for what it has there, version 1 for notes and users. Its webhooks prove nothing but a password.
//!
//! Facts: <https://developers.pipedrive.com/docs/api/v1> and the vendor's client pipedrive/client-nodejs, `src/versions/v2`.

mod mapping;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{SecondsFormat, TimeDelta};
use millrace_shared::crm::{Credentials, Object, Provider};
use millrace_shared::db::crm::records::Seen;
use reqwest::StatusCode;
use reqwest::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::api::{bearer, secret_header};
use super::error::usual;
use super::keyset::Keyset;
use super::record::{Drift, Look};
use super::{Account, Answer, Api, Call, Covered, Crm, CrmError, Delivered, Page, Pass, Scan, Touched};

/// The most that a list gives.
const PAGE: usize = 500;
/// Small lists that go on for longer are not one account's.
const MOST_PAGES: usize = 100;
/// Whether `updated_since` takes in what changed just then is told nowhere.
const BEFORE: TimeDelta = TimeDelta::seconds(1);

pub(super) struct Pipedrive;

#[async_trait]
impl Crm for Pipedrive {
    fn provider(&self) -> Provider {
        Provider::Pipedrive
    }

    fn passes(&self, object: Object, _whole: bool) -> &'static [Pass] {
        if object == Object::Deals { &[Pass::Live, Pass::Deleted] } else { &[Pass::Live] }
    }

    async fn page(&self, api: &Api<'_>, scan: &Scan<'_>) -> Result<Page, CrmError> {
        match (scan.object, scan.pass) {
            (Object::Owners, _) => users(api).await,
            (Object::Pipelines, _) => pipelines(api).await,
            (Object::Notes, _) => notes(api, scan.cursor).await,
            (_, Pass::Deleted) => deleted(api, scan.cursor).await,
            (object, Pass::Live) => list(api, object, scan).await,
        }
    }

    async fn record(&self, api: &Api<'_>, object: Object, id: &str) -> Result<Option<Seen>, CrmError> {
        if object == Object::Pipelines {
            let all = pipelines(api).await?.seen;
            return Ok(all.into_iter().find(|pipeline| pipeline.external_id == id));
        }
        let id = super::path_segment(id);
        let path = match object {
            Object::Notes => format!("/v1/notes/{id}"),
            Object::Owners => format!("/v1/users/{id}"),
            object => format!("/api/v2/{}/{id}", entity(object)),
        };
        let answer = match api.get(path).await {
            Ok(answer) => answer,
            Err(CrmError::Missing) => return Ok(None),
            Err(error) => return Err(error),
        };
        let body: Value = answer.json()?;
        let data = body.get("data").unwrap_or(&Value::Null);
        Ok(if is_gone(data) { None } else { mapping::seen(object, data, &Drift::default()) })
    }

    async fn write(
        &self,
        api: &Api<'_>,
        object: Object,
        id: &str,
        fields: &BTreeMap<String, Value>,
    ) -> Result<(), CrmError> {
        let path = format!("/api/v2/{}/{}", entity(object), super::path_segment(id));
        api.call(&Call::patch(path, mapping::change(object, fields))).await.map(drop)
    }

    async fn account(&self, api: &Api<'_>) -> Result<Account, CrmError> {
        let body: Value = api.get("/v1/users/me").await?.json()?;
        let drift = Drift::default();
        let me = Look::at(&body, &drift).part("data").ok_or_else(|| CrmError::broken("the user has no `data`"))?;
        let id = me.id("company_id").ok_or_else(|| CrmError::broken("the user has no `company_id`"))?;
        Ok(Account { id, name: me.text("company_name") })
    }

    /// <https://pipedrive.readme.io/docs/guide-for-webhooks-v2>; version 1 calls the same things otherwise.
    fn delivered(&self, body: &[u8]) -> Result<Delivered, String> {
        let body: Value = super::json_body(body)?;
        let drift = Drift::default();
        let meta = Look::at(&body, &drift).part("meta").ok_or("it has no `meta`")?;
        let entity = meta.text("entity").or_else(|| meta.text("object")).unwrap_or_default();
        let object = match entity.as_str() {
            "deal" => Some(Object::Deals),
            "person" => Some(Object::Contacts),
            "organization" => Some(Object::Companies),
            "note" => Some(Object::Notes),
            "pipeline" => Some(Object::Pipelines),
            "user" => Some(Object::Owners),
            _ => None,
        };
        let id = meta.id("entity_id").or_else(|| meta.id("id"));
        let touched: Vec<_> = object.zip(id).map(|(object, id)| Touched { object, id }).into_iter().collect();
        Ok(Delivered { account_id: meta.id("company_id"), ignored: usize::from(touched.is_empty()), touched })
    }

    fn refusal(&self, answer: &Answer) -> CrmError {
        let resets = answer.headers.get("x-ratelimit-reset").and_then(|value| value.to_str().ok()?.parse().ok());
        match answer.status {
            StatusCode::TOO_MANY_REQUESTS if answer.retry_after().is_none() => {
                CrmError::busy(resets.map(Duration::from_secs))
            }
            _ => usual(answer),
        }
    }

    fn proof(&self, credentials: &Credentials) -> Option<(HeaderName, HeaderValue)> {
        match credentials {
            Credentials::Token { token } => secret_header(HeaderName::from_static("x-api-token"), "", token),
            _ => bearer(credentials),
        }
    }
}

/// What the provider calls a sort of record.
fn entity(object: Object) -> &'static str {
    match object {
        Object::Deals => "deals",
        Object::Contacts => "persons",
        Object::Companies => "organizations",
        Object::Owners => "users",
        Object::Pipelines => "pipelines",
        Object::Notes => "notes",
    }
}

fn is_gone(data: &Value) -> bool {
    data.get("is_deleted") == Some(&Value::Bool(true))
        || data.get("active_flag") == Some(&Value::Bool(false))
        || data.get("status").and_then(Value::as_str) == Some("deleted")
}

/// The cursor of the next page, wherever it stands: the vendor's pages do not say.
fn next_cursor(body: Look<'_>) -> Option<String> {
    let more = body.part("additional_data");
    let nested = more.and_then(|more| more.part("pagination")?.text("next_cursor"));
    more.and_then(|more| more.text("next_cursor")).or(nested).or_else(|| body.text("next_cursor"))
}

/// A list by the time of the last change. Its own cursor, which may run out, serves among records of one time alone: ours is `keyset|theirs`.
async fn list(api: &Api<'_>, object: Object, scan: &Scan<'_>) -> Result<Page, CrmError> {
    let (ours, theirs) = scan.cursor.map_or((None, ""), |cursor| match cursor.split_once('|') {
        Some((ours, theirs)) => (Some(ours), theirs),
        None => (Some(cursor), ""),
    });
    let mut keyset = Keyset::read(ours, scan.since);
    let ask = |keyset: Keyset, theirs: &str| {
        let mut path = format!("/api/v2/{}?limit={PAGE}&sort_by=update_time&sort_direction=asc", entity(object));
        if let Some(from) = keyset.from {
            let from = (from - BEFORE).to_rfc3339_opts(SecondsFormat::Secs, true);
            path.push_str(&format!("&updated_since={from}"));
        }
        if keyset.page > 1 {
            path.push_str(&format!("&cursor={}", super::path_segment(theirs)));
        }
        path
    };
    let answer = match api.get(ask(keyset, theirs)).await {
        Err(CrmError::Refused { status: 400, .. }) if keyset.page > 1 => {
            keyset.page = 1;
            api.get(ask(keyset, "")).await?
        }
        answer => answer?,
    };
    let body: Value = answer.json()?;
    let drift = Drift::default();
    let look = Look::at(&body, &drift);
    let mut page = super::empty_page(&answer);
    for record in look.list("data") {
        let Some(seen) = mapping::seen(object, record.value(), &drift) else { continue };
        if is_gone(record.value()) {
            page.gone.push((seen.external_id, Some(seen.updated_at)));
        } else {
            page.seen.push(seen);
        }
    }
    let theirs = next_cursor(look);
    let gone_times = page.gone.iter().filter_map(|(_, at)| *at);
    let times: Vec<_> = page.seen.iter().map(|record| record.updated_at).chain(gone_times).collect();
    page.next =
        keyset.next(&times, theirs.is_some()).map(|ours| format!("{ours}|{}", theirs.as_deref().unwrap_or_default()));
    page.covered = keyset.covered(&times, theirs.is_some());
    page.continued = keyset.is_continued();
    page.drift = drift.into_found();
    Ok(page)
}

/// Deals that were deleted in the last thirty days.
async fn deleted(api: &Api<'_>, cursor: Option<&str>) -> Result<Page, CrmError> {
    let from = cursor.map(|cursor| format!("&cursor={}", super::path_segment(cursor))).unwrap_or_default();
    let answer = api.get(format!("/api/v2/deals?status=deleted&limit={PAGE}{from}")).await?;
    let body: Value = answer.json()?;
    let drift = Drift::default();
    let look = Look::at(&body, &drift);
    let mut page = super::empty_page(&answer);
    page.gone = look.list("data").filter_map(|deal| Some((deal.id("id")?, deal.time("update_time")))).collect();
    page.next = next_cursor(look);
    page.drift = drift.into_found();
    Ok(page)
}

/// Notes in pages that are counted: version 1 has no others.
async fn notes(api: &Api<'_>, cursor: Option<&str>) -> Result<Page, CrmError> {
    let start = cursor.and_then(|cursor| cursor.parse::<u64>().ok()).unwrap_or(0);
    let answer = api.get(format!("/v1/notes?start={start}&limit={PAGE}&sort=id%20ASC")).await?;
    let body: Value = answer.json()?;
    let drift = Drift::default();
    let look = Look::at(&body, &drift);
    let mut page = super::empty_page(&answer);
    let there = look.list("data").filter(|note| !is_gone(note.value()));
    page.seen = there.filter_map(|note| mapping::seen(Object::Notes, note.value(), &drift)).collect();
    let paging = look.part("additional_data").and_then(|more| more.part("pagination"));
    page.next =
        paging.filter(|paging| paging.flag("more_items_in_collection")).and_then(|paging| paging.text("next_start"));
    page.drift = drift.into_found();
    Ok(page)
}

async fn users(api: &Api<'_>) -> Result<Page, CrmError> {
    let answer = api.get("/v1/users").await?;
    let body: Value = answer.json()?;
    let drift = Drift::default();
    let mut page = super::empty_page(&answer);
    let users = Look::at(&body, &drift).list("data");
    page.seen = users.filter_map(|user| mapping::seen(Object::Owners, user.value(), &drift)).collect();
    page.covered = Covered::Updated(None, None);
    page.drift = drift.into_found();
    Ok(page)
}

/// Pipelines with their stages, which have a list of their own.
async fn pipelines(api: &Api<'_>) -> Result<Page, CrmError> {
    let (answer, pipelines) = all(api, "pipelines").await?;
    let (_, stages) = all(api, "stages").await?;
    let mut page = super::empty_page(&answer);
    let drift = Drift::default();
    for mut pipeline in pipelines {
        let of_it = |stage: &&Value| stage.get("pipeline_id") == pipeline.get("id");
        let own: Vec<Value> = stages.iter().filter(of_it).cloned().collect();
        if let Some(fields) = pipeline.as_object_mut() {
            fields.insert("stages".to_owned(), json!(own));
        }
        if !is_gone(&pipeline) {
            page.seen.extend(mapping::seen(Object::Pipelines, &pipeline, &drift));
        }
    }
    page.covered = Covered::Updated(None, None);
    page.drift = drift.into_found();
    Ok(page)
}

/// A small list, whole.
async fn all(api: &Api<'_>, name: &str) -> Result<(Answer, Vec<Value>), CrmError> {
    let mut rows = Vec::new();
    let mut cursor: Option<String> = None;
    for _ in 0..MOST_PAGES {
        let from =
            cursor.as_deref().map(|cursor| format!("&cursor={}", super::path_segment(cursor))).unwrap_or_default();
        let answer = api.get(format!("/api/v2/{name}?limit={PAGE}{from}")).await?;
        let body: Value = answer.json()?;
        let drift = Drift::default();
        let look = Look::at(&body, &drift);
        rows.extend(look.list("data").map(|row| row.value().clone()));
        cursor = next_cursor(look);
        if cursor.is_none() {
            return Ok((answer, rows));
        }
    }
    Err(CrmError::broken(format!("the list of {name} does not end")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_both_versions_tell_which_record_to_read() {
        let read = |body: Value| Pipedrive.delivered(body.to_string().as_bytes()).unwrap();
        let two =
            read(json!({ "meta": { "action": "change", "entity": "person", "entity_id": "17", "company_id": "9" } }));
        assert_eq!(two.touched, [Touched { object: Object::Contacts, id: "17".to_owned() }]);
        assert_eq!(two.account_id.as_deref(), Some("9"));
        let one = read(json!({ "meta": { "action": "deleted", "object": "deal", "id": 5, "company_id": 9 } }));
        assert_eq!(one.touched, [Touched { object: Object::Deals, id: "5".to_owned() }]);
        let other = read(json!({ "meta": { "entity": "activity", "entity_id": "1" } }));
        assert_eq!((other.ignored, other.touched.len()), (1, 0));
        assert!(Pipedrive.delivered(b"[]").is_err());
    }

    #[test]
    fn the_next_cursor_is_found_wherever_it_stands() {
        let drift = Drift::default();
        for body in [
            json!({ "additional_data": { "next_cursor": "c" } }),
            json!({ "additional_data": { "pagination": { "next_cursor": "c" } } }),
            json!({ "next_cursor": "c" }),
        ] {
            assert_eq!(next_cursor(Look::at(&body, &drift)).as_deref(), Some("c"));
        }
        assert_eq!(next_cursor(Look::at(&json!({ "additional_data": { "next_cursor": null } }), &drift)), None);
    }
}
