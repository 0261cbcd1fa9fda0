//! Properties: all values are texts, and each kind of record has names of its own for them.

use serde_json::{Map, Value};

use super::invalid;
use crate::account::State;
use crate::exchange::{Reply, document};
use crate::provider::Object;
use crate::rows::{Row, Store};
use crate::time::iso_ms;

/// What is given where no properties are asked for.
pub(super) fn defaults(object: Object) -> &'static [&'static str] {
    match object {
        Object::Contacts => &["createdate", "email", "firstname", "hs_object_id", "lastmodifieddate", "lastname"],
        Object::Companies => &["createdate", "domain", "hs_lastmodifieddate", "hs_object_id", "name"],
        Object::Deals => &[
            "amount",
            "closedate",
            "createdate",
            "dealname",
            "dealstage",
            "hs_lastmodifieddate",
            "hs_object_id",
            "pipeline",
        ],
        _ => &["hs_createdate", "hs_lastmodifieddate", "hs_object_id"],
    }
}

/// What is given whether it is asked for or not.
pub(super) fn always(object: Object) -> &'static [&'static str] {
    match object {
        Object::Contacts => &["createdate", "hs_object_id", "lastmodifieddate"],
        Object::Companies | Object::Deals => &["createdate", "hs_lastmodifieddate", "hs_object_id"],
        _ => &["hs_createdate", "hs_lastmodifieddate", "hs_object_id"],
    }
}

/// The names that a kind of record has.
pub(super) fn names(object: Object) -> &'static [&'static str] {
    match object {
        Object::Contacts => &[
            "firstname",
            "lastname",
            "email",
            "hs_additional_emails",
            "phone",
            "mobilephone",
            "company",
            "jobtitle",
            "hubspot_owner_id",
            "associatedcompanyid",
        ],
        Object::Companies => &["name", "domain", "website", "phone", "hubspot_owner_id"],
        Object::Deals => {
            &["dealname", "amount", "deal_currency_code", "pipeline", "dealstage", "closedate", "hubspot_owner_id"]
        }
        _ => &["hs_note_body", "hs_timestamp", "hubspot_owner_id"],
    }
}

/// The time of the last change, by the name that the kind has for it.
pub(super) fn is_modified(object: Object, name: &str) -> bool {
    name == "hs_lastmodifieddate" || (object == Object::Contacts && name == "lastmodifieddate")
}

/// The value of a property; `None` where it has none or there is no such property.
pub(crate) fn property(store: &Store, object: Object, row: &Row, name: &str) -> Option<String> {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let first = |all: &[String]| all.first().cloned();
    match (object, name) {
        (_, "hs_object_id") => Some(row.id.to_string()),
        (_, "hs_createdate") | (Object::Contacts | Object::Companies | Object::Deals, "createdate") => {
            Some(iso_ms(row.created_at_ms))
        }
        (_, name) if is_modified(object, name) => Some(iso_ms(row.updated_at_ms)),
        (_, "hubspot_owner_id") => row.owner.map(|owner| owner.to_string()),
        (Object::Contacts, "firstname") => text(&row.first_name),
        (Object::Contacts, "lastname") => text(&row.last_name),
        (Object::Contacts, "email") => first(&row.emails),
        (Object::Contacts, "hs_additional_emails") => text(&row.emails.get(1..).unwrap_or_default().join(";")),
        (Object::Contacts | Object::Companies, "phone") => first(&row.phones),
        (Object::Contacts, "mobilephone") => row.phones.get(1).cloned(),
        (Object::Contacts, "company") => text(&row.company_name),
        (Object::Contacts, "jobtitle") => text(&row.job_title),
        (Object::Contacts, "associatedcompanyid") => {
            store.linked(object, row, Object::Companies).first().map(u64::to_string)
        }
        (Object::Companies, "name") | (Object::Deals, "dealname") => text(&row.name),
        (Object::Companies, "domain" | "website") => text(&row.website),
        (Object::Deals, "amount") => row.decimal_amount(),
        (Object::Deals, "deal_currency_code") => text(&row.currency),
        (Object::Deals, "pipeline") => text(&row.pipeline),
        (Object::Deals, "dealstage") => text(&row.stage),
        (Object::Notes, "hs_note_body") => text(&row.text),
        (Object::Notes, "hs_timestamp") => Some(iso_ms(row.created_at_ms)),
        _ => row.custom.get(name).map(custom_text),
    }
}

fn custom_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => {
            values.iter().map(|value| value.as_str().unwrap_or_default()).collect::<Vec<_>>().join(";")
        }
        other => other.to_string(),
    }
}

