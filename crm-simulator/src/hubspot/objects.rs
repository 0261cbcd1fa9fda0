//! Lists, single records and batches.

use serde_json::{Map, Value, json};

use super::{Answer, associations, body, invalid, kind, limit_of, not_found, properties, truth_of};
use crate::account::State;
use crate::exchange::{Reply, Request, document};
use crate::provider::Object;
use crate::rows::Row;
use crate::serve::Call;

const PAGE: usize = 10;
const MOST: usize = 100;

/// `GET /crm/v3/objects/{type}`: by id, ascending. The cursor is the id at which the next page begins.
pub(super) fn list(state: &mut State, call: &Call<'_>, object: Object) -> Answer {
    let request = call.request;
    let limit = limit_of(request, PAGE, MOST)?;
    let is_archived = truth_of(request, "archived")?;
    let from: u64 = match request.parameter("after") {
        None => 0,
        Some(after) => after.parse().map_err(|_| invalid(&format!("invalid paging cursor {after}")))?,
    };
    let to: Vec<Object> = request.list("associations").into_iter().map(kind).collect::<Result<_, _>>()?;
    let table = state.store.table(object);
    let archived;
    let ids = if is_archived {
        archived = table.deleted_ids();
        archived.as_slice()
    } else {
        table.live_ids()
    };
    let first = ids.partition_point(|id| *id < from);
    let end = (first + limit).min(ids.len());
    let (page, next) = (ids[first..end].to_vec(), ids.get(end).copied());

    let asked = request.list("properties");
    let rows = page.iter().filter_map(|id| table.get(*id));
    let results: Vec<Value> = rows.map(|row| with_associations(state, object, row, (&asked, &to))).collect();
    let mut shown = document([("results", results.into())]);
    if let Some(next) = next {
        let link = format!("{}{}?after={next}&limit={limit}", call.base, request.path);
        shown["paging"] = json!({"next": {"after": next.to_string(), "link": link}});
    }
    state.served(object, &page);
    Ok(Reply::json(200, shown))
}

fn with_associations(state: &State, object: Object, row: &Row, (asked, to): (&[&str], &[Object])) -> Value {
    let mut shown = properties::shown(&state.store, object, row, asked);
    let mut found = Map::new();
    for other in to {
        if let Some(linked) = associations::v3(&state.store, object, row, *other) {
            found.insert(other.name().to_owned(), linked);
        }
    }
    if !found.is_empty() {
        shown["associations"] = found.into();
    }
    shown
}

/// `GET /crm/v3/objects/{type}/{id}`
pub(super) fn get(state: &mut State, request: &Request, object: Object, id: &str) -> Answer {
    let is_archived = truth_of(request, "archived")?;
    let to: Vec<Object> = request.list("associations").into_iter().map(kind).collect::<Result<_, _>>()?;
    let row = find(state, object, id, is_archived).ok_or_else(not_found)?;
    Ok(Reply::json(200, with_associations(state, object, row, (&request.list("properties"), &to))))
}

fn find<'a>(state: &'a State, object: Object, id: &str, is_archived: bool) -> Option<&'a Row> {
    state.store.table(object).get(id.parse().ok()?).filter(|row| row.is_live() != is_archived)
}

/// `PATCH /crm/v3/objects/{type}/{id}`
pub(super) fn patch(state: &mut State, call: &Call<'_>, object: Object, id: &str) -> Answer {
    let given = body(call.request)?;
    let given = given["properties"].as_object().ok_or_else(|| invalid("Invalid input JSON: properties are missing"))?;
    let row = find(state, object, id, false).ok_or_else(not_found)?;
    let (id, fields) = (row.id, properties::fields(state, object, row, given)?);
    let updated = state.store.update(object, id, &fields, call.now_ms).map_err(|error| invalid(&error.to_string()))?;
    updated.ok_or_else(not_found)?;
    state.counters.stats.writes += 1;
    let row = state.store.table(object).get(id).ok_or_else(not_found)?;
    let asked: Vec<&str> = given.keys().map(String::as_str).collect();
    Ok(Reply::json(200, properties::shown(&state.store, object, row, &asked)))
}

/// `POST /crm/v3/objects/{type}/batch/read`: 207 with errors where some are missing.
pub(super) fn batch_read(state: &mut State, request: &Request, object: Object) -> Answer {
    let given = body(request)?;
    let inputs = given["inputs"].as_array().ok_or_else(|| invalid("Invalid input JSON: inputs are missing"))?;
    if inputs.is_empty() || inputs.len() > MOST {
        return Err(invalid(&format!("The number of inputs must be between 1 and {MOST}")));
    }
    let is_archived = truth_of(request, "archived")?;
    let asked: Vec<&str> = given["properties"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let (mut results, mut missing, mut served) = (Vec::new(), Vec::new(), Vec::new());
    for input in inputs {
        let id = input["id"].as_str().ok_or_else(|| invalid("Invalid input JSON: an input has no id"))?;
        match find(state, object, id, is_archived) {
            // Each once, however often it was asked for.
            Some(row) if served.contains(&row.id) => {}
            Some(row) => {
                served.push(row.id);
                results.push(properties::shown(&state.store, object, row, &asked));
            }
            None => missing.push(id),
        }
    }
    state.served(object, &served);
    let at = Value::from(crate::time::iso_ms(0));
    let mut shown = document([
        ("status", "COMPLETE".into()),
        ("results", results.into()),
        ("startedAt", at.clone()),
        ("completedAt", at),
    ]);
    if missing.is_empty() {
        return Ok(Reply::json(200, shown));
    }
    shown["numErrors"] = 1.into();
    shown["errors"] = json!([{
        "status": "error",
        "category": "OBJECT_NOT_FOUND",
        "message": "Could not get some objects, they may be deleted or not exist. Check that ids are valid.",
        "context": {"ids": missing},
    }]);
    Ok(Reply::json(207, shown))
}
