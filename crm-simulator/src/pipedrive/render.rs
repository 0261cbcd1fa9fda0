//! Records as Pipedrive gives them: notes by version 1, the others by version 2.

use serde_json::{Value, json};

use crate::provider::Object;
use crate::rows::{Row, Store, text_or_null};
use crate::time::{iso_seconds, plain};

/// A record of any kind.
pub(crate) fn shown(store: &Store, object: Object, row: &Row) -> Value {
    let linked = |to: Object| store.linked(object, row, to).first().copied();
    match object {
        Object::Notes => note(row, &linked),
        Object::Deals => deal(store, row, &linked),
        Object::Contacts => {
            let mut person = common(store, object, row);
            person["name"] = row.shown_name().into();
            person["first_name"] = text_or_null(&row.first_name);
            person["last_name"] = text_or_null(&row.last_name);
            person["emails"] = labelled(&row.emails, ["work", "home", "other"]);
            person["phones"] = labelled(&row.phones, ["work", "mobile", "other"]);
            person["org_id"] = linked(Object::Companies).into();
            person["picture_id"] = Value::Null;
            person
        }
        _ => {
            let mut organization = common(store, object, row);
            organization["name"] = row.name.as_str().into();
            organization["address"] = Value::Null;
            organization
        }
    }
}

fn common(store: &Store, object: Object, row: &Row) -> Value {
    // Every custom field is there, with null where it has no value.
    let fields = store.custom_fields.iter().filter(|field| field.object == object);
    let custom: serde_json::Map<String, Value> =
        fields.map(|field| (field.key.clone(), row.custom.get(&field.key).cloned().unwrap_or_default())).collect();
    let mut shown = json!({
        "id": row.id,
        "owner_id": row.owner,
        "add_time": iso_seconds(row.created_at_ms),
        "update_time": iso_seconds(row.updated_at_ms),
        "is_deleted": !row.is_live(),
        "visible_to": 3,
        "label_ids": [],
    });
    shown["custom_fields"] = custom.into();
    shown
}

fn labelled(all: &[String], labels: [&str; 3]) -> Value {
    let places = all.iter().enumerate();
    places.map(|(place, value)| json!({"value": value, "primary": place == 0, "label": labels[place.min(2)]})).collect()
}

fn deal(store: &Store, row: &Row, linked: &dyn Fn(Object) -> Option<u64>) -> Value {
    let mut deal = common(store, Object::Deals, row);
    let at = |status: &str| if row.status == status { iso_seconds(row.updated_at_ms).into() } else { Value::Null };
    deal["title"] = row.name.as_str().into();
    deal["creator_user_id"] = row.owner.into();
    deal["person_id"] = linked(Object::Contacts).into();
    deal["org_id"] = linked(Object::Companies).into();
    deal["stage_id"] = row.stage.parse::<u64>().ok().into();
    deal["pipeline_id"] = row.pipeline.parse::<u64>().ok().into();
    deal["value"] = row.amount_number();
    deal["currency"] = text_or_null(&row.currency);
    deal["status"] = if row.is_live() { status(row).into() } else { "deleted".into() };
    deal["won_time"] = at("won");
    deal["lost_time"] = at("lost");
    deal["close_time"] = if status(row) == "open" { Value::Null } else { iso_seconds(row.updated_at_ms).into() };
    deal["probability"] = Value::Null;
    deal["lost_reason"] = Value::Null;
    deal["expected_close_date"] = Value::Null;
    deal["is_archived"] = false.into();
    deal
}

/// The status of a deal; open unless it is told.
pub(super) fn status(row: &Row) -> &str {
    if row.status.is_empty() { "open" } else { &row.status }
}

fn note(row: &Row, linked: &dyn Fn(Object) -> Option<u64>) -> Value {
    json!({
        "id": row.id,
        "user_id": row.owner,
        "deal_id": linked(Object::Deals),
        "person_id": linked(Object::Contacts),
        "org_id": linked(Object::Companies),
        "lead_id": null,
        "content": row.text,
        "add_time": plain(row.created_at_ms),
        "update_time": plain(row.updated_at_ms),
        "active_flag": row.is_live(),
        "pinned_to_deal_flag": false,
        "pinned_to_person_flag": false,
        "pinned_to_organization_flag": false,
        "last_update_user_id": null,
    })
}
