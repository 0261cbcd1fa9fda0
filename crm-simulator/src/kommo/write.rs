//! Writes: single records, and up to 250 at once.

use serde_json::{Map, Value, json};

use super::render::{EMAIL, PHONE, POSITION, WEB};
use super::{entity, hal, not_valid, problem};
use crate::account::State;
use crate::exchange::Reply;
use crate::provider::Object;
use crate::rows::{CustomField, FieldKind};
use crate::serve::Call;
use crate::time::{date, seconds};

type Answer = Result<Reply, Reply>;

const MOST: usize = 250;

fn missing() -> Reply {
    problem(404, "Not Found", "Entity not found")
}

/// `PATCH /api/v4/{entity}/{id}`
pub(super) fn patch(state: &mut State, call: &Call<'_>, object: Object, id: &str) -> Answer {
    let id: u64 = id.parse().map_err(|_| missing())?;
    let body = call.request.json().ok_or_else(|| not_valid("", "The body is not JSON."))?;
    let shown = write(state, call, object, (id, &body))?;
    Ok(hal(shown))
}

/// `PATCH /api/v4/{entity}`
pub(super) fn patch_many(state: &mut State, call: &Call<'_>, object: Object) -> Answer {
    let body = call.request.json().ok_or_else(|| not_valid("", "The body is not JSON."))?;
    let given = body.as_array().filter(|given| !given.is_empty() && given.len() <= MOST);
    let given = given.ok_or_else(|| not_valid("", "The body must be a list of 1 to 250 entities."))?;
    let mut shown = Vec::new();
    for one in given {
        let id = one["id"].as_u64().ok_or_else(|| not_valid("id", "This field is missing."))?;
        shown.push(write(state, call, object, (id, one))?);
    }
    let links = json!({"self": {"href": format!("{}{}", call.base, call.request.path)}});
    Ok(hal(json!({"_links": links, "_embedded": {entity(object): shown}})))
}

fn write(state: &mut State, call: &Call<'_>, object: Object, (id, given): (u64, &Value)) -> Result<Value, Reply> {
    let fields = fields(&state.store.custom_fields, object, given)?;
    let updated = state.store.update(object, id, &fields, call.now_ms);
    updated.map_err(|error| not_valid("", &error.to_string()))?.ok_or_else(missing)?;
    state.counters.stats.writes += 1;
    let row = state.store.table(object).live(id).ok_or_else(missing)?;
    Ok(json!({
        "id": id,
        "name": row.shown_name(),
        "updated_at": seconds(row.updated_at_ms),
        "_links": {"self": {"href": format!("{}/api/v4/{}/{id}", call.base, entity(object))}},
    }))
}

/// `PATCH /api/v4/{entity}/notes/{id}`
pub(super) fn patch_note(state: &mut State, call: &Call<'_>, object: Object, id: &str) -> Answer {
    let id: u64 = id.parse().map_err(|_| missing())?;
    let body = call.request.json().ok_or_else(|| not_valid("", "The body is not JSON."))?;
    let about = state.store.table(Object::Notes).live(id).map(|row| row.links(object).to_vec()).unwrap_or_default();
    let about = about.first().copied().ok_or_else(missing)?;
    let text = body["params"]["text"].as_str().ok_or_else(|| not_valid("params", "This field is missing."))?;
    let mut fields = Map::new();
    fields.insert("text".to_owned(), text.into());
    let updated = state.store.update(Object::Notes, id, &fields, call.now_ms);
    updated.map_err(|error| not_valid("", &error.to_string()))?.ok_or_else(missing)?;
    state.counters.stats.writes += 1;
    let row = state.store.table(Object::Notes).live(id).ok_or_else(missing)?;
    Ok(hal(json!({"id": id, "entity_id": about, "updated_at": seconds(row.updated_at_ms)})))
}

