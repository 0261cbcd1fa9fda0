//! `HubSpot`'s events: one for a creation, deletion or restoration, and one for each property that changed.

use serde_json::{Value, json};

use super::{Event, Telling};
use crate::hubspot::property;
use crate::provider::Object;
use crate::rows::{Change, ChangeKind};

const SUBSCRIBED: [&str; 13] = [
    "firstname",
    "lastname",
    "email",
    "phone",
    "jobtitle",
    "company",
    "name",
    "domain",
    "dealname",
    "amount",
    "pipeline",
    "dealstage",
    "hubspot_owner_id",
];

pub(super) fn events(telling: &Telling<'_>, change: &Change) -> Vec<Event> {
    let object = match change.object {
        Object::Contacts => "contact",
        Object::Companies => "company",
        Object::Deals => "deal",
        // There are no subscriptions for the others in the vendor's older applications.
        _ => return Vec::new(),
    };
    let event = |kind: &str, property: Option<(&str, String)>, place: u64| {
        let mut event = json!({
            // Not unique, as the vendor warns.
            "eventId": (telling.number + place) % 1000,
            "subscriptionId": 1_160_452,
            "portalId": telling.store.account_id,
            "appId": 54_321,
            "occurredAt": telling.now_ms,
            "subscriptionType": format!("{object}.{kind}"),
            "attemptNumber": 0,
            "objectId": change.after.id,
            "changeSource": "CRM",
        });
        match property {
            Some((name, value)) => {
                event["propertyName"] = name.into();
                event["propertyValue"] = value.into();
            }
            None => event["changeFlag"] = Value::from(if kind == "deletion" { "DELETED" } else { "NEW" }),
        }
        Event::Listed(event)
    };
    match change.kind {
        ChangeKind::Created => vec![event("creation", None, 0)],
        ChangeKind::Deleted => vec![event("deletion", None, 0)],
        ChangeKind::Restored => vec![event("restore", None, 0)],
        ChangeKind::Updated => {
            let value = |row, name| property(telling.store, change.object, row, name);
            let changed = SUBSCRIBED.iter().enumerate().filter_map(|(place, name)| {
                let (before, after) =
                    (change.before.as_ref().and_then(|row| value(row, name)), value(&change.after, name));
                (before != after)
                    .then(|| event("propertyChange", Some((name, after.unwrap_or_default())), place as u64))
            });
            changed.collect()
        }
    }
}
