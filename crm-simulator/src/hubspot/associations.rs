//! What is associated with what, in both shapes that the vendor has for it.

use serde_json::{Value, json};

use super::{Answer, body, invalid};
use crate::account::State;
use crate::exchange::{Reply, Request, document};
use crate::provider::Object;
use crate::rows::{Row, Store};

const MOST: usize = 1000;

fn singular(object: Object) -> &'static str {
    match object {
        Object::Contacts => "contact",
        Object::Companies => "company",
        Object::Deals => "deal",
        _ => "note",
    }
}

/// The numbers by which the vendor knows its own kinds of association.
fn type_id(from: Object, to: Object) -> u64 {
    match (from, to) {
        (Object::Contacts, Object::Companies) => 1,
        (Object::Companies, Object::Contacts) => 2,
        (Object::Deals, Object::Contacts) => 3,
        (Object::Contacts, Object::Deals) => 4,
        (Object::Deals, Object::Companies) => 5,
        (Object::Companies, Object::Deals) => 6,
        (Object::Contacts, Object::Notes) => 201,
        (Object::Notes, Object::Contacts) => 202,
        (Object::Companies, Object::Notes) => 189,
        (Object::Notes, Object::Companies) => 190,
        (Object::Deals, Object::Notes) => 213,
        (Object::Notes, Object::Deals) => 214,
        _ => 449,
    }
}

/// As records carry them when they are asked to; `None` where there are none.
pub(super) fn v3(store: &Store, object: Object, row: &Row, to: Object) -> Option<Value> {
    let name = format!("{}_to_{}", singular(object), singular(to));
    let linked = store.linked(object, row, to);
    let results: Vec<Value> = linked.iter().map(|id| json!({"id": id.to_string(), "type": name})).collect();
    (!results.is_empty()).then(|| json!({"results": results}))
}

/// `POST /crm/v4/associations/{from}/{to}/batch/read`: 207 with errors for those that have none.
pub(super) fn batch_read(state: &mut State, request: &Request, from: Object, to: Object) -> Answer {
    let given = body(request)?;
    let inputs = given["inputs"].as_array().ok_or_else(|| invalid("Invalid input JSON: inputs are missing"))?;
    if inputs.is_empty() || inputs.len() > MOST {
        return Err(invalid(&format!("The number of inputs must be between 1 and {MOST}")));
    }
    let (mut results, mut errors) = (Vec::new(), Vec::new());
    for input in inputs {
        let id = input["id"].as_str().ok_or_else(|| invalid("Invalid input JSON: an input has no id"))?;
        let row = id.parse().ok().and_then(|id| state.store.table(from).live(id));
        let linked = row.map(|row| state.store.linked(from, row, to)).unwrap_or_default();
        if linked.is_empty() {
            errors.push(none_found(id, (from, to)));
            continue;
        }
        let kinds = json!([{"category": "HUBSPOT_DEFINED", "typeId": type_id(from, to), "label": null}]);
        let to: Vec<Value> = linked.iter().map(|id| json!({"toObjectId": id, "associationTypes": kinds})).collect();
        results.push(json!({"from": {"id": id}, "to": to}));
    }
    let at = Value::from(crate::time::iso_ms(0));
    let mut shown = document([
        ("status", "COMPLETE".into()),
        ("results", results.into()),
        ("startedAt", at.clone()),
        ("completedAt", at),
    ]);
    if errors.is_empty() {
        return Ok(Reply::json(200, shown));
    }
    shown["numErrors"] = errors.len().into();
    shown["errors"] = errors.into();
    Ok(Reply::json(207, shown))
}

fn none_found(id: &str, (from, to): (Object, Object)) -> Value {
    json!({
        "status": "error",
        "category": "OBJECT_NOT_FOUND",
        "subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND",
        "message": format!("No {} is associated with {} {id}.", singular(to), singular(from)),
        "context": {"fromObjectId": [id], "fromObjectType": [singular(from)], "toObjectType": [singular(to)]},
    })
}
