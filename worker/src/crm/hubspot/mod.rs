//! `HubSpot`: lists by id for everything, searches by time for what has changed.
//!
//! A search tells of no associations, gives at most 10,000 records whatever is asked, and is counted for itself. So it goes on from the last time it met
//! and, where more records than that share one time, by id. Facts: <https://developers.hubspot.com/docs/reference/api/crm/objects/contacts> and
//! <https://developers.hubspot.com/docs/reference/api/crm/search>.

mod mapping;
mod search;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use millrace_shared::crm::{Object, Provider};
use millrace_shared::db::crm::records::Seen;
use serde_json::{Value, json};

use super::error::usual;
use super::own_fields::OwnFields;
use super::record::{Drift, Look};
use super::{Account, Answer, Api, Call, Covered, Crm, CrmError, Delivered, Page, Pass, Scan, Touched};

/// The most that a list or a batch gives.
const PAGE: usize = 100;
/// Lists of owners that go on for longer are not one account's.
const MOST_OWNER_PAGES: usize = 100;

#[derive(Default)]
pub(super) struct Hubspot {
    properties: OwnFields,
}

#[async_trait]
impl Crm for Hubspot {
    fn provider(&self) -> Provider {
        Provider::Hubspot
    }

    fn passes(&self, object: Object, _whole: bool) -> &'static [Pass] {
        match object {
            Object::Owners | Object::Pipelines => &[Pass::Live],
            _ => &[Pass::Live, Pass::Deleted],
        }
    }

    async fn page(&self, api: &Api<'_>, scan: &Scan<'_>) -> Result<Page, CrmError> {
        match (scan.object, scan.pass, scan.since) {
            (Object::Owners, ..) => owners(api).await,
            (Object::Pipelines, ..) => pipelines(api).await,
            (object, Pass::Live, Some(since)) => {
                let properties = self.properties(api, object).await?;
                search::page(api, object, &properties, (since, scan.cursor)).await
            }
            (object, pass, _) => self.list(api, object, pass, scan.cursor).await,
        }
    }

    async fn record(&self, api: &Api<'_>, object: Object, id: &str) -> Result<Option<Seen>, CrmError> {
        let drift = Drift::default();
        let properties = self.properties(api, object).await?;
        let id = super::path_segment(id);
        let path = match object {
            Object::Owners => format!("/crm/v3/owners/{id}"),
            Object::Pipelines => format!("/crm/v3/pipelines/deals/{id}"),
            _ => {
                let asked = mapping::associated(object).join(",");
                format!("/crm/v3/objects/{object}/{id}?properties={properties}&associations={asked}")
            }
        };
        match api.get(path).await {
            Ok(answer) => Ok(mapping::seen(object, &answer.json()?, &drift)),
            Err(CrmError::Missing) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn write(
        &self,
        api: &Api<'_>,
        object: Object,
        id: &str,
        fields: &BTreeMap<String, Value>,
    ) -> Result<(), CrmError> {
        let id = super::path_segment(id);
        let properties = mapping::properties(object, fields);
        let call = Call::patch(format!("/crm/v3/objects/{object}/{id}"), json!({ "properties": properties }));
        api.call(&call).await.map(drop)
    }

    async fn account(&self, api: &Api<'_>) -> Result<Account, CrmError> {
        let details: Value = api.get("/account-info/v3/details").await?.json()?;
        let drift = Drift::default();
        let look = Look::at(&details, &drift);
        let id = look.id("portalId").ok_or_else(|| CrmError::broken("the account has no `portalId`"))?;
        Ok(Account { id, name: look.text("uiDomain") })
    }

    /// <https://developers.hubspot.com/docs/api-reference/webhooks-webhooks-v3/guide>: a list of events, of which any may come twice, late, or before
    /// one that it follows from. So they only tell which records to read.
    fn delivered(&self, body: &[u8]) -> Result<Delivered, String> {
        let body: Value = super::json_body(body)?;
        let events = body.as_array().ok_or("it is no list of events")?;
        let mut delivered = Delivered::default();
        for event in events {
            let drift = Drift::default();
            let look = Look::at(event, &drift);
            let portal = look.id("portalId");
            if delivered.account_id.is_some() && portal != delivered.account_id {
                return Err("its events are of several accounts".to_owned());
            }
            delivered.account_id = portal;
            let kind = look.text("subscriptionType").or_else(|| look.text("eventType")).unwrap_or_default();
            let touched = touched(&kind, look);
            delivered.ignored += usize::from(touched.is_empty());
            delivered.touched.extend(touched);
        }
        Ok(delivered)
    }

    fn refusal(&self, answer: &Answer) -> CrmError {
        if answer.status.as_u16() == 429 && answer.retry_after().is_none() {
            let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let seconds = match body.get("policyName").and_then(Value::as_str) {
                Some("SECONDLY") => 1,
                // It ends at midnight of a zone that is the account's own.
                Some("DAILY") => 3_600,
                _ => 10,
            };
            return CrmError::busy(Some(std::time::Duration::from_secs(seconds)));
        }
        usual(answer)
    }
}

/// The records that an event is about.
fn touched(kind: &str, look: Look<'_>) -> Vec<Touched> {
    let of = |name: &str| match name {
        "contact" | "0-1" | "CONTACT" => Some(Object::Contacts),
        "company" | "0-2" | "COMPANY" => Some(Object::Companies),
        "deal" | "0-3" | "DEAL" => Some(Object::Deals),
        "0-46" | "NOTE" => Some(Object::Notes),
        _ => None,
    };
    let (sort, what) = kind.split_once('.').unwrap_or((kind, ""));
    if what == "associationChange" {
        let type_of = |field: &str| look.text(field);
        let ends = [("fromObjectTypeId", "fromObjectId"), ("toObjectTypeId", "toObjectId")];
        // `CONTACT_TO_COMPANY` where the sorts have no fields of their own.
        let named = look.text("associationType").unwrap_or_default();
        let names: Vec<String> = named.split("_TO_").map(str::to_owned).collect();
        return ends
            .iter()
            .enumerate()
            .filter_map(|(at, (sort, id))| {
                let sort = type_of(sort).or_else(|| names.get(at).cloned())?;
                Some(Touched { object: of(&sort)?, id: look.id(id)? })
            })
            .collect();
    }
    let sort = if sort == "object" { look.text("objectTypeId").unwrap_or_default() } else { sort.to_owned() };
    let ids = [look.id("objectId"), look.id("primaryObjectId"), look.id("newObjectId")];
    let object = of(&sort);
    ids.into_iter().flatten().filter_map(|id| Some(Touched { object: object?, id })).collect()
}

impl Hubspot {
    async fn list(&self, api: &Api<'_>, object: Object, pass: Pass, cursor: Option<&str>) -> Result<Page, CrmError> {
        let archived = pass == Pass::Deleted;
        let mut path = format!("/crm/v3/objects/{object}?limit={PAGE}&archived={archived}");
        if !archived {
            let properties = self.properties(api, object).await?;
            path.push_str(&format!("&properties={properties}"));
            let associated = mapping::associated(object);
            if !associated.is_empty() {
                path.push_str(&format!("&associations={}", associated.join(",")));
            }
        }
        if let Some(after) = cursor {
            path.push_str(&format!("&after={}", super::path_segment(after)));
        }
        let answer = api.get(path).await?;
        let body: Value = answer.json()?;
        let drift = Drift::default();
        let look = Look::at(&body, &drift);
        let mut page = super::empty_page(&answer);
        for record in look.list("results") {
            if archived {
                page.gone.extend(record.id("id").map(|id| (id, record.time("archivedAt"))));
            } else {
                page.seen.extend(mapping::seen(object, record.value(), &drift));
            }
        }
        page.next = look.part("paging").and_then(|paging| paging.part("next")?.text("after"));
        page.drift = drift.into_found();
        Ok(page)
    }
}

impl Hubspot {
    /// The properties that are asked for, with commas between. The account's own are told apart by `hubspotDefined`
    /// (<https://developers.hubspot.com/docs/reference/api/crm/properties>).
    async fn properties(&self, api: &Api<'_>, object: Object) -> Result<Arc<str>, CrmError> {
        let standard = mapping::standard(object);
        if standard.is_empty() {
            return Ok(standard.into());
        }
        let own = |answer: &Answer| {
            let (body, drift): (Value, _) = (answer.json()?, Drift::default());
            let is_own = |property: &Look<'_>| property.value().get("hubspotDefined") == Some(&Value::Bool(false));
            let own = Look::at(&body, &drift).list("results").filter(is_own);
            Ok(own.filter_map(|property| property.text("name")).collect())
        };
        self.properties.of((api, object), standard, format!("/crm/v3/properties/{object}"), own).await
    }
}

async fn owners(api: &Api<'_>) -> Result<Page, CrmError> {
    let drift = Drift::default();
    let mut after: Option<String> = None;
    let mut whole: Option<Page> = None;
    for _ in 0..MOST_OWNER_PAGES {
        let from = after.as_deref().map(|after| format!("&after={}", super::path_segment(after))).unwrap_or_default();
        let answer = api.get(format!("/crm/v3/owners?limit={PAGE}{from}")).await?;
        let body: Value = answer.json()?;
        let look = Look::at(&body, &drift);
        let page = whole.get_or_insert_with(|| super::empty_page(&answer));
        page.seen.extend(look.list("results").filter_map(|owner| mapping::seen(Object::Owners, owner.value(), &drift)));
        after = look.part("paging").and_then(|paging| paging.part("next")?.text("after"));
        if after.is_none() {
            break;
        }
    }
    let page = whole.ok_or_else(|| CrmError::broken("there is no list of owners"))?;
    Ok(Page { drift: drift.into_found(), covered: Covered::Updated(None, None), ..page })
}

async fn pipelines(api: &Api<'_>) -> Result<Page, CrmError> {
    let answer = api.call(&Call::get("/crm/v3/pipelines/deals")).await?;
    let body: Value = answer.json()?;
    let drift = Drift::default();
    let look = Look::at(&body, &drift);
    let mut page = super::empty_page(&answer);
    page.seen = look.list("results").filter_map(|row| mapping::seen(Object::Pipelines, row.value(), &drift)).collect();
    page.covered = Covered::Updated(None, None);
    page.drift = drift.into_found();
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(body: &Value) -> Result<Delivered, String> {
        Hubspot::default().delivered(body.to_string().as_bytes())
    }

    #[test]
    fn events_tell_which_records_to_read() {
        let touched = |object, id: &str| Touched { object, id: id.to_owned() };
        let body = json!([
            { "portalId": 62515, "subscriptionType": "contact.creation", "objectId": 1 },
            { "portalId": 62515, "subscriptionType": "contact.privacyDeletion", "objectId": 1 },
            { "portalId": 62515, "eventType": "object.propertyChange", "objectTypeId": "0-3", "objectId": 2 },
            { "portalId": 62515, "subscriptionType": "contact.associationChange", "associationType": "CONTACT_TO_COMPANY",
              "fromObjectId": 3, "toObjectId": 4 },
            { "portalId": 62515, "subscriptionType": "contact.merge", "objectId": 5, "primaryObjectId": 5, "newObjectId": 6 },
            { "portalId": 62515, "subscriptionType": "conversation.creation", "objectId": 7 },
        ]);
        let found = delivered(&body).unwrap();
        assert_eq!(found.account_id.as_deref(), Some("62515"));
        assert_eq!(found.ignored, 1);
        let expected = [
            touched(Object::Contacts, "1"),
            touched(Object::Contacts, "1"),
            touched(Object::Deals, "2"),
            touched(Object::Contacts, "3"),
            touched(Object::Companies, "4"),
            touched(Object::Contacts, "5"),
            touched(Object::Contacts, "5"),
            touched(Object::Contacts, "6"),
        ];
        assert_eq!(found.touched, expected);
    }

    #[test]
    fn a_delivery_that_is_none_is_refused() {
        assert!(delivered(&json!({ "a": 1 })).is_err());
        let two = json!([{ "portalId": 1, "objectId": 1 }, { "portalId": 2, "objectId": 1 }]);
        assert_eq!(delivered(&two).unwrap_err(), "its events are of several accounts");
        assert!(Hubspot::default().delivered(b"[{").is_err());
    }
}
