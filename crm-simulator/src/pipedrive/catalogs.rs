//! What there is little of: users, pipelines, stages and fields.

use serde_json::{Value, json};

use super::{Answer, failure, success};
use crate::account::State;
use crate::provider::Object;
use crate::rows::{FieldKind, Row};
use crate::serve::Call;
use crate::time::plain;

const BEGINNING: &str = "2020-01-01T00:00:00Z";

/// `GET /api/v2/pipelines`
pub(super) fn pipelines(state: &State, _call: &Call<'_>) -> Answer {
    let all = state.store.pipelines.iter().enumerate().map(|(place, pipeline)| {
        json!({
            "id": pipeline.id.parse::<u64>().ok(),
            "name": pipeline.name,
            "order_nr": place + 1,
            "is_deleted": false,
            "is_deal_probability_enabled": true,
            "add_time": BEGINNING,
            "update_time": BEGINNING,
        })
    });
    Ok(success(all.collect(), json!({"next_cursor": null})))
}

/// `GET /api/v2/stages`
pub(super) fn stages(state: &State, call: &Call<'_>) -> Answer {
    let wanted = call.request.parameter("pipeline_id");
    let pipelines = state.store.pipelines.iter().filter(|pipeline| wanted.is_none_or(|id| id == pipeline.id));
    let all = pipelines.flat_map(|pipeline| {
        pipeline.stages.iter().enumerate().map(|(place, stage)| {
            json!({
                "id": stage.id.parse::<u64>().ok(),
                "name": stage.name,
                "order_nr": place + 1,
                "is_deleted": false,
                "deal_probability": 100,
                "pipeline_id": pipeline.id.parse::<u64>().ok(),
                "is_deal_rot_enabled": false,
                "days_to_rotten": null,
                "add_time": BEGINNING,
                "update_time": BEGINNING,
            })
        })
    });
    Ok(success(all.collect(), json!({"next_cursor": null})))
}

fn user(row: &Row) -> Value {
    json!({
        "id": row.id,
        "name": row.shown_name(),
        "email": row.emails.first(),
        "active_flag": row.is_live(),
        "is_deleted": false,
        "is_admin": 0,
        "lang": 1,
        "created": plain(row.created_at_ms),
        "modified": plain(row.updated_at_ms),
        "timezone_name": "Europe/Berlin",
    })
}

/// `GET /v1/users`: all of them, those who are active no more too.
pub(super) fn users(state: &State) -> Answer {
    let table = state.store.table(Object::Owners);
    let mut ids = [table.live_ids(), &table.deleted_ids()].concat();
    ids.sort_unstable();
    let all = ids.iter().filter_map(|id| table.get(*id)).map(user);
    Ok(success(all.collect(), Value::Null))
}

/// `GET /v1/users/me`
pub(super) fn me(state: &State) -> Answer {
    let table = state.store.table(Object::Owners);
    let first = table.live_ids().first().and_then(|id| table.get(*id)).cloned().unwrap_or_default();
    let mut me = user(&first);
    me["company_id"] = state.store.account_id.into();
    me["company_name"] = format!("Account of {}", state.name).into();
    me["company_domain"] = state.name.as_str().into();
    me["company_country"] = "DE".into();
    Ok(success(me, Value::Null))
}

/// `GET /v1/dealFields` and the like
pub(super) fn fields(state: &State, name: &str) -> Answer {
    let object = match name {
        "dealFields" => Object::Deals,
        "personFields" => Object::Contacts,
        "organizationFields" => Object::Companies,
        _ => return Err(failure(404, "Unknown method")),
    };
    let all = state.store.custom_fields.iter().filter(|field| field.object == object).enumerate();
    let all = all.map(|(place, field)| {
        let kind = match field.kind {
            FieldKind::Text => "varchar",
            FieldKind::Number => "double",
            FieldKind::Date => "date",
            FieldKind::Flag => "boolean",
            FieldKind::Choice => "enum",
            FieldKind::Choices => "set",
        };
        let options: Vec<Value> =
            field.options.iter().enumerate().map(|(at, label)| json!({"id": at + 1, "label": label})).collect();
        json!({
            "id": 12_500 + place,
            "key": field.key,
            "name": field.name,
            "field_type": kind,
            "options": if options.is_empty() { Value::Null } else { options.into() },
            "edit_flag": true,
            "active_flag": true,
        })
    });
    let all: Vec<Value> = all.collect();
    let pagination = json!({"start": 0, "limit": 100, "more_items_in_collection": false});
    Ok(success(all.into(), json!({"pagination": pagination})))
}
