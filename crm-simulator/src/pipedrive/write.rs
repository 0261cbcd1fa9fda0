//! Writes.

use serde_json::{Map, Value};

use super::{Answer, failure, not_valid, shown, success};
use crate::account::State;
use crate::exchange::Reply;
use crate::provider::Object;
use crate::serve::Call;

fn missing() -> Reply {
    failure(404, "Resource not found")
}

/// `PATCH /api/v2/{type}/{id}`
pub(super) fn patch(state: &mut State, call: &Call<'_>, object: Object, id: &str) -> Answer {
    let given = call.request.json().ok_or_else(|| not_valid("the body must be JSON"))?;
    let given = given.as_object().ok_or_else(|| not_valid("the body must be an object"))?;
    let mut fields = Map::new();
    for (name, value) in given {
        write_field(state, object, (name, value), &mut fields)?;
    }
    update(state, call, (object, id), &fields)
}

/// `PUT /v1/notes/{id}`
pub(super) fn put_note(state: &mut State, call: &Call<'_>, id: &str) -> Answer {
    let given = call.request.json().ok_or_else(|| failure(400, "the body must be JSON"))?;
    let content = given["content"].as_str().ok_or_else(|| failure(400, "content must be a text"))?;
    let fields = [("text".to_owned(), content.into())].into_iter().collect();
    update(state, call, (Object::Notes, id), &fields)
}

fn update(state: &mut State, call: &Call<'_>, (object, id): (Object, &str), fields: &Map<String, Value>) -> Answer {
    let id: u64 = id.parse().map_err(|_| missing())?;
    let updated = state.store.update(object, id, fields, call.now_ms);
    updated.map_err(|error| not_valid(&error.to_string()))?.ok_or_else(missing)?;
    state.counters.stats.writes += 1;
    let row = state.store.table(object).live(id).ok_or_else(missing)?;
    Ok(success(shown(&state.store, object, row), Value::Null))
}

fn write_field(
    state: &State,
    object: Object,
    (name, value): (&String, &Value),
    fields: &mut Map<String, Value>,
) -> Result<(), Reply> {
    let field: &str = match (object, name.as_str()) {
        (Object::Contacts, "name") => {
            let name = value.as_str().ok_or_else(|| not_valid("name must be a text"))?;
            let (first, last) = name.split_once(' ').unwrap_or((name, ""));
            fields.insert("first_name".to_owned(), first.into());
            fields.insert("last_name".to_owned(), last.into());
            return Ok(());
        }
        (Object::Contacts, "first_name" | "last_name") => name,
        (Object::Contacts, "emails" | "phones") => {
            let values = value.as_array().ok_or_else(|| not_valid(&format!("{name} must be a list")))?;
            fields.insert(name.clone(), values.iter().map(|one| one["value"].clone()).collect());
            return Ok(());
        }
        (Object::Companies, "name") | (Object::Deals, "title") => "name",
        (Object::Deals, "value") => "amount",
        (Object::Deals, "currency" | "status") => name,
        (Object::Deals, "stage_id") => "stage",
        (Object::Deals, "pipeline_id") => "pipeline",
        (Object::Deals, "person_id") => "contacts",
        (Object::Deals | Object::Contacts, "org_id") => "companies",
        (_, "owner_id") => "owner",
        (_, "custom_fields") => {
            let given = value.as_object().ok_or_else(|| not_valid("custom_fields must be an object"))?;
            let is_known = |key: &String| {
                state.store.custom_fields.iter().any(|field| field.object == object && field.key == *key)
            };
            if let Some(unknown) = given.keys().find(|key| !is_known(key)) {
                return Err(not_valid(&format!("custom_fields.{unknown} is not allowed")));
            }
            "custom"
        }
        _ => return Err(not_valid(&format!("{name} is not allowed"))),
    };
    fields.insert(field.to_owned(), value.clone());
    Ok(())
}
