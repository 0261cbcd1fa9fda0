//! Types and their fields: what can be selected, compared, and written.

use serde_json::{Map, Value, json};

use crate::account::State;
use crate::provider::Object;
use crate::rows::{FieldKind, Outcome, Row, Store, text_or_null};
use crate::time;

/// A type of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Records(Object),
    /// Stages of opportunities.
    Stages,
    /// The organization itself.
    Organization,
}

impl Type {
    pub(super) const ALL: [Self; 8] = [
        Self::Records(Object::Contacts),
        Self::Records(Object::Companies),
        Self::Records(Object::Deals),
        Self::Records(Object::Notes),
        Self::Records(Object::Tasks),
        Self::Records(Object::Owners),
        Self::Stages,
        Self::Organization,
    ];

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name().eq_ignore_ascii_case(name))
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Records(Object::Contacts) => "Contact",
            Self::Records(Object::Companies) => "Account",
            Self::Records(Object::Deals) => "Opportunity",
            Self::Records(Object::Notes) => "Note",
            Self::Records(Object::Tasks) => "Task",
            Self::Records(Object::Owners) => "User",
            Self::Stages => "OpportunityStage",
            Self::Organization => "Organization",
        }
    }

    /// Fields that hold something here.
    fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Records(Object::Contacts) => {
                &["FirstName", "LastName", "Name", "Email", "Phone", "MobilePhone", "HomePhone", "Title", "AccountId"]
            }
            Self::Records(Object::Companies) => &["Name", "Phone", "Website"],
            Self::Records(Object::Deals) => {
                &["Name", "Amount", "StageName", "AccountId", "CloseDate", "IsClosed", "IsWon"]
            }
            Self::Records(Object::Notes) => &["Title", "Body", "ParentId", "IsPrivate"],
            Self::Records(Object::Tasks) => {
                &["Subject", "Description", "Status", "Priority", "WhoId", "WhatId", "ActivityDate"]
            }
            Self::Records(Object::Owners) => &["FirstName", "LastName", "Name", "Email", "Username", "IsActive"],
            Self::Stages => {
                &["MasterLabel", "ApiName", "IsActive", "SortOrder", "IsClosed", "IsWon", "DefaultProbability"]
            }
            Self::Organization => &["Name", "IsSandbox", "OrganizationType"],
        }
    }

    /// Fields that there are, without a value in any record.
    fn empty_fields(self) -> &'static [&'static str] {
        match self {
            Self::Records(Object::Contacts) => &[
                "Department",
                "Description",
                "Salutation",
                "Fax",
                "LeadSource",
                "MailingStreet",
                "MailingCity",
                "MailingState",
                "MailingPostalCode",
                "MailingCountry",
                "Birthdate",
                "MasterRecordId",
            ],
            Self::Records(Object::Companies) => &[
                "Type",
                "Industry",
                "Description",
                "ParentId",
                "AnnualRevenue",
                "NumberOfEmployees",
                "Fax",
                "BillingStreet",
                "BillingCity",
                "BillingState",
                "BillingPostalCode",
                "BillingCountry",
                "MasterRecordId",
            ],
            Self::Records(Object::Deals) => {
                &["Description", "Type", "LeadSource", "NextStep", "Probability", "ContactId"]
            }
            Self::Records(Object::Tasks) => &["Type", "TaskSubtype", "IsClosed"],
            Self::Records(Object::Owners) => &["Title", "Department", "Alias"],
            _ => &[],
        }
    }

    fn common(self) -> &'static [&'static str] {
        match self {
            // Users cannot be deleted.
            Self::Records(Object::Owners) => {
                &["Id", "CreatedDate", "LastModifiedDate", "SystemModstamp", "CreatedById", "LastModifiedById"]
            }
            Self::Records(_) => &[
                "Id",
                "IsDeleted",
                "OwnerId",
                "CreatedDate",
                "LastModifiedDate",
                "SystemModstamp",
                "CreatedById",
                "LastModifiedById",
            ],
            Self::Stages => &["Id", "CreatedDate", "LastModifiedDate", "SystemModstamp"],
            Self::Organization => &["Id", "CreatedDate", "SystemModstamp"],
        }
    }

    /// The name of a field as the vendor writes it; `None` where there is none of that name.
    pub(super) fn field(self, store: &Store, name: &str) -> Option<String> {
        let known = self.common().iter().chain(self.fields()).chain(self.empty_fields());
        if let Some(known) = known.into_iter().find(|known| known.eq_ignore_ascii_case(name)) {
            return Some((*known).to_owned());
        }
        let Self::Records(object) = self else { return None };
        let mut custom = store.custom_fields.iter().filter(|field| field.object == object);
        custom.find(|field| field.key.eq_ignore_ascii_case(name)).map(|field| field.key.clone())
    }
}

