//! Salesforce: SOQL for everything, in the order of the last change and, within one time, of ids; `queryAll` tells of what was deleted.
//!
//! Answers that come in parts are not followed by their links, which run out: the next query goes on behind the last row. Facts:
//! <https://developer.salesforce.com/docs/platform/api-rest/guide/resources-query.md>, <https://developer.salesforce.com/docs/platform/api-rest/guide/resources-queryall.md>.

mod mapping;
mod outbound;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use millrace_shared::crm::{Object, Provider};
use millrace_shared::db::crm::records::Seen;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::StatusCode;
use serde_json::Value;

use super::error::usual;
use super::own_fields::OwnFields;
use super::record::{Drift, Look};
use super::{Account, Answer, Api, Call, Covered, Crm, CrmError, Delivered, Page, Pass, Scan};

const VERSION: &str = "v62.0";
/// The most that a query gives at once.
const PAGE: usize = 2_000;
/// The allowance is counted over a day that slides.
const USED_UP: Duration = Duration::from_secs(900);

#[derive(Default)]
pub(super) struct Salesforce {
    fields: OwnFields,
}

#[async_trait]
impl Crm for Salesforce {
    fn provider(&self) -> Provider {
        Provider::Salesforce
    }

    fn passes(&self, _object: Object, _whole: bool) -> &'static [Pass] {
        &[Pass::Live]
    }

    async fn page(&self, api: &Api<'_>, scan: &Scan<'_>) -> Result<Page, CrmError> {
        if scan.object == Object::Pipelines {
            return stages(api).await;
        }
        let after = After::read(scan.cursor, scan.since);
        let condition = after.condition(scan.object).map(|condition| format!(" WHERE {condition}")).unwrap_or_default();
        let select = self.select(api, scan.object).await?;
        let order = mapping::changed_field(scan.object);
        let query = format!("{select}{condition} ORDER BY {order}, Id LIMIT {PAGE}");
        let answer = ask(api, "queryAll", &query).await?;
        let body: Value = answer.json()?;
        let drift = Drift::default();
        let look = Look::at(&body, &drift);
        let mut page = super::empty_page(&answer);
        let mut last = None;
        let mut rows = 0;
        for row in look.list("records") {
            rows += 1;
            let Some(seen) = mapping::seen(scan.object, row.value(), &drift) else { continue };
            last = Some((seen.updated_at, seen.external_id.clone()));
            if row.flag("IsDeleted") {
                page.gone.push((seen.external_id, Some(seen.updated_at)));
            } else {
                page.seen.push(seen);
            }
        }
        let more = rows > 0 && (rows == PAGE || !look.flag("done"));
        page.covered = after.covered(last.as_ref().map(|(time, _)| *time).filter(|_| more), more);
        page.next = last.filter(|_| more).map(|(time, id)| format!("{}/{id}", time.to_rfc3339()));
        page.drift = drift.into_found();
        Ok(page)
    }

    async fn record(&self, api: &Api<'_>, object: Object, id: &str) -> Result<Option<Seen>, CrmError> {
        if object == Object::Pipelines {
            let all = stages(api).await?.seen;
            return Ok(all.into_iter().find(|pipeline| pipeline.external_id == id));
        }
        if !is_id(id) {
            return Ok(None);
        }
        // The same question as in a scan, so that the document has the same shape.
        let select = self.select(api, object).await?;
        let answer = ask(api, "query", &format!("{select} WHERE Id = '{id}' LIMIT 1")).await?;
        let body: Value = answer.json()?;
        let drift = Drift::default();
        Ok(Look::at(&body, &drift).list("records").find_map(|row| mapping::seen(object, row.value(), &drift)))
    }

    async fn write(
        &self,
        api: &Api<'_>,
        object: Object,
        id: &str,
        fields: &BTreeMap<String, Value>,
    ) -> Result<(), CrmError> {
        let path =
            format!("/services/data/{VERSION}/sobjects/{}/{}", mapping::sobject(object), super::path_segment(id));
        api.call(&Call::patch(path, mapping::change(object, fields))).await.map(drop)
    }

    async fn account(&self, api: &Api<'_>) -> Result<Account, CrmError> {
        let body: Value = api.get("/services/oauth2/userinfo").await?.json()?;
        let drift = Drift::default();
        let look = Look::at(&body, &drift);
        let id = look.id("organization_id").ok_or_else(|| CrmError::broken("the user has no `organization_id`"))?;
        Ok(Account { id, name: look.text("organization_name") })
    }

    fn delivered(&self, body: &[u8]) -> Result<Delivered, String> {
        outbound::read(body)
    }

    fn refusal(&self, answer: &Answer) -> CrmError {
        match (answer.status, answer.error_code().as_str()) {
            (StatusCode::FORBIDDEN, "REQUEST_LIMIT_EXCEEDED") => CrmError::busy(answer.retry_after().or(Some(USED_UP))),
            _ => usual(answer),
        }
    }
}