/// The fields of the truth that a write sets.
fn fields(custom: &[CustomField], object: Object, given: &Value) -> Result<Map<String, Value>, Reply> {
    let given = given.as_object().ok_or_else(|| not_valid("", "This value should be an object."))?;
    let mut fields = Map::new();
    for (name, value) in given {
        let field = match (object, name.as_str()) {
            (_, "name") => "name",
            (Object::Contacts, "first_name" | "last_name") => name.as_str(),
            (Object::Deals, "price") => {
                if !value.is_u64() {
                    return Err(not_valid("price", "This value should be of type integer."));
                }
                "amount"
            }
            (Object::Deals, "status_id") => "stage",
            (Object::Deals, "pipeline_id") => "pipeline",
            (_, "responsible_user_id") => "owner",
            (_, "custom_fields_values") => {
                for (field, value) in custom_values(custom, object, value)? {
                    merge(&mut fields, field, value);
                }
                continue;
            }
            // Taken, and not simulated.
            (_, "id" | "updated_at" | "created_at" | "created_by" | "updated_by" | "closed_at" | "loss_reason_id") => {
                continue;
            }
            (_, "_embedded" | "request_id") => continue,
            _ => return Err(not_valid(name, "This field was not expected.")),
        };
        fields.insert(field.to_owned(), value.clone());
    }
    // A name that is given whole takes the place of its parts.
    if object == Object::Contacts
        && let Some(name) = fields.remove("name")
        && !fields.contains_key("first_name")
    {
        fields.insert("first_name".to_owned(), name);
        fields.insert("last_name".to_owned(), Value::Null);
    }
    Ok(fields)
}

fn merge(fields: &mut Map<String, Value>, field: String, value: Value) {
    match (fields.get_mut(&field), value) {
        (Some(Value::Object(all)), Value::Object(more)) => all.extend(more),
        (_, value) => {
            fields.insert(field, value);
        }
    }
}

fn custom_values(custom: &[CustomField], object: Object, given: &Value) -> Result<Vec<(String, Value)>, Reply> {
    let given = given.as_array().ok_or_else(|| not_valid("custom_fields_values", "This value should be a list."))?;
    let mut fields = Vec::new();
    for one in given {
        let id = one["field_id"].as_u64();
        let code = one["field_code"].as_str();
        let values = one["values"].as_array().cloned().unwrap_or_default();
        let mut texts = values.iter().map(|value| value["value"].clone());
        let own = [(PHONE, "PHONE", "phones"), (EMAIL, "EMAIL", "emails")];
        if let Some((.., field)) = own.iter().find(|(own, name, _)| id == Some(*own) || code == Some(name)) {
            fields.push(((*field).to_owned(), texts.collect()));
            continue;
        }
        let own = [(POSITION, "POSITION", "job_title"), (WEB, "WEB", "website")];
        if let Some((.., field)) = own.iter().find(|(own, name, _)| id == Some(*own) || code == Some(name)) {
            fields.push(((*field).to_owned(), texts.next().unwrap_or(Value::Null)));
            continue;
        }
        let known = custom
            .iter()
            .find(|field| field.object == object && Some(&field.key) == id.map(|id| id.to_string()).as_ref());
        let known = known.ok_or_else(|| not_valid("custom_fields_values.field_id", "This field does not exist."))?;
        let value = match known.kind {
            FieldKind::Choices => Value::from(texts.collect::<Vec<_>>()),
            FieldKind::Date => {
                texts.next().and_then(|at| Some(date(at.as_i64()? * 1000).into())).unwrap_or(Value::Null)
            }
            FieldKind::Number => texts
                .next()
                .and_then(|text| text.as_str().map_or(Some(text.clone()), |text| serde_json::from_str(text).ok()))
                .unwrap_or(Value::Null),
            _ => texts.next().unwrap_or(Value::Null),
        };
        fields.push(("custom".to_owned(), json!({known.key.clone(): value})));
    }
    Ok(fields)
}