/// A field's value, as it is compared.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    Null,
    Text(String),
    Number(f64),
    Flag(bool),
    Time(i64),
    Key(Object, u64),
}

impl Scalar {
    fn text(text: &str) -> Self {
        if text.is_empty() { Self::Null } else { Self::Text(text.to_owned()) }
    }

    /// As it is given.
    pub(super) fn shown(&self, store: &Store) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Text(text) => text.as_str().into(),
            Self::Number(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
                json!(format!("{number:.0}").parse::<i64>().unwrap_or(0))
            }
            Self::Number(number) => json!(number),
            Self::Flag(flag) => json!(flag),
            Self::Time(ms) => time::salesforce(*ms).into(),
            Self::Key(object, id) => store.id(*object, *id).into(),
        }
    }
}

/// The value of a field, by its name as the vendor writes it.
pub(super) fn value(store: &Store, object: Object, row: &Row, field: &str) -> Scalar {
    let key = |to: Object, id: Option<u64>| id.map_or(Scalar::Null, |id| Scalar::Key(to, id));
    let linked = |to: Object| store.linked(object, row, to).first().copied();
    let part = |all: &[String], place: usize| all.get(place).map_or(Scalar::Null, |text| Scalar::text(text));
    match (object, field) {
        (_, "Id") => Scalar::Key(object, row.id),
        (_, "IsDeleted") => Scalar::Flag(!row.is_live()),
        (_, "IsActive") => Scalar::Flag(row.is_live()),
        (_, "CreatedDate") => Scalar::Time(row.created_at_ms),
        (_, "LastModifiedDate" | "SystemModstamp") => Scalar::Time(row.updated_at_ms),
        (_, "OwnerId" | "CreatedById" | "LastModifiedById") => key(Object::Owners, row.owner),
        (_, "FirstName") => Scalar::text(&row.first_name),
        (_, "LastName") => Scalar::text(&row.last_name),
        (Object::Tasks, "Subject") | (Object::Notes, "Title") => Scalar::text(&row.name),
        (_, "Name") => Scalar::text(&row.shown_name()),
        (_, "Email" | "Username") => part(&row.emails, 0),
        (_, "Phone") => part(&row.phones, 0),
        (_, "MobilePhone") => part(&row.phones, 1),
        (_, "HomePhone") => part(&row.phones, 2),
        (Object::Contacts, "Title") => Scalar::text(&row.job_title),
        (_, "AccountId") => key(Object::Companies, linked(Object::Companies)),
        (_, "Website") => Scalar::text(&row.website),
        (_, "Amount") => row.decimal_amount().and_then(|text| text.parse().ok()).map_or(Scalar::Null, Scalar::Number),
        (_, "StageName") => Scalar::text(&row.stage),
        (_, "CloseDate") => Scalar::Text(time::date(row.created_at_ms)),
        (Object::Deals, "IsClosed") => Scalar::Flag(outcome(store, row) != Outcome::Open),
        (_, "IsWon") => Scalar::Flag(outcome(store, row) == Outcome::Won),
        (Object::Notes, "Body") | (Object::Tasks, "Description") => Scalar::text(&row.text),
        (Object::Notes, "ParentId") => about(store, object, row, &[Object::Contacts, Object::Companies, Object::Deals]),
        (_, "IsPrivate") => Scalar::Flag(false),
        (_, "Status") => Scalar::text("Completed"),
        (_, "Priority") => Scalar::text("Normal"),
        (_, "WhoId") => about(store, object, row, &[Object::Contacts]),
        (_, "WhatId") => about(store, object, row, &[Object::Companies, Object::Deals]),
        _ => row.custom.get(field).map_or(Scalar::Null, custom),
    }
}

fn about(store: &Store, object: Object, row: &Row, kinds: &[Object]) -> Scalar {
    let found = kinds.iter().find_map(|to| store.linked(object, row, *to).first().map(|id| (*to, *id)));
    found.map_or(Scalar::Null, |(to, id)| Scalar::Key(to, id))
}

fn outcome(store: &Store, row: &Row) -> Outcome {
    let mut stages = store.pipelines.iter().flat_map(|pipeline| &pipeline.stages);
    stages.find(|stage| stage.id == row.stage).map_or(Outcome::Open, |stage| stage.outcome)
}

fn custom(value: &Value) -> Scalar {
    match value {
        Value::Bool(flag) => Scalar::Flag(*flag),
        Value::Number(number) => number.as_f64().map_or(Scalar::Null, Scalar::Number),
        Value::String(text) => Scalar::text(text),
        Value::Array(values) => {
            Scalar::text(&values.iter().map(|value| value.as_str().unwrap_or_default()).collect::<Vec<_>>().join(";"))
        }
        _ => Scalar::Null,
    }
}

