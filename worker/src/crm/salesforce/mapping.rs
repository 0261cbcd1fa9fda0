//! What is asked of Salesforce, and what its rows mean.

use std::collections::BTreeMap;

use millrace_shared::crm::Object;
use millrace_shared::db::crm::records::{Fields, Seen};
use serde_json::{Value, json};

use super::super::record::{Draft, Drift, Look};
use super::super::{by_own_names, one_each};

/// The fields of a sort of record that every organization has.
pub(super) fn standard(object: Object) -> &'static str {
    match object {
        Object::Contacts => {
            "Id,Name,FirstName,LastName,Email,Phone,MobilePhone,HomePhone,Title,AccountId,OwnerId,CreatedDate,SystemModstamp,IsDeleted"
        }
        Object::Companies => {
            "Id,Name,Phone,Website,Industry,BillingCity,BillingCountry,OwnerId,CreatedDate,SystemModstamp,IsDeleted"
        }
        Object::Deals => {
            "Id,Name,Amount,StageName,CloseDate,AccountId,ContactId,OwnerId,CreatedDate,SystemModstamp,IsDeleted"
        }
        Object::Notes => "Id,Subject,Description,WhoId,WhatId,OwnerId,CreatedDate,SystemModstamp,IsDeleted",
        Object::Owners => "Id,Name,Email,IsActive,CreatedDate,SystemModstamp",
        Object::Pipelines => "Id,MasterLabel,ApiName,SortOrder,IsActive,IsClosed,IsWon,CreatedDate,SystemModstamp",
    }
}

/// The field that says when a row changed, by whomever or whatever.
pub(super) fn changed_field(_object: Object) -> &'static str {
    "SystemModstamp"
}

/// The record of a row; none without an id.
pub(super) fn seen(object: Object, row: &Value, drift: &Drift) -> Option<Seen> {
    let look = Look::at(row, drift);
    let Some(id) = look.id("Id") else {
        drift.note("Id", "is missing");
        return None;
    };
    let mut draft = Draft {
        created_at: look.time("CreatedDate"),
        updated_at: look.time("SystemModstamp"),
        fields: fields(object, look),
        ..Draft::default()
    };
    if matches!(object, Object::Contacts | Object::Deals) {
        draft.belongs(Object::Companies, look.id("AccountId"));
    }
    if object == Object::Deals {
        draft.belongs(Object::Contacts, look.id("ContactId"));
    }
    if object == Object::Notes {
        for field in ["WhoId", "WhatId"] {
            let id = look.id(field);
            if let Some(other) = id.as_deref().and_then(sort_of) {
                draft.belongs(other, id);
            }
        }
    }
    let mut raw = row.clone();
    without_attributes(&mut raw);
    Some(draft.seal(id, raw))
}

/// The stages as what other providers call a pipeline. It changed when one of them did.
pub(super) fn pipeline(stages: &[Value], drift: &Drift) -> Seen {
    let changed = stages.iter().filter_map(|stage| Look::at(stage, drift).time(changed_field(Object::Pipelines))).max();
    let mut raw = json!({ "stages": stages });
    raw["stages"].as_array_mut().into_iter().flatten().for_each(without_attributes);
    Draft { updated_at: changed, ..Draft::default() }.seal(sobject(Object::Pipelines).to_owned(), raw)
}

/// The first three characters of an id tell what it is of
/// (<https://help.salesforce.com/s/articleView?id=000385203>).
fn sort_of(id: &str) -> Option<Object> {
    match id.get(..3)? {
        "003" => Some(Object::Contacts),
        "001" => Some(Object::Companies),
        "006" => Some(Object::Deals),
        _ => None,
    }
}

/// They hold nothing but the version of the API.
fn without_attributes(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.remove("attributes");
        fields.values_mut().for_each(without_attributes);
    }
}

/// What the provider calls a sort of record.
pub(super) fn sobject(object: Object) -> &'static str {
    match object {
        Object::Contacts => "Contact",
        Object::Companies => "Account",
        Object::Deals => "Opportunity",
        Object::Notes => "Task",
        Object::Owners => "User",
        Object::Pipelines => "OpportunityStage",
    }
}

/// What a change writes.
pub(super) fn change(object: Object, fields: &BTreeMap<String, Value>) -> Value {
    let named = by_own_names(fields, |name, value| match (name, object) {
        ("emails", _) => one_each(&["Email"], value),
        ("phones", Object::Contacts) => one_each(&["Phone", "MobilePhone", "HomePhone"], value),
        ("phones", _) => one_each(&["Phone"], value),
        ("name", Object::Notes) => vec![("Subject".to_owned(), value.clone())],
        ("name", _) => vec![("Name".to_owned(), value.clone())],
        ("stage", _) => vec![("StageName".to_owned(), value.clone())],
        ("owner", _) => vec![("OwnerId".to_owned(), value.clone())],
        // A decimal that is text here is a number there.
        ("amount", _) => {
            let number = value.as_str().and_then(|text| serde_json::from_str(text).ok());
            vec![("Amount".to_owned(), number.unwrap_or_else(|| value.clone()))]
        }
        _ => vec![(name.to_owned(), value.clone())],
    });
    Value::Object(named)
}

fn fields(object: Object, look: Look<'_>) -> Fields {
    let owner = look.id("OwnerId");
    match object {
        Object::Contacts => Fields {
            name: look.text("Name"),
            emails: look.text("Email").into_iter().collect(),
            phones: ["Phone", "MobilePhone", "HomePhone"].iter().filter_map(|field| look.text(field)).collect(),
            owner,
            ..Fields::default()
        },
        Object::Companies => Fields {
            name: look.text("Name"),
            phones: look.text("Phone").into_iter().collect(),
            owner,
            ..Fields::default()
        },
        Object::Deals => Fields {
            name: look.text("Name"),
            amount: look.decimal("Amount"),
            stage: look.text("StageName"),
            owner,
            ..Fields::default()
        },
        Object::Notes => {
            Fields { name: look.text("Subject").or_else(|| look.text("Description")), owner, ..Fields::default() }
        }
        Object::Owners => {
            Fields { name: look.text("Name"), emails: look.text("Email").into_iter().collect(), ..Fields::default() }
        }
        Object::Pipelines => Fields::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_and_a_task_are_read() {
        let drift = Drift::default();
        let contact = json!({
            "attributes": { "type": "Contact", "url": "/services/data/v62.0/sobjects/Contact/003000000000001AAA" },
            "Id": "003000000000001AAA", "Name": "Ada Mill", "Email": "ada@mill.example", "Phone": null, "MobilePhone": "+1",
            "AccountId": "001000000000001AAA",
            "CreatedDate": "2026-01-01T00:00:00.000+0000", "SystemModstamp": "2026-01-31T08:00:00.000+0000", "IsDeleted": false,
        });
        let contact = seen(Object::Contacts, &contact, &drift).unwrap();
        assert_eq!(contact.fields.phones, ["+1"]);
        assert_eq!(contact.updated_at.to_rfc3339(), "2026-01-31T08:00:00+00:00");
        assert!(!contact.raw.to_string().contains("attributes"));
        let task = json!({ "Id": "00T000000000001AAA", "Subject": "Call", "WhoId": "003000000000001AAA", "WhatId": "a0X000000000001AAA" });
        let task = seen(Object::Notes, &task, &drift).unwrap();
        assert_eq!(task.associations.len(), 1, "what is of no known sort is left to the document");
        assert!(drift.into_found().is_empty());
    }
}
