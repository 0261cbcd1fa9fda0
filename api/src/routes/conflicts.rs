//! Changes of ours that met changes of a CRM's, and wait for somebody to say which ones stay.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use chrono::Utc;
use millrace_shared::db::Cursor;
use millrace_shared::db::crm::conflicts;
use millrace_shared::ids::ConflictId;
use millrace_shared::intake;
use millrace_shared::jobs::{CrmPushRecord, FieldChange};
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;

use super::connections::submit;
use crate::error::ApiError;
use crate::extract::{self, Operator, Path, Query, Submitter, from_text};
use crate::state::AppState;
use crate::wire::{Conflict, Limit, List, Resolution, Side, page_request};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// `true`: those too that are resolved.
    #[serde(default)]
    resolved: bool,
    /// `next_cursor` of the page before.
    #[serde(default, deserialize_with = "from_text")]
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
    /// Rows on a page; 50 unless told otherwise.
    #[serde(default, deserialize_with = "from_text")]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    limit: Option<Limit>,
}

/// List conflicts.
///
/// Newest first. Those of connections whose `conflict_policy` is `manual`.
#[utoipa::path(
    get, path = "/v1/conflicts", tag = "CRM", operation_id = "listConflicts", params(ListParams),
    responses((status = 200, description = "A page", body = List<Conflict>)),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Query(params): Query<ListParams>,
) -> Result<Json<List<Conflict>>, ApiError> {
    let page = page_request(params.cursor, params.limit);
    let mut connection = state.database().acquire().await?;
    let found = conflicts::list(&mut connection, caller.org, params.resolved, &page).await?;
    Ok(Json(List::of(found, Conflict::from)))
}

/// Resolve a conflict.
///
/// With `local`, a job writes the change over what the conflict shows of the CRM. If that has changed again by then, it is another conflict.
#[utoipa::path(
    post, path = "/v1/conflicts/{id}/resolve", tag = "CRM", operation_id = "resolveConflict", request_body = Resolution,
    params(("id" = uuid::Uuid, Path, description = "The conflict")),
    responses(
        (status = 200, description = "The conflict", body = Conflict),
        (status = 404, description = "No such conflict"),
        (status = 409, description = "It was resolved before (`conflict_resolved`)"),
    ),
)]
pub(super) async fn resolve(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(id): Path<ConflictId>,
    extract::Json(body): extract::Json<Resolution>,
) -> Result<Json<Conflict>, ApiError> {
    let mut transaction = state.database().begin().await?;
    let Some(found) = conflicts::resolve(&mut transaction, caller.org, id, body.take.as_str()).await? else {
        let is_there = conflicts::exists(&mut transaction, caller.org, id).await?;
        return Err(if is_there { resolved_before() } else { ApiError::NotFound("conflict") });
    };
    let accepted = if body.take == Side::Local {
        let push = CrmPushRecord {
            record_id: found.record_id,
            fields: changes(&found.fields),
            made_at_ms: Utc::now().timestamp_millis(),
            policy: None,
        };
        submit(&state, &mut transaction, caller.org, &push).await?
    } else {
        Vec::new()
    };
    transaction.commit().await?;
    intake::publish(state.queues(), &accepted).await;
    Ok(Json(Conflict::from(found)))
}

/// What is still to be written: what somebody has seen in the CRM is what the change is made to now.
fn changes(fields: &Value) -> BTreeMap<String, FieldChange> {
    let all = fields.as_object().into_iter().flatten();
    let change = |sides: &Value| FieldChange { from: sides[1].clone(), to: sides[2].clone() };
    all.map(|(name, sides)| (name.clone(), change(sides))).collect()
}

fn resolved_before() -> ApiError {
    ApiError::Conflict { code: "conflict_resolved", detail: "somebody has said which side stays".to_owned() }
}
