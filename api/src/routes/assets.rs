//! Reading and deleting documents.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use millrace_shared::db::asset_parts::family::Going;
use millrace_shared::db::{self, Cursor, assets};
use millrace_shared::ids::AssetId;
use millrace_shared::intake;
use millrace_shared::ledger::{self, Removal};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::error::ApiError;
use crate::extract::{Path, Query, Submitter, from_text};
use crate::state::AppState;
use crate::wire::{Asset, AssetState, Limit, List, page_request};

/// How often a deletion tries again that crosses others of the same documents.
const TRIES: usize = 3;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Only documents in this state.
    state: Option<AssetState>,
    /// `next_cursor` of the page before.
    #[serde(default, deserialize_with = "from_text")]
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
    /// Rows on a page; 50 unless told otherwise.
    #[serde(default, deserialize_with = "from_text")]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    limit: Option<Limit>,
}

/// List documents.
///
/// Newest first.
#[utoipa::path(
    get, path = "/v1/assets", tag = "Assets", operation_id = "listAssets", params(ListParams),
    responses((status = 200, description = "A page of documents", body = List<Asset>)),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Query(params): Query<ListParams>,
) -> Result<Json<List<Asset>>, ApiError> {
    let page = page_request(params.cursor, params.limit);
    let mut connection = state.database().acquire().await?;
    let found = assets::list(&mut connection, caller.org, params.state.map(Into::into), &page).await?;
    Ok(Json(List::of(found, Asset::from)))
}

/// Read a document.
#[utoipa::path(
    get, path = "/v1/assets/{id}", tag = "Assets", operation_id = "getAsset",
    params(("id" = uuid::Uuid, Path, description = "The document")),
    responses((status = 200, description = "The record", body = Asset), (status = 404, description = "No such asset")),
)]
pub(super) async fn get(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Path(id): Path<AssetId>,
) -> Result<Json<Asset>, ApiError> {
    let mut connection = state.database().acquire().await?;
    let asset = assets::get(&mut connection, caller.org, id).await?.ok_or(ApiError::NotFound("asset"))?;
    Ok(Json(asset.into()))
}

/// Delete a document.
///
/// With its text, its chunks, and the documents in it that were not uploaded for themselves and that no other document holds. Jobs that still
/// wait or run for them are cancelled. Their bytes are deleted from the object store by a worker, a few seconds later.
#[utoipa::path(
    delete, path = "/v1/assets/{id}", tag = "Assets", operation_id = "deleteAsset",
    params(("id" = uuid::Uuid, Path, description = "The document")),
    responses((status = 204, description = "It is gone"), (status = 404, description = "No such asset")),
)]
pub(super) async fn delete(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Path(id): Path<AssetId>,
) -> Result<StatusCode, ApiError> {
    let going = Going::Document(id);
    for _ in 0..TRIES {
        let mut transaction = state.database().begin().await?;
        let removal = match ledger::remove(&mut transaction, caller.org, &going).await {
            // Sacrificed to another one, with which it may not meet again.
            Err(error) if db::is_contention(&error) => continue,
            removal => removal?,
        };
        match removal {
            Removal::Nothing => return Err(ApiError::NotFound("asset")),
            Removal::Crossed => {}
            Removal::Done(cancelled) => {
                transaction.commit().await?;
                intake::withdraw(state.queues(), &cancelled).await;
                return Ok(StatusCode::NO_CONTENT);
            }
        }
    }
    Err(ApiError::Unavailable("the asset", None))
}
