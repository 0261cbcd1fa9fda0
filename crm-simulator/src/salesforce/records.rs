//! Single records and descriptions of types.

use serde_json::{Map, Value, json};

use super::schema::{self, Type};
use super::{Answer, error, query};
use crate::account::State;
use crate::exchange::Reply;
use crate::provider::{Object, Provider};
use crate::rows::{Row, read_id};
use crate::serve::Call;

fn missing() -> Reply {
    error(404, "NOT_FOUND", "The requested resource does not exist")
}

fn object(name: &str) -> Result<Object, Reply> {
    match Type::parse(name) {
        Some(Type::Records(object)) => Ok(object),
        _ => Err(missing()),
    }
}

fn find<'a>(state: &'a State, object: Object, id: &str) -> Result<&'a Row, Reply> {
    let id = read_id(Provider::Salesforce, object, id)
        .ok_or_else(|| error(404, "NOT_FOUND", "Provided external ID field does not exist or is not accessible"))?;
    let row = state.store.table(object).get(id).ok_or_else(missing)?;
    if row.is_live() || object == Object::Owners {
        return Ok(row);
    }
    Err(error(404, "ENTITY_IS_DELETED", "entity is deleted"))
}

/// `GET /services/data/vXX.X/sobjects/{Type}/{id}`
pub(super) fn get(state: &State, call: &Call<'_>, (name, id): (&str, &str)) -> Answer {
    let object = object(name)?;
    let of = Type::Records(object);
    let row = find(state, object, id)?;
    let asked = call.request.list("fields");
    let fields: Vec<String> = if asked.is_empty() {
        let described = schema::described(&state.store, of);
        described.iter().filter_map(|field| field["name"].as_str().map(str::to_owned)).collect()
    } else {
        let unknown =
            |name: &str| error(400, "INVALID_FIELD", &format!("No such column '{name}' on entity '{}'.", of.name()));
        let named = asked.into_iter().map(|name| of.field(&state.store, name).ok_or_else(|| unknown(name)));
        named.collect::<Result<_, _>>()?
    };
    let values = fields.into_iter().map(|field| {
        let value = schema::value(&state.store, object, row, &field).shown(&state.store);
        (field, value)
    });
    let mut shown: Map<String, Value> = values.collect();
    let version = query::version(&call.request.path);
    let id = state.store.id(object, row.id);
    let url = format!("/services/data/{version}/sobjects/{}/{id}", of.name());
    shown.insert("Id".to_owned(), id.into());
    shown.insert("attributes".to_owned(), json!({"type": of.name(), "url": url}));
    Ok(Reply::json(200, shown.into()))
}

/// `PATCH /services/data/vXX.X/sobjects/{Type}/{id}`: 204.
pub(super) fn patch(state: &mut State, call: &Call<'_>, (name, id): (&str, &str)) -> Answer {
    let object = object(name)?;
    let row = find(state, object, id)?.clone();
    let given =
        call.request.json().ok_or_else(|| error(400, "JSON_PARSER_ERROR", "The HTTP entity body is not JSON"))?;
    let given =
        given.as_object().ok_or_else(|| error(400, "JSON_PARSER_ERROR", "The HTTP entity body is no object"))?;
    let fields = fields(state, object, &row, given)?;
    let updated = state.store.update(object, row.id, &fields, call.now_ms);
    updated.map_err(|problem| error(400, "INVALID_TYPE_ON_FIELD_IN_RECORD", &problem.to_string()))?;
    state.counters.stats.writes += 1;
    Ok(Reply::empty(204))
}

fn fields(state: &State, object: Object, row: &Row, given: &Map<String, Value>) -> Result<Map<String, Value>, Reply> {
    let of = Type::Records(object);
    let (mut fields, mut custom) = (Map::new(), Map::new());
    let (mut emails, mut phones) = (row.emails.clone(), row.phones.clone());
    for (name, value) in given {
        let name = of.field(&state.store, name).ok_or_else(|| {
            error(400, "INVALID_FIELD", &format!("No such column '{name}' on sobject of type {}", of.name()))
        })?;
        let text = value.as_str().unwrap_or_default();
        let known = state.store.custom_fields.iter().find(|field| field.object == object && field.key == name);
        match (name.as_str(), schema::written(object, &name), known) {
            ("Email", ..) => put(&mut emails, 0, text),
            ("Phone", ..) => put(&mut phones, 0, text),
            ("MobilePhone", ..) => put(&mut phones, 1, text),
            ("HomePhone", ..) => put(&mut phones, 2, text),
            (_, Some(field), _) => {
                fields.insert(field.to_owned(), value.clone());
            }
            (_, _, Some(field)) => {
                custom.insert(name, schema::custom_value(field.kind, value));
            }
            _ => {
                let message =
                    format!("Unable to create/update fields: {name}. Please check the security settings of this field");
                return Err(error(400, "INVALID_FIELD_FOR_INSERT_UPDATE", &message));
            }
        }
    }
    emails.retain(|email| !email.is_empty());
    phones.retain(|phone| !phone.is_empty());
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

/// `GET /services/data/vXX.X/sobjects/{Type}/describe`
pub(super) fn describe(state: &State, name: &str) -> Answer {
    let of = Type::parse(name).ok_or_else(missing)?;
    Ok(Reply::json(200, json!({"name": of.name(), "label": of.name(), "fields": schema::described(&state.store, of)})))
}
