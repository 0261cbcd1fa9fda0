//! What Kommo's documents mean.

use std::collections::BTreeMap;

use millrace_shared::crm::Object;
use millrace_shared::db::crm::records::{Fields, Seen};
use serde_json::{Value, json};

use super::super::by_own_names;
use super::super::record::{Draft, Drift, Look};

/// The record of a document; `on` is what a note is on. None without an id.
pub(super) fn seen(object: Object, on: Option<&str>, document: &Value, drift: &Drift) -> Option<Seen> {
    let look = Look::at(document, drift);
    let Some(id) = look.id("id") else {
        drift.note("id", "is missing");
        return None;
    };
    let mut draft = Draft {
        created_at: look.seconds("created_at"),
        updated_at: look.seconds("updated_at"),
        fields: fields(object, look),
        ..Draft::default()
    };
    let embedded = look.part("_embedded");
    for (name, other) in [("contacts", Object::Contacts), ("companies", Object::Companies)] {
        let list = embedded.filter(|_| matches!(object, Object::Deals | Object::Contacts)).map(|all| all.list(name));
        list.into_iter().flatten().for_each(|association| draft.belongs(other, association.id("id")));
    }
    let noted = match on {
        Some("leads") => Some(Object::Deals),
        Some("contacts") => Some(Object::Contacts),
        Some("companies") => Some(Object::Companies),
        _ => None,
    };
    if let Some(noted) = noted {
        draft.belongs(noted, look.id("entity_id"));
    }
    let mut raw = document.clone();
    without_links(&mut raw);
    Some(draft.seal(id, raw))
}

/// Links hold the account's host, which may change, and say nothing else.
fn without_links(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("_links");
            fields.values_mut().for_each(without_links);
        }
        Value::Array(list) => list.iter_mut().for_each(without_links),
        _ => {}
    }
}

fn fields(object: Object, look: Look<'_>) -> Fields {
    let owner = look.id("responsible_user_id");
    match object {
        Object::Deals => Fields {
            name: look.text("name"),
            amount: look.decimal("price"),
            pipeline: look.id("pipeline_id"),
            stage: look.id("status_id"),
            owner,
            ..Fields::default()
        },
        Object::Contacts | Object::Companies => Fields {
            name: look.text("name"),
            emails: values(look, "EMAIL"),
            phones: values(look, "PHONE"),
            owner,
            ..Fields::default()
        },
        Object::Notes => {
            Fields { name: look.part("params").and_then(|params| params.text("text")), owner, ..Fields::default() }
        }
        Object::Owners => {
            Fields { name: look.text("name"), emails: look.text("email").into_iter().collect(), ..Fields::default() }
        }
        Object::Pipelines => Fields { name: look.text("name"), ..Fields::default() },
    }
}

/// What a change writes. Numbers are numbers, and phones and addresses are values of fields that are known by their codes.
pub(super) fn change(fields: &BTreeMap<String, Value>) -> Value {
    let number = |value: &Value| match value {
        Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| value.clone()),
        other => other.clone(),
    };
    let mut custom = Vec::new();
    for (name, code) in [("emails", "EMAIL"), ("phones", "PHONE")] {
        let Some(Value::Array(values)) = fields.get(name) else { continue };
        let values: Vec<Value> = values.iter().map(|value| json!({ "value": value, "enum_code": "WORK" })).collect();
        custom.push(json!({ "field_code": code, "values": values }));
    }
    let mut named = by_own_names(fields, |name, value| match name {
        "emails" | "phones" => Vec::new(),
        "amount" => vec![("price".to_owned(), number(value))],
        "pipeline" => vec![("pipeline_id".to_owned(), number(value))],
        "stage" => vec![("status_id".to_owned(), number(value))],
        "owner" => vec![("responsible_user_id".to_owned(), number(value))],
        name => vec![(name.to_owned(), value.clone())],
    });
    if !custom.is_empty() {
        named.insert("custom_fields_values".to_owned(), Value::Array(custom));
    }
    Value::Object(named)
}

/// The values of the field of this code, each of which may be an object or bare.
fn values(look: Look<'_>, code: &str) -> Vec<String> {
    look.list("custom_fields_values")
        .filter(|field| field.text("field_code").as_deref() == Some(code))
        .flat_map(|field| field.list("values"))
        .filter_map(|value| match value.value() {
            Value::String(bare) => Some(bare.trim().to_owned()).filter(|bare| !bare.is_empty()),
            _ => value.text("value"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lead_and_a_contact_are_read() {
        let drift = Drift::default();
        let lead = json!({
            "id": 11, "name": "Weir", "price": 5000, "responsible_user_id": 3, "status_id": 142, "pipeline_id": 9,
            "created_at": 1_700_000_000, "updated_at": 1_700_000_100, "custom_fields_values": null,
            "_links": { "self": { "href": "https://acme.kommo.com/x" } },
            "_embedded": { "companies": [{ "id": 5, "_links": {} }], "contacts": [{ "id": 7, "is_main": true }], "tags": [] },
        });
        let deal = seen(Object::Deals, None, &lead, &drift).unwrap();
        assert_eq!(deal.fields.amount.as_deref(), Some("5000"));
        assert_eq!((deal.fields.stage.as_deref(), deal.fields.pipeline.as_deref()), (Some("142"), Some("9")));
        assert_eq!(deal.associations.len(), 2);
        assert!(!deal.raw.to_string().contains("_links"));
        let contact = json!({
            "id": 7, "name": "Ada", "updated_at": 1_700_000_100,
            "custom_fields_values": [
                { "field_code": "PHONE", "values": [{ "value": "+1", "enum_code": "WORK" }, { "value": "+2" }] },
                { "field_code": "EMAIL", "values": ["ada@mill.example"] },
            ],
        });
        let contact = seen(Object::Contacts, None, &contact, &drift).unwrap();
        assert_eq!(contact.fields.phones, ["+1", "+2"]);
        assert_eq!(contact.fields.emails, ["ada@mill.example"]);
        assert!(drift.into_found().is_empty());
    }

    #[test]
    fn an_account_that_moves_changes_no_record() {
        let at = |host: &str| json!({ "id": 1, "_links": { "self": { "href": format!("https://{host}/1") } } });
        let digest = |host| seen(Object::Contacts, None, &at(host), &Drift::default()).unwrap().digest;
        assert_eq!(digest("old.kommo.com"), digest("new.kommo.com"));
    }
}
