//! What there is little of: the account, its owners, pipelines and properties.

use serde_json::{Value, json};

use super::{Answer, invalid, limit_of, properties, truth_of};
use crate::account::State;
use crate::exchange::{Reply, Request};
use crate::provider::Object;
use crate::rows::{FieldKind, Outcome, Row, Stage};
use crate::time::iso_ms;

/// `GET /account-info/v3/details`
pub(super) fn account(state: &State) -> Reply {
    Reply::json(
        200,
        json!({
            "portalId": state.store.account_id,
            "accountType": "STANDARD",
            "timeZone": "Europe/Berlin",
            "companyCurrency": "EUR",
            "additionalCurrencies": ["USD", "UAH", "JPY"],
            "utcOffset": "+01:00",
            "utcOffsetMilliseconds": 3_600_000,
            "uiDomain": "app.hubspot.com",
            "dataHostingLocation": "eu1",
        }),
    )
}

/// `GET /crm/v3/owners`
pub(super) fn owners(state: &State, request: &Request) -> Answer {
    let limit = limit_of(request, 100, 500)?;
    let is_archived = truth_of(request, "archived")?;
    let from: u64 = match request.parameter("after") {
        None => 0,
        Some(after) => after.parse().map_err(|_| invalid(&format!("invalid paging cursor {after}")))?,
    };
    let table = state.store.table(Object::Owners);
    let ids = if is_archived { table.deleted_ids() } else { table.live_ids().to_vec() };
    let mut ids = ids.into_iter().filter(|id| *id >= from);
    let page: Vec<Value> = ids.by_ref().take(limit).filter_map(|id| table.get(id)).map(owner).collect();
    let mut shown = json!({"results": page});
    if let Some(next) = ids.next() {
        shown["paging"] = json!({"next": {"after": next.to_string()}});
    }
    Ok(Reply::json(200, shown))
}

fn owner(row: &Row) -> Value {
    json!({
        "id": row.id.to_string(),
        "email": row.emails.first(),
        "type": "PERSON",
        "firstName": row.first_name,
        "lastName": row.last_name,
        "userId": row.id + 1_000_000,
        "userIdIncludingInactive": row.id + 1_000_000,
        "createdAt": iso_ms(row.created_at_ms),
        "updatedAt": iso_ms(row.updated_at_ms),
        "archived": !row.is_live(),
    })
}

/// `GET /crm/v3/pipelines/deals`
pub(super) fn pipelines(state: &State) -> Reply {
    let all = state.store.pipelines.iter().enumerate().map(|(order, pipeline)| {
        let stages: Vec<Value> = pipeline.stages.iter().enumerate().map(stage).collect();
        json!({
            "id": pipeline.id,
            "label": pipeline.name,
            "displayOrder": order,
            "stages": stages,
            "createdAt": iso_ms(0),
            "updatedAt": iso_ms(0),
            "archived": false,
        })
    });
    Reply::json(200, json!({"results": all.collect::<Vec<_>>()}))
}

fn stage((order, stage): (usize, &Stage)) -> Value {
    let probability = match stage.outcome {
        Outcome::Open => "0.4",
        Outcome::Won => "1.0",
        Outcome::Lost => "0.0",
    };
    json!({
        "id": stage.id,
        "label": stage.name,
        "displayOrder": order,
        "metadata": {"isClosed": (stage.outcome != Outcome::Open).to_string(), "probability": probability},
        "writePermissions": "CRM_PERMISSIONS_ENFORCEMENT",
        "createdAt": iso_ms(0),
        "updatedAt": iso_ms(0),
        "archived": false,
    })
}

/// `GET /crm/v3/properties/{type}`
pub(super) fn properties(state: &State, object: Object) -> Answer {
    let own = properties::names(object).iter().chain(properties::always(object)).map(|name| {
        json!({"name": name, "label": name, "type": "string", "fieldType": "text", "options": [], "hubspotDefined": true})
    });
    let custom = state.store.custom_fields.iter().filter(|field| field.object == object).map(|field| {
        let (kind, input) = match field.kind {
            FieldKind::Text => ("string", "text"),
            FieldKind::Number => ("number", "number"),
            FieldKind::Date => ("date", "date"),
            FieldKind::Flag => ("bool", "booleancheckbox"),
            FieldKind::Choice => ("enumeration", "select"),
            FieldKind::Choices => ("enumeration", "checkbox"),
        };
        let options: Vec<Value> =
            field.options.iter().map(|option| json!({"label": option, "value": option, "hidden": false})).collect();
        json!({
            "name": field.key,
            "label": field.name,
            "type": kind,
            "fieldType": input,
            "options": options,
            "hubspotDefined": false,
        })
    });
    Ok(Reply::json(200, json!({"results": own.chain(custom).collect::<Vec<_>>()})))
}
