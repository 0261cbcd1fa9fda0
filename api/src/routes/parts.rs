//! What a document holds of others.

use axum::Json;
use axum::extract::State;
use millrace_shared::db::asset_parts;
use millrace_shared::ids::AssetId;
use serde::Deserialize;
use utoipa::IntoParams;

use super::chunks::{ChunkCursor, must_be_ready};
use crate::error::ApiError;
use crate::extract::{Path, Query, Submitter, from_text};
use crate::state::AppState;
use crate::wire::{AssetPart, Limit, List};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// `next_cursor` of the page before.
    #[serde(default, deserialize_with = "from_text")]
    #[param(value_type = Option<String>)]
    cursor: Option<ChunkCursor>,
    /// Parts on a page; 50 unless told otherwise.
    #[serde(default, deserialize_with = "from_text")]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    limit: Option<Limit>,
}

/// List what a document holds.
///
/// The attachments of a mail or the members of an archive, in their order. Each that can be read is an asset of its own; of the others it says
/// why there is none.
#[utoipa::path(
    get, path = "/v1/assets/{id}/parts", tag = "Assets", operation_id = "listAssetParts",
    params(("id" = uuid::Uuid, Path, description = "The document"), ListParams),
    responses(
        (status = 200, description = "Some parts", body = List<AssetPart>),
        (status = 404, description = "No such asset"),
        (status = 409, description = "It is not ready (`asset_pending`, `asset_failed`)"),
    ),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Path(id): Path<AssetId>,
    Query(params): Query<ListParams>,
) -> Result<Json<List<AssetPart>>, ApiError> {
    let limit = usize::from(Limit::get(params.limit));
    let mut connection = state.database().acquire().await?;
    must_be_ready(&mut connection, caller.org, id).await?;
    let after = params.cursor.map(|cursor| cursor.0);
    // One more than asked for tells whether there is a next page.
    let fetch = i64::from(Limit::get(params.limit)) + 1;
    let mut parts = asset_parts::list(&mut connection, caller.org, id, after, fetch).await?;
    let more = parts.len() > limit;
    parts.truncate(limit);
    let next_cursor = parts.last().filter(|_| more).map(|part| ChunkCursor(part.ordinal).to_string());
    Ok(Json(List { items: parts.into_iter().map(AssetPart::from).collect(), next_cursor }))
}