/// The records of the types that are no records of the store.
pub(super) fn fixed(state: &State, of: Type) -> Vec<Map<String, Value>> {
    const BEGINNING: &str = "2020-01-01T00:00:00.000+0000";
    let records: Vec<Value> = if of == Type::Organization {
        vec![json!({
            "Id": super::organization_id(state),
            "Name": format!("Account of {}", state.name),
            "IsSandbox": false,
            "OrganizationType": "Developer Edition",
            "CreatedDate": BEGINNING,
            "SystemModstamp": BEGINNING,
        })]
    } else {
        let stages = state.store.pipelines.iter().flat_map(|pipeline| &pipeline.stages).enumerate();
        let shown = stages.map(|(place, stage)| {
            json!({
                "Id": crate::rows::salesforce_id("01J", place as u64 + 1),
                "MasterLabel": stage.name,
                "ApiName": stage.id,
                "IsActive": true,
                "SortOrder": place + 1,
                "IsClosed": stage.outcome != Outcome::Open,
                "IsWon": stage.outcome == Outcome::Won,
                "DefaultProbability": if stage.outcome == Outcome::Lost { 0 } else { (place + 1) * 20 },
                "CreatedDate": BEGINNING,
                "LastModifiedDate": BEGINNING,
                "SystemModstamp": BEGINNING,
            })
        });
        shown.collect()
    };
    records.into_iter().filter_map(|record| record.as_object().cloned()).collect()
}

/// All fields of a type with their kinds.
pub(super) fn described(store: &Store, of: Type) -> Vec<Value> {
    let own = of.common().iter().chain(of.fields()).chain(of.empty_fields()).map(|name| {
        let kind = match *name {
            "Id" => "id",
            name if name.ends_with("Id") => "reference",
            "CreatedDate" | "LastModifiedDate" | "SystemModstamp" => "datetime",
            "CloseDate" | "ActivityDate" | "Birthdate" => "date",
            "Amount" => "currency",
            "Email" => "email",
            name if name.starts_with("Is") => "boolean",
            name if name.ends_with("Phone") => "phone",
            "Description" | "Body" => "textarea",
            _ => "string",
        };
        json!({"name": name, "label": name, "type": kind, "custom": false, "updateable": kind != "id"})
    });
    let custom = store.custom_fields.iter().filter(|field| of == Type::Records(field.object)).map(|field| {
        let kind = match field.kind {
            FieldKind::Text => "string",
            FieldKind::Number => "double",
            FieldKind::Date => "date",
            FieldKind::Flag => "boolean",
            FieldKind::Choice => "picklist",
            FieldKind::Choices => "multipicklist",
        };
        let options: Vec<Value> =
            field.options.iter().map(|option| json!({"label": option, "value": option, "active": true})).collect();
        json!({
            "name": field.key, "label": field.name, "type": kind, "custom": true, "updateable": true,
            "picklistValues": options,
        })
    });
    own.chain(custom).collect()
}

/// The field of the truth that a field is, for writes.
pub(super) fn written(object: Object, field: &str) -> Option<&'static str> {
    Some(match (object, field) {
        (Object::Contacts, "FirstName") => "first_name",
        (Object::Contacts, "LastName") => "last_name",
        (Object::Contacts, "Title") => "job_title",
        (Object::Companies | Object::Deals, "Name") => "name",
        (Object::Companies, "Website") => "website",
        (Object::Deals, "Amount") => "amount",
        (Object::Deals, "StageName") => "stage",
        (Object::Contacts | Object::Deals, "AccountId") => "companies",
        (Object::Notes, "Title") | (Object::Tasks, "Subject") => "name",
        (Object::Notes, "Body") | (Object::Tasks, "Description") => "text",
        (_, "OwnerId") => "owner",
        _ => return None,
    })
}

/// A text of a custom field in its own kind.
pub(super) fn custom_value(kind: FieldKind, value: &Value) -> Value {
    match (kind, value) {
        (FieldKind::Choices, Value::String(text)) => text.split(';').filter(|part| !part.is_empty()).collect(),
        _ => value.clone(),
    }
}

/// A text or null, for what is shown of fixed records.
pub(super) fn fixed_value(record: &Map<String, Value>, field: &str) -> Scalar {
    match record.get(field) {
        Some(Value::String(text)) => time::parse(text).map_or_else(|| Scalar::text(text), Scalar::Time),
        Some(other) => custom(other),
        None => custom(&text_or_null("")),
    }
}
