//! Records as Kommo gives them.

use serde_json::{Value, json};

use super::entity;
use crate::account::State;
use crate::exchange::document;
use crate::provider::Object;
use crate::rows::{CustomField, FieldKind, Outcome, Row, text_or_null};
use crate::serve::Call;
use crate::time::{date_to_seconds, seconds};

/// What a record is shown with.
pub(super) struct Shape<'a> {
    pub(super) state: &'a State,
    pub(super) call: &'a Call<'a>,
    pub(super) with: &'a [&'a str],
}

/// The numbers of the fields that every account has: telephone numbers, addresses and so on.
pub(super) const PHONE: u64 = 1_230_001;
pub(super) const EMAIL: u64 = 1_230_003;
pub(super) const POSITION: u64 = 1_230_005;
pub(super) const WEB: u64 = 1_230_007;

impl Shape<'_> {
    pub(super) fn record(&self, object: Object, row: &Row) -> Value {
        let mut shown = match object {
            Object::Deals => self.lead(row),
            _ => self.person_or_company(object, row),
        };
        shown["custom_fields_values"] = self.fields(object, row);
        shown["_links"] = self.link(object, row);
        shown["_embedded"] = self.embedded(object, row);
        shown
    }

    /// A deleted lead, of which little is left.
    pub(super) fn deleted(&self, row: &Row) -> Value {
        json!({
            "id": row.id,
            "updated_at": seconds(row.updated_at_ms),
            "is_deleted": true,
            "_links": self.link(Object::Deals, row),
        })
    }

    fn link(&self, object: Object, row: &Row) -> Value {
        json!({"self": {"href": format!("{}/api/v4/{}/{}", self.call.base, entity(object), row.id)}})
    }

    fn lead(&self, row: &Row) -> Value {
        let stages = self.state.store.pipelines.iter().flat_map(|pipeline| &pipeline.stages);
        let is_open = stages.into_iter().any(|stage| stage.id == row.stage && stage.outcome == Outcome::Open);
        json!({
            "id": row.id,
            "name": row.name,
            "price": row.amount.unwrap_or(0) / 100,
            "responsible_user_id": row.owner.unwrap_or(0),
            "group_id": 0,
            "status_id": number(&row.stage),
            "pipeline_id": number(&row.pipeline),
            "loss_reason_id": null,
            "created_by": row.owner.unwrap_or(0),
            "updated_by": row.owner.unwrap_or(0),
            "created_at": seconds(row.created_at_ms),
            "updated_at": seconds(row.updated_at_ms),
            "closed_at": if is_open { Value::Null } else { seconds(row.updated_at_ms).into() },
            "closest_task_at": null,
            "is_deleted": false,
            "score": null,
            "account_id": self.state.store.account_id,
            "labor_cost": null,
        })
    }

    fn person_or_company(&self, object: Object, row: &Row) -> Value {
        let mut shown = json!({
            "id": row.id,
            "name": row.shown_name(),
            "responsible_user_id": row.owner.unwrap_or(0),
            "group_id": 0,
            "created_by": row.owner.unwrap_or(0),
            "updated_by": row.owner.unwrap_or(0),
            "created_at": seconds(row.created_at_ms),
            "updated_at": seconds(row.updated_at_ms),
            "closest_task_at": null,
            "is_deleted": false,
            "account_id": self.state.store.account_id,
        });
        if object == Object::Contacts {
            shown["first_name"] = row.first_name.as_str().into();
            shown["last_name"] = row.last_name.as_str().into();
            shown["is_unsorted"] = false.into();
        }
        shown
    }

    /// Companies always, contacts and leads where they are asked for.
    fn embedded(&self, object: Object, row: &Row) -> Value {
        let store = &self.state.store;
        let list = |to: Object, has_main: bool| -> Vec<Value> {
            let linked = store.linked(object, row, to).into_iter().enumerate();
            let shown = linked.map(|(place, id)| {
                let href = format!("{}/api/v4/{}/{id}", self.call.base, entity(to));
                let mut shown = json!({"id": id, "_links": {"self": {"href": href}}});
                if has_main {
                    shown["is_main"] = (place == 0).into();
                }
                shown
            });
            shown.collect()
        };
        let mut embedded = json!({"tags": []});
        if object != Object::Companies {
            embedded["companies"] = list(Object::Companies, false).into();
        }
        if object != Object::Contacts && self.with.contains(&"contacts") {
            embedded["contacts"] = list(Object::Contacts, object == Object::Deals).into();
        }
        if object != Object::Deals && self.with.contains(&"leads") {
            embedded["leads"] = list(Object::Deals, false).into();
        }
        for other in ["catalog_elements", "loss_reason"] {
            if self.with.contains(&other) {
                embedded[other] = json!([]);
            }
        }
        embedded
    }

    fn fields(&self, object: Object, row: &Row) -> Value {
        let mut fields = Vec::new();
        if !row.job_title.is_empty() {
            fields.push(own((POSITION, "Position", "POSITION", "text"), vec![json!({"value": row.job_title})]));
        }
        if !row.phones.is_empty() {
            fields.push(own((PHONE, "Phone", "PHONE", "multitext"), several(&row.phones, PHONE)));
        }
        if !row.emails.is_empty() {
            fields.push(own((EMAIL, "Email", "EMAIL", "multitext"), several(&row.emails, EMAIL)));
        }
        if !row.website.is_empty() {
            fields.push(own((WEB, "Web", "WEB", "url"), vec![json!({"value": row.website})]));
        }
        let custom = self.state.store.custom_fields.iter().filter(|field| field.object == object);
        fields.extend(custom.filter_map(|field| Some(custom_field(field, row.custom.get(&field.key)?))));
        if fields.is_empty() { Value::Null } else { fields.into() }
    }
}

