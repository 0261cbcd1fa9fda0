//! What may be submitted.

use axum::Json;
use axum::extract::State;

use crate::error::ApiError;
use crate::extract::Submitter;
use crate::state::AppState;
use crate::wire::{KindInfo, List};

/// List job kinds.
///
/// Each with its queue, its policy and the JSON Schema of its payload.
#[utoipa::path(
    get, path = "/v1/kinds", tag = "Jobs", operation_id = "listKinds",
    responses((status = 200, description = "Every kind, by name", body = List<KindInfo>)),
)]
pub(super) async fn list(State(state): State<AppState>, _caller: Submitter) -> Result<Json<List<KindInfo>>, ApiError> {
    Ok(Json(List { items: state.kinds().iter().map(KindInfo::from).collect(), next_cursor: None }))
}