/// A record as it is given, with these properties.
pub(super) fn shown(store: &Store, object: Object, row: &Row, asked: &[&str]) -> Value {
    let mut properties = Map::new();
    let names: &[&str] = if asked.is_empty() { defaults(object) } else { asked };
    for name in names.iter().chain(always(object)) {
        let is_known = names_it(store, object, name);
        if is_known && !properties.contains_key(*name) {
            properties.insert((*name).to_owned(), property(store, object, row, name).into());
        }
    }
    let mut shown = document([
        ("id", row.id.to_string().into()),
        ("properties", properties.into()),
        ("createdAt", iso_ms(row.created_at_ms).into()),
        ("updatedAt", iso_ms(row.updated_at_ms).into()),
        ("archived", (!row.is_live()).into()),
    ]);
    if let Some(deleted) = row.deleted_at_ms {
        shown["archivedAt"] = iso_ms(deleted).into();
    }
    shown
}

/// Whether there is a property of this name; others are passed over without a word.
fn names_it(store: &Store, object: Object, name: &str) -> bool {
    names(object).contains(&name)
        || always(object).contains(&name)
        || store.custom_fields.iter().any(|field| field.object == object && field.key == name)
}

/// The fields of the truth that a write of properties sets.
pub(super) fn fields(
    state: &State,
    object: Object,
    row: &Row,
    given: &Map<String, Value>,
) -> Result<Map<String, Value>, Reply> {
    let mut fields = Map::new();
    let mut custom = Map::new();
    let (mut emails, mut phones) = (row.emails.clone(), row.phones.clone());
    for (name, value) in given {
        let unknown = || {
            invalid(&format!(
                "Property values were not valid: [{{\"isValid\":false,\"message\":\"Property \\\"{name}\\\" does not exist\",\"error\":\"PROPERTY_DOESNT_EXIST\",\"name\":\"{name}\"}}]"
            ))
        };
        let text = value.as_str().unwrap_or_default();
        match (object, name.as_str()) {
            (Object::Contacts, "email") => put(&mut emails, 0, text),
            (Object::Contacts, "hs_additional_emails") => {
                emails.truncate(1);
                emails.extend(text.split(';').filter(|part| !part.is_empty()).map(str::to_owned));
            }
            (Object::Contacts | Object::Companies, "phone") => put(&mut phones, 0, text),
            (Object::Contacts, "mobilephone") => put(&mut phones, 1, text),
            _ => match field(object, name) {
                Some(field) => {
                    let value = if text.is_empty() && !value.is_number() { Value::Null } else { value.clone() };
                    fields.insert(field.to_owned(), value);
                }
                None => {
                    let known =
                        state.store.custom_fields.iter().find(|field| field.object == object && field.key == *name);
                    let known = known.ok_or_else(unknown)?;
                    custom.insert(name.clone(), custom_value(known.kind, value));
                }
            },
        }
    }
    phones.retain(|phone| !phone.is_empty());
    emails.retain(|email| !email.is_empty());
    fields.insert("emails".to_owned(), emails.into());
    fields.insert("phones".to_owned(), phones.into());
    fields.insert("custom".to_owned(), custom.into());
    Ok(fields)
}

fn put(all: &mut Vec<String>, place: usize, text: &str) {
    while all.len() <= place {
        all.push(String::new());
    }
    text.clone_into(&mut all[place]);
}

fn field(object: Object, name: &str) -> Option<&'static str> {
    Some(match (object, name) {
        (_, "hubspot_owner_id") => "owner",
        (Object::Contacts, "firstname") => "first_name",
        (Object::Contacts, "lastname") => "last_name",
        (Object::Contacts, "company") => "company_name",
        (Object::Contacts, "jobtitle") => "job_title",
        (Object::Companies, "name") | (Object::Deals, "dealname") => "name",
        (Object::Companies, "domain" | "website") => "website",
        (Object::Deals, "amount") => "amount",
        (Object::Deals, "deal_currency_code") => "currency",
        (Object::Deals, "pipeline") => "pipeline",
        (Object::Deals, "dealstage") => "stage",
        (Object::Notes, "hs_note_body") => "text",
        _ => return None,
    })
}

fn custom_value(kind: crate::rows::FieldKind, value: &Value) -> Value {
    use crate::rows::FieldKind;
    let Some(text) = value.as_str() else { return value.clone() };
    match kind {
        _ if text.is_empty() => Value::Null,
        FieldKind::Flag => Value::Bool(text == "true"),
        FieldKind::Number => serde_json::from_str(text).map_or_else(|_| text.into(), Value::Number),
        FieldKind::Choices => text.split(';').filter(|part| !part.is_empty()).collect(),
        _ => text.into(),
    }
}
