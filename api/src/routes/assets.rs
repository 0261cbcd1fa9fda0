//! Reading and deleting documents.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use millrace_shared::db::asset_parts::{self, Doomed};
use millrace_shared::db::{Cursor, assets};
use millrace_shared::ids::{AssetId, OrgId};
use millrace_shared::ledger;
use serde::Deserialize;
use utoipa::IntoParams;

use super::jobs::withdraw;
use crate::error::ApiError;
use crate::extract::{Path, Query, Submitter, from_text};
use crate::state::AppState;
use crate::wire::{Asset, AssetState, Limit, List, page_request};

/// How often a deletion tries again that crosses a new upload of the same bytes.
const TRIES: usize = 5;

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
/// wait or run for them are cancelled.
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
    for _ in 0..TRIES {
        if let Some(family) = try_delete(&state, caller.org, id).await? {
            // The rows are gone. A crash or a failure here leaves an object that nobody names, which costs space and nothing else;
            // the other order could leave a row whose bytes are gone.
            for object in family.into_iter().filter_map(|asset: Doomed| asset.storage_key) {
                if let Err(error) = state.storage().delete(&object).await {
                    tracing::error!(error = &error as &dyn std::error::Error, object = %object, "a deleted asset's object is left over");
                }
            }
            return Ok(StatusCode::NO_CONTENT);
        }
    }
    Err(ApiError::Unavailable("the asset", None))
}

/// Deletes the rows of an asset and of all that goes with it; `None` when one of them got another job, or another document that holds it, in
/// between.
async fn try_delete(state: &AppState, org: OrgId, id: AssetId) -> Result<Option<Vec<Doomed>>, ApiError> {
    let mut transaction = state.database().begin().await?;
    let mut family = asset_parts::family(&mut transaction, org, id).await?;
    if family.is_empty() {
        return Err(ApiError::NotFound("asset"));
    }
    // Jobs before assets, and in one order, as everywhere.
    family.sort_unstable_by_key(|asset| asset.job_id);
    let mut cancelled = Vec::new();
    for asset in &family {
        cancelled.extend(ledger::cancel(&mut transaction, org, asset.job_id).await?);
    }
    asset_parts::lock(&mut transaction, org, &family).await?;
    let mut still = asset_parts::family(&mut transaction, org, id).await?;
    still.sort_unstable_by_key(|asset| asset.job_id);
    if still != family {
        return Ok(None);
    }
    for asset in &family {
        if !assets::delete(&mut transaction, org, asset.id, asset.job_id).await? {
            return Ok(None);
        }
    }
    transaction.commit().await?;
    for ended in &cancelled {
        withdraw(state, ended).await;
    }
    Ok(Some(family))
}
