//! What Pipedrive's documents mean.

use std::collections::BTreeMap;

use millrace_shared::crm::Object;
use millrace_shared::db::crm::records::{Fields, Seen};
use serde_json::{Value, json};

use super::super::by_own_names;
use super::super::record::{Draft, Drift, Look};

/// The record of a document; none without an id.
pub(super) fn seen(object: Object, document: &Value, drift: &Drift) -> Option<Seen> {
    let look = Look::at(document, drift);
    let Some(id) = look.id("id") else {
        drift.note("id", "is missing");
        return None;
    };
    let mut draft = Draft {
        created_at: look.time(if object == Object::Owners { "created" } else { "add_time" }),
        updated_at: look.time(if object == Object::Owners { "modified" } else { "update_time" }),
        fields: fields(object, look),
        ..Draft::default()
    };
    if matches!(object, Object::Deals | Object::Contacts | Object::Notes) {
        draft.belongs(Object::Companies, reference(look, "org_id"));
    }
    if matches!(object, Object::Deals | Object::Notes) {
        draft.belongs(Object::Contacts, reference(look, "person_id"));
    }
    if object == Object::Notes {
        draft.belongs(Object::Deals, reference(look, "deal_id"));
    }
    Some(draft.seal(id, document.clone()))
}

/// An id, which version 1 may wrap in an object.
fn reference(look: Look<'_>, field: &str) -> Option<String> {
    match look.part(field)?.value() {
        Value::Object(_) => look.part(field)?.id("value").or_else(|| look.part(field)?.id("id")),
        _ => look.id(field),
    }
}

fn fields(object: Object, look: Look<'_>) -> Fields {
    match object {
        Object::Deals => Fields {
            name: look.text("title"),
            amount: look.decimal("value"),
            currency: look.text("currency"),
            pipeline: look.id("pipeline_id"),
            stage: look.id("stage_id"),
            owner: reference(look, "owner_id"),
            ..Fields::default()
        },
        Object::Contacts => Fields {
            name: look.text("name"),
            emails: values(look, "emails"),
            phones: values(look, "phones"),
            owner: reference(look, "owner_id"),
            ..Fields::default()
        },
        Object::Companies => {
            Fields { name: look.text("name"), owner: reference(look, "owner_id"), ..Fields::default() }
        }
        Object::Notes => Fields { name: look.text("content"), owner: reference(look, "user_id"), ..Fields::default() },
        Object::Owners => {
            Fields { name: look.text("name"), emails: look.text("email").into_iter().collect(), ..Fields::default() }
        }
        Object::Pipelines => Fields { name: look.text("name"), ..Fields::default() },
    }
}

/// What a change writes.
pub(super) fn change(object: Object, fields: &BTreeMap<String, Value>) -> Value {
    let number = |value: &Value| match value {
        Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| value.clone()),
        other => other.clone(),
    };
    let list = |values: &Value| -> Vec<Value> {
        let values = values.as_array().into_iter().flatten().enumerate();
        values.map(|(at, value)| json!({ "value": value, "primary": at == 0, "label": "work" })).collect()
    };
    let named = by_own_names(fields, |name, value| match (name, object) {
        ("emails" | "phones", _) => vec![(name.to_owned(), Value::Array(list(value)))],
        ("name", Object::Deals) => vec![("title".to_owned(), value.clone())],
        ("amount", _) => vec![("value".to_owned(), number(value))],
        ("pipeline" | "stage" | "owner", _) => vec![(format!("{name}_id"), number(value))],
        _ => vec![(name.to_owned(), value.clone())],
    });
    Value::Object(named)
}

/// The values of a list, the primary one first.
fn values(look: Look<'_>, field: &str) -> Vec<String> {
    let mut found: Vec<(bool, String)> =
        look.list(field).filter_map(|entry| Some((!entry.flag("primary"), entry.text("value")?))).collect();
    found.sort_by_key(|(is_other, _)| *is_other);
    found.into_iter().map(|(_, value)| value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_and_a_deal_are_read() {
        let drift = Drift::default();
        let person = json!({
            "id": 5, "name": "Ada Mill", "owner_id": 2, "org_id": 7, "add_time": "2026-01-01T00:00:00Z", "update_time": "2026-02-01T00:00:00Z",
            "emails": [{ "value": "b@mill.example", "primary": false }, { "value": "a@mill.example", "primary": true }], "phones": [],
        });
        let person = seen(Object::Contacts, &person, &drift).unwrap();
        assert_eq!(person.fields.emails, ["a@mill.example", "b@mill.example"]);
        assert_eq!(person.associations.len(), 1);
        let deal = json!({ "id": 6, "title": "Weir", "value": 12.5, "currency": "EUR", "person_id": { "value": 5 }, "stage_id": 3 });
        let deal = seen(Object::Deals, &deal, &drift).unwrap();
        assert_eq!((deal.fields.amount.as_deref(), deal.fields.currency.as_deref()), (Some("12.5"), Some("EUR")));
        assert_eq!(deal.associations[0].id, "5");
        assert!(drift.into_found().is_empty());
    }
}
