//! What there is little of: the account, its users, pipelines and custom fields.

use serde_json::{Value, json};

use super::lists::{Paging, document};
use super::{entity, hal};
use crate::account::State;
use crate::exchange::Reply;
use crate::provider::Object;
use crate::rows::{FieldKind, Outcome, Pipeline, Row, Stage};
use crate::serve::Call;

type Answer = Result<Reply, Reply>;

/// `GET /api/v4/account`
pub(super) fn account(state: &State, call: &Call<'_>) -> Answer {
    Ok(hal(json!({
        "id": state.store.account_id,
        "name": format!("Account of {}", state.name),
        "subdomain": state.name,
        "created_at": 1_580_000_000,
        "created_by": 0,
        "updated_at": 1_700_000_000,
        "updated_by": 0,
        "current_user_id": state.store.table(Object::Owners).live_ids().first().copied().unwrap_or(0),
        "country": "DE",
        "currency": "EUR",
        "currency_symbol": "€",
        "customers_mode": "disabled",
        "is_unsorted_on": true,
        "mobile_feature_version": 0,
        "is_loss_reason_enabled": true,
        "is_helpbot_enabled": false,
        "is_technical_account": false,
        "contact_name_display_order": 1,
        "_links": {"self": {"href": format!("{}/api/v4/account", call.base)}},
    })))
}

fn shown_user(call: &Call<'_>, row: &Row) -> Value {
    json!({
        "id": row.id,
        "name": row.shown_name(),
        "email": row.emails.first(),
        "lang": "en",
        "rights": {"is_admin": false, "is_free": false, "is_active": true, "group_id": null, "role_id": null},
        "_links": {"self": {"href": format!("{}/api/v4/users/{}", call.base, row.id)}},
    })
}

/// `GET /api/v4/users`
pub(super) fn users(state: &State, call: &Call<'_>) -> Answer {
    let paging = Paging::of(state, call.request)?;
    let table = state.store.table(Object::Owners);
    let ids = table.live_ids();
    let page = ids.iter().skip(paging.skipped()).take(paging.limit);
    let shown: Vec<Value> = page.filter_map(|id| table.get(*id)).map(|row| shown_user(call, row)).collect();
    let has_more = ids.len() > paging.skipped() + paging.limit;
    Ok(document(call, &paging, ("users", shown), has_more))
}

/// `GET /api/v4/users/{id}`
pub(super) fn user(state: &State, call: &Call<'_>, id: &str) -> Answer {
    let row = id.parse().ok().and_then(|id| state.store.table(Object::Owners).live(id));
    Ok(row.map_or_else(|| Reply::empty(204), |row| hal(shown_user(call, row))))
}

/// `GET /api/v4/leads/pipelines`
pub(super) fn pipelines(state: &State, call: &Call<'_>) -> Answer {
    let all = state.store.pipelines.iter().enumerate();
    let shown: Vec<Value> = all.map(|(place, pipeline)| shown_pipeline(state, call, (place, pipeline))).collect();
    Ok(hal(json!({
        "_total_items": shown.len(),
        "_links": {"self": {"href": format!("{}/api/v4/leads/pipelines", call.base)}},
        "_embedded": {"pipelines": shown},
    })))
}

fn shown_pipeline(state: &State, call: &Call<'_>, (place, pipeline): (usize, &Pipeline)) -> Value {
    let id: u64 = pipeline.id.parse().unwrap_or(0);
    let href = format!("{}/api/v4/leads/pipelines/{id}", call.base);
    let status = |(place, stage): (usize, &Stage)| {
        let status: u64 = stage.id.parse().unwrap_or(0);
        json!({
            "id": status,
            "name": stage.name,
            "sort": if stage.outcome == Outcome::Open { (place + 1) * 10 } else { 10_000 + place * 10 },
            "is_editable": stage.outcome == Outcome::Open,
            "pipeline_id": id,
            "color": "#fffeb2",
            "type": 0,
            "account_id": state.store.account_id,
            "_links": {"self": {"href": format!("{href}/statuses/{status}")}},
        })
    };
    let statuses: Vec<Value> = pipeline.stages.iter().enumerate().map(status).collect();
    json!({
        "id": id,
        "name": pipeline.name,
        "sort": place + 1,
        "is_main": place == 0,
        "is_unsorted_on": true,
        "is_archive": false,
        "account_id": state.store.account_id,
        "_links": {"self": {"href": href}},
        "_embedded": {"statuses": statuses},
    })
}

/// `GET /api/v4/{entity}/custom_fields`
pub(super) fn custom_fields(state: &State, call: &Call<'_>, object: Object) -> Answer {
    let paging = Paging::of(state, call.request)?;
    let fields: Vec<_> = state.store.custom_fields.iter().filter(|field| field.object == object).collect();
    let has_more = fields.len() > paging.skipped() + paging.limit;
    let page = fields.into_iter().skip(paging.skipped()).take(paging.limit);
    let shown = page.map(|field| {
        let id: u64 = field.key.parse().unwrap_or(0);
        let kind = match field.kind {
            FieldKind::Text => "text",
            FieldKind::Number => "numeric",
            FieldKind::Date => "date",
            FieldKind::Flag => "checkbox",
            FieldKind::Choice => "select",
            FieldKind::Choices => "multiselect",
        };
        let options = field.options.iter().enumerate();
        let enums: Vec<Value> = options
            .map(|(place, option)| json!({"id": id * 100 + place as u64, "value": option, "sort": place}))
            .collect();
        json!({
            "id": id,
            "name": field.name,
            "type": kind,
            "code": null,
            "sort": id % 100,
            "enums": if enums.is_empty() { Value::Null } else { enums.into() },
            "entity_type": entity(object),
        })
    });
    let shown = shown.collect();
    Ok(document(call, &paging, ("custom_fields", shown), has_more))
}
