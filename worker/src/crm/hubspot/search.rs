//! What has changed since, by searching.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use millrace_shared::crm::{CallClass, Object};
use serde_json::{Value, json};

use super::super::keyset::Keyset;
use super::super::record::{Drift, Look};
use super::super::{Api, Call, Covered, CrmError, Page};
use super::{PAGE, mapping};

/// No search gives more records, on all of its pages.
const MOST: usize = 10_000;

/// Where a search is.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// By time.
    Time(Keyset),
    /// Among more records of one time than a search gives: by id, after this one.
    Ids(DateTime<Utc>, String),
}

impl Place {
    fn read(cursor: Option<&str>, since: DateTime<Utc>) -> Self {
        let ids = cursor.and_then(|cursor| cursor.strip_prefix("ids/")?.split_once('/'));
        if let Some((time, id)) = ids
            && let Ok(time) = DateTime::parse_from_rfc3339(time)
        {
            return Self::Ids(time.to_utc(), id.to_owned());
        }
        Self::Time(Keyset::read(cursor, Some(since)))
    }

    fn filters(&self, property: &str) -> Value {
        let millis = |time: &DateTime<Utc>| time.timestamp_millis().to_string();
        match self {
            Self::Time(keyset) => {
                let from = keyset.from.as_ref().map_or_else(|| "0".to_owned(), millis);
                json!([{ "propertyName": property, "operator": "GTE", "value": from }])
            }
            Self::Ids(time, id) => json!([
                { "propertyName": property, "operator": "EQ", "value": millis(time) },
                { "propertyName": "hs_object_id", "operator": "GT", "value": id },
            ]),
        }
    }

    fn sorted_by<'p>(&self, property: &'p str) -> &'p str {
        match self {
            Self::Time(_) => property,
            Self::Ids(..) => "hs_object_id",
        }
    }

    fn offset(&self) -> usize {
        match self {
            Self::Time(keyset) => (keyset.page as usize - 1) * PAGE,
            Self::Ids(..) => 0,
        }
    }

    /// Where it goes on after records that changed at these times, the last one of this id.
    fn next(&self, times: &[DateTime<Utc>], last_id: Option<&str>, more: bool) -> Option<String> {
        match self {
            Self::Time(keyset) => {
                let next = keyset.next(times, more)?;
                let Self::Time(to) = Self::read(Some(&next), DateTime::UNIX_EPOCH) else { return Some(next) };
                // The last page that a search gives is of one time: those of that time are gone through by id.
                match to.from.filter(|_| (to.page as usize) * PAGE > MOST) {
                    Some(time) => Some(format!("ids/{}/0", time.to_rfc3339())),
                    None => Some(next),
                }
            }
            Self::Ids(time, _) if more => Some(format!("ids/{}/{}", time.to_rfc3339(), last_id?)),
            // All of that time are through.
            Self::Ids(time, _) => Some(format!("{}/1", (*time + TimeDelta::milliseconds(1)).to_rfc3339())),
        }
    }
}

pub(super) async fn page(
    api: &Api<'_>,
    object: Object,
    properties: &str,
    (since, cursor): (DateTime<Utc>, Option<&str>),
) -> Result<Page, CrmError> {
    let place = Place::read(cursor, since);
    let property = mapping::changed_property(object);
    let mut asked = json!({
        "filterGroups": [{ "filters": place.filters(property) }],
        "sorts": [{ "propertyName": place.sorted_by(property), "direction": "ASCENDING" }],
        "properties": properties.split(',').collect::<Vec<_>>(),
        "limit": PAGE,
    });
    if place.offset() > 0 {
        asked["after"] = json!(place.offset().to_string());
    }
    let call = Call::post(format!("/crm/v3/objects/{object}/search"), asked).of_class(CallClass::Search);
    let answer = api.call(&call).await?;
    let body: Value = answer.json()?;
    let drift = Drift::default();
    let look = Look::at(&body, &drift);
    let mut page = super::super::empty_page(&answer);
    let mut documents: Vec<Value> = look.list("results").map(|record| record.value().clone()).collect();
    associate(api, object, &mut documents).await?;
    page.seen = documents.iter().filter_map(|document| mapping::seen(object, document, &drift)).collect();
    let more = look.part("paging").and_then(|paging| paging.part("next")).is_some();
    let times: Vec<DateTime<Utc>> = page.seen.iter().map(|record| record.updated_at).collect();
    page.next = place.next(&times, page.seen.last().map(|record| record.external_id.as_str()), more);
    page.covered = Covered::Nothing;
    page.drift = drift.into_found();
    Ok(page)
}

/// Adds to documents what searches do not tell: what they belong to
/// (<https://developers.hubspot.com/docs/api-reference/crm-associations-v4/guide>).
async fn associate(api: &Api<'_>, object: Object, documents: &mut [Value]) -> Result<(), CrmError> {
    let ids: Vec<Value> = documents.iter().filter_map(|document| Some(json!({ "id": document.get("id")? }))).collect();
    if ids.is_empty() {
        return Ok(());
    }
    for kind in mapping::associated(object) {
        let path = format!("/crm/v4/associations/{object}/{kind}/batch/read");
        let body: Value = api.call(&Call::post(path, json!({ "inputs": ids }))).await?.json()?;
        let drift = Drift::default();
        let mut found: HashMap<String, Vec<Value>> = HashMap::new();
        for row in Look::at(&body, &drift).list("results") {
            let Some(from) = row.part("from").and_then(|from| from.id("id")) else { continue };
            let others = row.list("to").filter_map(|to| to.id("toObjectId").or_else(|| to.id("id")));
            found.entry(from).or_default().extend(others.map(|id| json!({ "id": id })));
        }
        for document in documents.iter_mut() {
            let id = document.get("id").map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
            let others = id.and_then(|id| found.remove(&id)).unwrap_or_default();
            if let Some(fields) = document.as_object_mut() {
                let all = fields.entry("associations").or_insert_with(|| json!({}));
                all[*kind] = json!({ "results": others });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_700_000_000_000 + ms).unwrap()
    }

    #[test]
    fn a_search_of_one_time_goes_on_by_id_where_it_gives_no_more() {
        let mut cursor: Option<String> = None;
        let full = [at(5); PAGE];
        for page in 2..=MOST / PAGE {
            cursor = Place::read(cursor.as_deref(), at(5)).next(&full, Some("9"), true);
            assert_eq!(Place::read(cursor.as_deref(), at(0)).offset(), (page - 1) * PAGE);
        }
        cursor = Place::read(cursor.as_deref(), at(5)).next(&full, Some("9"), true);
        let by_id = Place::read(cursor.as_deref(), at(0));
        assert_eq!(by_id, Place::Ids(at(5), "0".to_owned()), "from the first id on");
        let further = by_id.next(&full, Some("77"), true);
        let further = Place::read(further.as_deref(), at(0));
        assert_eq!(further, Place::Ids(at(5), "77".to_owned()));
        let after = further.next(&full[..3], Some("99"), false);
        assert_eq!(Place::read(after.as_deref(), at(0)), Place::Time(Keyset { from: Some(at(6)), page: 1 }));
    }

    #[test]
    fn a_search_ends_with_its_last_page() {
        assert_eq!(Place::read(None, at(0)).next(&[at(1), at(2)], Some("1"), false), None);
    }
}