impl Salesforce {
    /// The question for all fields of a sort of record. The organization's own are told by what describes it
    /// (<https://developer.salesforce.com/docs/platform/api-rest/guide/resources-sobject-describe.md>).
    async fn select(&self, api: &Api<'_>, object: Object) -> Result<String, CrmError> {
        let (standard, of) = (mapping::standard(object), mapping::sobject(object));
        let own = |answer: &Answer| {
            let (body, drift): (Value, _) = (answer.json()?, Drift::default());
            let own = Look::at(&body, &drift).list("fields").filter(|field| field.flag("custom"));
            Ok(own.filter_map(|field| field.text("name")).collect())
        };
        let path = format!("/services/data/{VERSION}/sobjects/{of}/describe");
        let fields = self.fields.of((api, object), standard, path, own).await?;
        Ok(format!("SELECT {fields} FROM {of}"))
    }
}

async fn ask(api: &Api<'_>, resource: &str, query: &str) -> Result<Answer, CrmError> {
    let query = utf8_percent_encode(query, NON_ALPHANUMERIC);
    api.get(format!("/services/data/{VERSION}/{resource}?q={query}")).await
}

/// The one pipeline that there is, with its stages.
async fn stages(api: &Api<'_>) -> Result<Page, CrmError> {
    let (fields, of) = (mapping::standard(Object::Pipelines), mapping::sobject(Object::Pipelines));
    let query = format!("SELECT {fields} FROM {of} ORDER BY SortOrder LIMIT {PAGE}");
    let answer = ask(api, "query", &query).await?;
    let body: Value = answer.json()?;
    let drift = Drift::default();
    let stages: Vec<Value> = Look::at(&body, &drift).list("records").map(|row| row.value().clone()).collect();
    let mut page = super::empty_page(&answer);
    page.seen = vec![mapping::pipeline(&stages, &drift)];
    page.covered = Covered::Updated(None, None);
    page.drift = drift.into_found();
    Ok(page)
}

/// Ids are 15 or 18 letters and digits.
fn is_id(id: &str) -> bool {
    matches!(id.len(), 15 | 18) && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Behind which row a scan goes on.
#[derive(Debug, PartialEq, Eq)]
struct After {
    time: Option<DateTime<Utc>>,
    id: Option<String>,
}

impl After {
    fn read(cursor: Option<&str>, since: Option<DateTime<Utc>>) -> Self {
        let read = cursor.and_then(|cursor| {
            let (time, id) = cursor.split_once('/')?;
            let time = DateTime::parse_from_rfc3339(time).ok()?.to_utc();
            is_id(id).then(|| Self { time: Some(time), id: Some(id.to_owned()) })
        });
        read.unwrap_or(Self { time: since, id: None })
    }

    fn condition(&self, object: Object) -> Option<String> {
        let field = mapping::changed_field(object);
        let time = self.time?.to_rfc3339_opts(SecondsFormat::Millis, true);
        Some(match &self.id {
            None => format!("{field} >= {time}"),
            Some(id) => format!("({field} > {time} OR ({field} = {time} AND Id > '{id}'))"),
        })
    }

    /// Rows of the time that it goes on behind were in part on the page before.
    fn covered(&self, last: Option<DateTime<Utc>>, more: bool) -> Covered {
        let from = match &self.id {
            None => self.time,
            Some(_) => self.time.map(|time| time + TimeDelta::milliseconds(1)),
        };
        if more && last.is_none() { Covered::Nothing } else { Covered::Updated(from, last) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_goes_on_behind_its_last_row() {
        let since: DateTime<Utc> = "2026-01-31T08:00:00Z".parse().unwrap();
        let begin = After::read(None, Some(since));
        assert_eq!(begin.condition(Object::Contacts).unwrap(), "SystemModstamp >= 2026-01-31T08:00:00.000Z");
        let cursor = format!("{}/003000000000001AAA", since.to_rfc3339());
        let next = After::read(Some(&cursor), None);
        assert_eq!(
            next.condition(Object::Contacts).unwrap(),
            "(SystemModstamp > 2026-01-31T08:00:00.000Z OR (SystemModstamp = 2026-01-31T08:00:00.000Z AND Id > '003000000000001AAA'))"
        );
        assert_eq!(After::read(None, None).condition(Object::Deals), None);
    }

    #[test]
    fn an_id_that_is_none_never_gets_into_a_query() {
        let cursor = "2026-01-31T08:00:00Z/' OR Name != '";
        assert_eq!(After::read(Some(cursor), None), After { time: None, id: None });
        assert!(!is_id("003000000000001AA'"));
    }
}
