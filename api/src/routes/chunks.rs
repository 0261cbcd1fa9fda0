//! A document's text, whole and in pieces.

use std::fmt;
use std::str::FromStr;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use millrace_shared::db::assets::{self, AssetState};
use millrace_shared::ids::{AssetId, OrgId};
use serde::Deserialize;
use sqlx::PgConnection;
use utoipa::IntoParams;

use crate::error::ApiError;
use crate::extract::{Path, Query, Submitter, from_text};
use crate::state::AppState;
use crate::wire::{Chunk, Limit, List};

/// Read a document's text.
///
/// Offsets of chunks count characters (Unicode scalar values) of exactly this text.
#[utoipa::path(
    get, path = "/v1/assets/{id}/text", tag = "Assets", operation_id = "getAssetText",
    params(("id" = uuid::Uuid, Path, description = "The document")),
    responses(
        (status = 200, description = "The text", body = String, content_type = "text/plain"),
        (status = 404, description = "No such asset"),
        (status = 409, description = "It is not ready (`asset_pending`, `asset_failed`)"),
    ),
)]
pub(super) async fn text(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Path(id): Path<AssetId>,
) -> Result<Response, ApiError> {
    let mut connection = state.database().acquire().await?;
    must_be_ready(&mut connection, caller.org, id).await?;
    drop(connection);
    let parts = stream::try_unfold(0, move |page| next_part(state.clone(), caller.org, id, page));
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], Body::from_stream(parts)).into_response())
}

/// About a megabyte of text after `page`, and the page that it ends with. A connection is held only meanwhile, so that a slow
/// reader holds none.
async fn next_part(state: AppState, org: OrgId, id: AssetId, page: i32) -> Result<Option<(Bytes, i32)>, sqlx::Error> {
    let mut connection = state.database().acquire().await?;
    let parts = assets::text_parts(&mut connection, org, id, page).await?;
    let Some(last) = parts.last().map(|part| part.page) else { return Ok(None) };
    let text: String = parts.into_iter().map(|part| part.text).collect();
    Ok(Some((Bytes::from(text), last)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// `next_cursor` of the page before.
    #[serde(default, deserialize_with = "from_text")]
    #[param(value_type = Option<String>)]
    cursor: Option<ChunkCursor>,
    /// Chunks on a page; 50 unless told otherwise.
    #[serde(default, deserialize_with = "from_text")]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    limit: Option<Limit>,
}

/// List a document's chunks.
///
/// In reading order.
#[utoipa::path(
    get, path = "/v1/assets/{id}/chunks", tag = "Assets", operation_id = "listAssetChunks",
    params(("id" = uuid::Uuid, Path, description = "The document"), ListParams),
    responses(
        (status = 200, description = "Some chunks", body = List<Chunk>),
        (status = 404, description = "No such asset"),
        (status = 409, description = "It is not ready (`asset_pending`, `asset_failed`)"),
    ),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Path(id): Path<AssetId>,
    Query(params): Query<ListParams>,
) -> Result<Json<List<Chunk>>, ApiError> {
    let limit = usize::from(Limit::get(params.limit));
    let mut connection = state.database().acquire().await?;
    must_be_ready(&mut connection, caller.org, id).await?;
    let after = params.cursor.map(|cursor| cursor.0);
    // One more than asked for tells whether there is a next page.
    let fetch = i64::from(Limit::get(params.limit)) + 1;
    let mut chunks = assets::chunks(&mut connection, caller.org, id, after, fetch).await?;
    let more = chunks.len() > limit;
    chunks.truncate(limit);
    let next_cursor = chunks.last().filter(|_| more).map(|chunk| ChunkCursor(chunk.ordinal).to_string());
    Ok(Json(List { items: chunks.into_iter().map(Chunk::from).collect(), next_cursor }))
}

pub(super) async fn must_be_ready(connection: &mut PgConnection, org: OrgId, id: AssetId) -> Result<(), ApiError> {
    let asset = assets::get(connection, org, id).await?.ok_or(ApiError::NotFound("asset"))?;
    match asset.state {
        AssetState::Ready => Ok(()),
        AssetState::Pending => Err(ApiError::Conflict {
            code: "asset_pending",
            detail: format!("the asset is not ready yet; wait for job {}", asset.job_id),
        }),
        AssetState::Failed => Err(ApiError::Conflict {
            code: "asset_failed",
            detail: format!("the asset has no text: {}", asset.error_message.unwrap_or_default()),
        }),
    }
}

/// Where a page of chunks, or of parts, ended. Opaque to clients.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChunkCursor(pub(super) i32);

impl fmt::Display for ChunkCursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "c{:x}", self.0)
    }
}

impl FromStr for ChunkCursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ordinal = text.strip_prefix('c').and_then(|hex| u32::from_str_radix(hex, 16).ok());
        ordinal.and_then(|ordinal| i32::try_from(ordinal).ok()).map(Self).ok_or("not a cursor")
    }
}
