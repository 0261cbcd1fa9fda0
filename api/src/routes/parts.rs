//! What a document holds of others.

use axum::Json;
use axum::extract::State;
use millrace_shared::db::asset_parts::{self, StoredPart};
use millrace_shared::ids::AssetId;

use super::chunks::{ChunkCursor, TRIES, ready, replaced};
use crate::error::ApiError;
use crate::extract::{Path, Query, Submitter};
use crate::state::AppState;
use crate::wire::{AssetPart, Limit, List, PageParams};

/// List what a document holds.
///
/// The attachments of a mail or the members of an archive, in their order. Each that can be read is an asset of its own; of the others it says
/// why there is none.
#[utoipa::path(
    get, path = "/v1/assets/{id}/parts", tag = "Assets", operation_id = "listAssetParts",
    params(("id" = uuid::Uuid, Path, description = "The document"), PageParams<ChunkCursor>),
    responses(
        (status = 200, description = "Some parts", body = List<AssetPart>),
        (status = 404, description = "No such asset"),
        (status = 409, description = "It is not ready (`asset_pending`, `asset_failed`), or was processed again since the page before (`asset_replaced`)"),
    ),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Path(id): Path<AssetId>,
    Query(params): Query<PageParams<ChunkCursor>>,
) -> Result<Json<List<AssetPart>>, ApiError> {
    let mut connection = state.database().acquire().await?;
    for _ in 0..TRIES {
        let revision = ready(&mut connection, caller.org, id).await?.revision;
        if params.cursor.is_some_and(|cursor| cursor.revision != revision) {
            return Err(replaced());
        }
        let after = params.cursor.map(|cursor| cursor.ordinal);
        // One more than asked for tells whether there is a next page.
        let fetch = i64::from(Limit::get(params.limit)) + 1;
        let parts = asset_parts::list(&mut connection, caller.org, id, after, fetch).await?;
        if ready(&mut connection, caller.org, id).await?.revision == revision {
            return Ok(Json(page(parts, revision, Limit::get(params.limit))));
        }
    }
    Err(ApiError::Unavailable("the asset", None))
}

fn page(mut parts: Vec<StoredPart>, revision: i32, limit: u16) -> List<AssetPart> {
    let more = parts.len() > usize::from(limit);
    parts.truncate(usize::from(limit));
    let last = parts.last().filter(|_| more);
    let next_cursor = last.map(|part| ChunkCursor { revision, ordinal: part.ordinal }.to_string());
    List { items: parts.into_iter().map(AssetPart::from).collect(), next_cursor }
}