/// Ids are numbers here, also where they are kept as texts.
fn number(text: &str) -> Value {
    text.parse::<u64>().map_or(Value::Null, Value::from)
}

fn own((id, name, code, kind): (u64, &str, &str, &str), values: Vec<Value>) -> Value {
    document([
        ("field_id", id.into()),
        ("field_name", name.into()),
        ("field_code", code.into()),
        ("field_type", kind.into()),
        ("values", values.into()),
    ])
}

fn several(all: &[String], field: u64) -> Vec<Value> {
    const KINDS: [&str; 3] = ["WORK", "MOB", "OTHER"];
    let values = all.iter().enumerate().map(|(place, value)| {
        let place = place.min(KINDS.len() - 1);
        json!({"value": value, "enum_id": field * 10 + place as u64, "enum_code": KINDS[place]})
    });
    values.collect()
}

fn custom_field(field: &CustomField, value: &Value) -> Value {
    let id: u64 = field.key.parse().unwrap_or(0);
    let chosen = |value: &Value| {
        let place = field.options.iter().position(|option| value == option).unwrap_or(0);
        json!({"value": value, "enum_id": id * 100 + place as u64, "enum_code": null})
    };
    let (kind, values) = match field.kind {
        FieldKind::Text => ("text", vec![json!({"value": value})]),
        // Kommo gives numbers as texts, and dates as seconds.
        FieldKind::Number => ("numeric", vec![json!({"value": value.to_string()})]),
        FieldKind::Date => ("date", vec![json!({"value": date_to_seconds(value)})]),
        FieldKind::Flag => ("checkbox", vec![json!({"value": value})]),
        FieldKind::Choice => ("select", vec![chosen(value)]),
        FieldKind::Choices => ("multiselect", value.as_array().into_iter().flatten().map(chosen).collect()),
    };
    document([
        ("field_id", id.into()),
        ("field_name", field.name.as_str().into()),
        ("field_code", Value::Null),
        ("field_type", kind.into()),
        ("values", values.into()),
    ])
}

pub(super) fn note(state: &State, call: &Call<'_>, object: Object, row: &Row) -> Value {
    let about = row.links(object).first().copied().unwrap_or(0);
    json!({
        "id": row.id,
        "entity_id": about,
        "created_by": row.owner.unwrap_or(0),
        "updated_by": row.owner.unwrap_or(0),
        "created_at": seconds(row.created_at_ms),
        "updated_at": seconds(row.updated_at_ms),
        "responsible_user_id": row.owner.unwrap_or(0),
        "group_id": 0,
        "note_type": "common",
        "params": {"text": text_or_null(&row.text)},
        "account_id": state.store.account_id,
        "_links": {"self": {"href": format!("{}/api/v4/{}/notes/{}", call.base, entity(object), row.id)}},
    })
}
