//! What a copy of the account must hold: the form that is the same for all vendors, with the ids that the client sees.

use serde_json::{Value, json};

use super::{Row, Store, text_or_null};
use crate::exchange::document;
use crate::provider::{Object, Provider};

/// All records of a kind. The crate's README has the form.
pub(crate) fn truth(store: &Store, object: Object) -> Value {
    let table = store.table(object);
    let live: Vec<Value> =
        table.live_ids().iter().filter_map(|id| table.live(*id)).map(|row| shown(store, object, row)).collect();
    let deleted: Vec<Value> = table
        .deleted_by_update()
        .iter()
        .map(|(at, id)| json!({"id": store.id(object, *id), "deleted_at_ms": at}))
        .collect();
    document([
        ("object", object.name().into()),
        ("count", live.len().into()),
        ("rows", live.into()),
        ("deleted", deleted.into()),
    ])
}

/// The pipelines with their stages, which are not records of their own.
pub(crate) fn pipelines(store: &Store) -> Value {
    json!({"object": "pipelines", "count": store.pipelines.len(), "rows": store.pipelines, "deleted": []})
}

fn shown(store: &Store, object: Object, row: &Row) -> Value {
    let links = |to: Object| -> Vec<String> {
        let live = row.links(to).iter().filter(|id| store.table(to).live(**id).is_some());
        live.map(|id| store.id(to, *id)).collect()
    };
    // A price is never missing with Kommo.
    let has_price = store.provider == Provider::Kommo && object == Object::Deals;
    let amount = row.decimal_amount().or_else(|| has_price.then(|| "0".to_owned()));
    document([
        ("id", store.id(object, row.id).into()),
        ("created_at_ms", row.created_at_ms.into()),
        ("updated_at_ms", row.updated_at_ms.into()),
        ("first_name", text_or_null(&row.first_name)),
        ("last_name", text_or_null(&row.last_name)),
        ("name", text_or_null(&row.shown_name())),
        ("emails", row.emails.as_slice().into()),
        ("phones", row.phones.as_slice().into()),
        ("company_name", text_or_null(&row.company_name)),
        ("job_title", text_or_null(&row.job_title)),
        ("website", text_or_null(&row.website)),
        ("amount", amount.into()),
        ("currency", text_or_null(&row.currency)),
        ("pipeline", text_or_null(&row.pipeline)),
        ("stage", text_or_null(&row.stage)),
        ("status", text_or_null(&row.status)),
        ("owner", row.owner.map(|id| store.id(Object::Owners, id)).into()),
        ("contacts", links(Object::Contacts).into()),
        ("companies", links(Object::Companies).into()),
        ("deals", links(Object::Deals).into()),
        ("text", text_or_null(&row.text)),
        ("custom", Value::Object(row.custom.iter().map(|(key, value)| (key.clone(), value.clone())).collect())),
    ])
}
