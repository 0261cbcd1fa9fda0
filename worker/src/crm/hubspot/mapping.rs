//! What `HubSpot`'s documents mean.

use std::collections::BTreeMap;

use millrace_shared::crm::Object;
use millrace_shared::db::crm::records::{Fields, Seen};
use serde_json::{Map, Value};

use super::super::record::{Draft, Drift, Look};
use super::super::{by_own_names, one_each};

/// What is asked of each record beside properties of the account's own.
pub(super) fn standard(object: Object) -> &'static str {
    match object {
        Object::Contacts => {
            "firstname,lastname,email,hs_additional_emails,phone,mobilephone,company,jobtitle,lifecyclestage,hubspot_owner_id"
        }
        Object::Companies => "name,domain,phone,industry,city,country,hubspot_owner_id",
        Object::Deals => "dealname,amount,deal_currency_code,pipeline,dealstage,closedate,hubspot_owner_id",
        Object::Notes => "hs_note_body,hs_timestamp,hubspot_owner_id",
        Object::Owners | Object::Pipelines => "",
    }
}

/// What is asked of a record's associations. A firm's lists have no bound, and the other side tells the same.
pub(super) fn associated(object: Object) -> &'static [&'static str] {
    match object {
        Object::Contacts => &["companies"],
        Object::Deals => &["companies", "contacts"],
        Object::Notes => &["companies", "contacts", "deals"],
        Object::Companies | Object::Owners | Object::Pipelines => &[],
    }
}

/// The property that says when a record changed.
pub(super) fn changed_property(object: Object) -> &'static str {
    if object == Object::Contacts { "lastmodifieddate" } else { "hs_lastmodifieddate" }
}

/// The record of a document; none without an id.
pub(super) fn seen(object: Object, document: &Value, drift: &Drift) -> Option<Seen> {
    let look = Look::at(document, drift);
    let Some(id) = look.id("id") else {
        drift.note("id", "is missing");
        return None;
    };
    let nothing = Value::Null;
    let properties = look.part("properties").unwrap_or_else(|| Look::at(&nothing, drift));
    let mut draft = Draft {
        created_at: look.time("createdAt"),
        updated_at: look.time("updatedAt"),
        fields: fields(object, look, properties),
        ..Draft::default()
    };
    for kind in associated(object) {
        let Some(list) = look.part("associations").and_then(|all| all.part(kind)) else { continue };
        let Ok(other) = kind.parse() else { continue };
        list.list("results").for_each(|association| draft.belongs(other, association.id("id")));
    }
    let mut raw = document.clone();
    if let Some(fields) = raw.as_object_mut() {
        // They are kept once, and searches tell nothing of them.
        fields.remove("associations");
        // Searches and lists differ in these.
        fields.remove("url");
    }
    without_clocks(&mut raw);
    Some(draft.seal(id, raw))
}

/// Lists give times as properties that searches give without being asked.
fn without_clocks(raw: &mut Value) {
    let Some(properties) = raw.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for name in ["createdate", "lastmodifieddate", "hs_lastmodifieddate", "hs_createdate", "hs_object_id"] {
        properties.remove(name);
    }
}

fn fields(object: Object, look: Look<'_>, properties: Look<'_>) -> Fields {
    let owner = properties.id("hubspot_owner_id");
    match object {
        Object::Contacts => {
            let mut emails: Vec<String> = properties.text("email").into_iter().collect();
            let others = properties.text("hs_additional_emails").unwrap_or_default();
            emails.extend(others.split(';').map(str::trim).filter(|email| !email.is_empty()).map(str::to_owned));
            Fields {
                name: full_name(properties.text("firstname"), properties.text("lastname")),
                emails,
                phones: ["phone", "mobilephone"].iter().filter_map(|field| properties.text(field)).collect(),
                company: properties.text("company"),
                owner,
                ..Fields::default()
            }
        }
        Object::Companies => Fields {
            name: properties.text("name"),
            phones: properties.text("phone").into_iter().collect(),
            owner,
            ..Fields::default()
        },
        Object::Deals => Fields {
            name: properties.text("dealname"),
            amount: properties.decimal("amount"),
            currency: properties.text("deal_currency_code"),
            pipeline: properties.id("pipeline"),
            stage: properties.id("dealstage"),
            owner,
            ..Fields::default()
        },
        Object::Notes => Fields { name: properties.text("hs_note_body"), owner, ..Fields::default() },
        Object::Owners => Fields {
            name: full_name(look.text("firstName"), look.text("lastName")),
            emails: look.text("email").into_iter().collect(),
            ..Fields::default()
        },
        Object::Pipelines => Fields { name: look.text("label"), ..Fields::default() },
    }
}

/// The properties that a change writes. What is emptied is written as empty text.
pub(super) fn properties(object: Object, fields: &BTreeMap<String, Value>) -> Map<String, Value> {
    let own = |name: &str, value: &Value| match (name, object) {
        ("emails", _) => one_each(&["email"], value),
        ("phones", Object::Contacts) => one_each(&["phone", "mobilephone"], value),
        ("phones", _) => one_each(&["phone"], value),
        (name, _) => {
            let own = match (name, object) {
                ("name", Object::Deals) => "dealname",
                ("name", Object::Notes) => "hs_note_body",
                ("currency", _) => "deal_currency_code",
                ("stage", _) => "dealstage",
                ("owner", _) => "hubspot_owner_id",
                (name, _) => name,
            };
            vec![(own.to_owned(), value.clone())]
        }
    };
    let mut named = by_own_names(fields, own);
    named.values_mut().filter(|value| value.is_null()).for_each(|value| *value = Value::String(String::new()));
    named
}

fn full_name(first: Option<String>, last: Option<String>) -> Option<String> {
    match (first, last) {
        (Some(first), Some(last)) => Some(format!("{first} {last}")),
        (first, last) => first.or(last),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_contact_is_read() {
        let document = json!({
            "id": "512",
            "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-02-01T00:00:00.250Z", "archived": false,
            "properties": { "firstname": "Ada", "lastname": "Mill", "email": "ada@mill.example",
                            "hs_additional_emails": "a@mill.example;b@mill.example", "phone": "+44 1", "favourite_weir": "Bath" },
            "associations": { "companies": { "results": [{ "id": "7", "type": "contact_to_company" },
                                                         { "id": "7", "type": "contact_to_company_unlabeled" }] } },
        });
        let drift = Drift::default();
        let contact = seen(Object::Contacts, &document, &drift).unwrap();
        assert_eq!(contact.fields.name.as_deref(), Some("Ada Mill"));
        assert_eq!(contact.fields.emails, ["ada@mill.example", "a@mill.example", "b@mill.example"]);
        assert_eq!(contact.associations.len(), 1, "a company with two labels is one company");
        assert_eq!(contact.raw["properties"]["favourite_weir"], "Bath");
        assert!(drift.into_found().is_empty());
    }

    #[test]
    fn a_search_and_a_list_tell_the_same_record() {
        let base = json!({ "id": "1", "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z",
                           "properties": { "dealname": "Weir" } });
        let mut listed = base.clone();
        listed["properties"]["hs_lastmodifieddate"] = json!("2026-01-01T00:00:00Z");
        let drift = Drift::default();
        let digest = |document: &Value| seen(Object::Deals, document, &drift).unwrap().digest;
        assert_eq!(digest(&base), digest(&listed));
    }
}
