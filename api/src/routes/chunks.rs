//! A document's text, whole and in pieces.

use std::fmt;
use std::str::FromStr;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, future, stream};
use http::header::CONTENT_TYPE;
use millrace_shared::db::assets::{self, Asset, AssetRevision, AssetState, StoredChunk};
use millrace_shared::ids::{AssetId, OrgId};
use sqlx::PgConnection;

use crate::error::ApiError;
use crate::extract::{Path, Query, Submitter};
use crate::state::AppState;
use crate::wire::{Chunk, Limit, List, PageParams};

/// How often an answer is begun anew whose document is replaced at that very moment.
pub(super) const TRIES: usize = 5;

/// Read a document's text.
///
/// Offsets of chunks count characters (Unicode scalar values) of exactly this text. A long text is sent in parts; should it be replaced
/// meanwhile, because the document was processed again, the answer breaks off instead of going on with another text.
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
    for _ in 0..TRIES {
        let mut connection = state.database().acquire().await?;
        let asset = ready(&mut connection, caller.org, id).await?;
        let reading = Reading { of: (&asset).into(), pages: asset.pages.unwrap_or_default(), page: 0 };
        let Some((first, rest)) = reading.next_part(&mut connection).await? else { continue };
        drop(connection);
        return Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], body(state, first, rest)).into_response());
    }
    Err(ApiError::Unavailable("the asset", None))
}

/// The first part, and those behind it as they are asked for. A connection is held only meanwhile, so that a slow reader holds none.
fn body(state: AppState, first: Bytes, rest: Reading) -> Body {
    if rest.is_done() {
        return Body::from(first);
    }
    let parts = stream::try_unfold(rest, move |reading| {
        let state = state.clone();
        async move {
            if reading.is_done() {
                return Ok(None);
            }
            let mut connection = state.database().acquire().await?;
            reading.next_part(&mut connection).await?.map(Some).ok_or(TextError::Replaced)
        }
    });
    Body::from_stream(stream::once(future::ready(Ok(first))).chain(parts))
}

/// Why a text breaks off.
#[derive(Debug, thiserror::Error)]
enum TextError {
    #[error("the text was replaced or deleted while it was sent")]
    Replaced,
    #[error("the database gave no answer")]
    Database(#[from] sqlx::Error),
}

/// How far a text has been read.
#[derive(Debug, Clone, Copy)]
struct Reading {
    of: AssetRevision,
    pages: i32,
    /// The last page that was read.
    page: i32,
}

impl Reading {
    fn is_done(&self) -> bool {
        self.page >= self.pages
    }

    /// About a megabyte of what follows; `None` where this text is not there any more.
    async fn next_part(self, connection: &mut PgConnection) -> sqlx::Result<Option<(Bytes, Self)>> {
        let parts = assets::text_parts(connection, self.of, self.page).await?;
        let Some(last) = parts.last().map(|part| part.page) else { return Ok(None) };
        let text: String = parts.into_iter().map(|part| part.text).collect();
        Ok(Some((Bytes::from(text), Self { page: last, ..self })))
    }
}

/// List a document's chunks.
///
/// In reading order. Every page of the list is of the same processing: if the document was processed again since the first one, the
/// answer is 409 `asset_replaced`, and the list is to be read from its beginning.
#[utoipa::path(
    get, path = "/v1/assets/{id}/chunks", tag = "Assets", operation_id = "listAssetChunks",
    params(("id" = uuid::Uuid, Path, description = "The document"), PageParams<ChunkCursor>),
    responses(
        (status = 200, description = "Some chunks", body = List<Chunk>),
        (status = 404, description = "No such asset"),
        (status = 409, description = "It is not ready (`asset_pending`, `asset_failed`), or its chunks were replaced since the page before (`asset_replaced`)"),
    ),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Path(id): Path<AssetId>,
    Query(params): Query<PageParams<ChunkCursor>>,
) -> Result<Json<List<Chunk>>, ApiError> {
    let mut connection = state.database().acquire().await?;
    for _ in 0..TRIES {
        let asset = ready(&mut connection, caller.org, id).await?;
        if params.cursor.is_some_and(|cursor| cursor.revision != asset.revision) {
            return Err(replaced());
        }
        let after = params.cursor.map(|cursor| cursor.ordinal);
        // One more than asked for tells whether there is a next page.
        let fetch = i64::from(Limit::get(params.limit)) + 1;
        let chunks = assets::chunks(&mut connection, (&asset).into(), after, fetch).await?;
        let left = i64::from(asset.chunks.unwrap_or_default()) - after.map_or(0, |after| i64::from(after) + 1);
        if chunks.is_empty() && left > 0 {
            continue;
        }
        return Ok(Json(page(chunks, asset.revision, Limit::get(params.limit))));
    }
    Err(ApiError::Unavailable("the asset", None))
}

fn page(mut chunks: Vec<StoredChunk>, revision: i32, limit: u16) -> List<Chunk> {
    let more = chunks.len() > usize::from(limit);
    chunks.truncate(usize::from(limit));
    let last = chunks.last().filter(|_| more);
    let next_cursor = last.map(|chunk| ChunkCursor { revision, ordinal: chunk.ordinal }.to_string());
    List { items: chunks.into_iter().map(Chunk::from).collect(), next_cursor }
}

pub(super) fn replaced() -> ApiError {
    ApiError::Conflict {
        code: "asset_replaced",
        detail: "the document was processed again since the page before; read its chunks from the beginning, without a cursor"
            .to_owned(),
    }
}

/// The asset, if it has text.
pub(super) async fn ready(connection: &mut PgConnection, org: OrgId, id: AssetId) -> Result<Asset, ApiError> {
    let asset = assets::get(connection, org, id).await?.ok_or(ApiError::NotFound("asset"))?;
    match asset.state {
        AssetState::Ready => Ok(asset),
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

/// Where a page of chunks, or of parts, ended, and of which processing it was. Opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkCursor {
    pub(super) revision: i32,
    pub(super) ordinal: i32,
}

impl fmt::Display for ChunkCursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "c{:x}.{:x}", self.revision, self.ordinal)
    }
}

impl FromStr for ChunkCursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |hex: &str| u32::from_str_radix(hex, 16).ok().and_then(|number| i32::try_from(number).ok());
        let (revision, ordinal) = text.strip_prefix('c').and_then(|text| text.split_once('.')).ok_or("not a cursor")?;
        let revision = number(revision).ok_or("not a cursor")?;
        Ok(Self { revision, ordinal: number(ordinal).ok_or("not a cursor")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let cursor = ChunkCursor { revision: 3, ordinal: 4_711 };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in ["", "c", "c5", "c1.", "c.1", "c1.-1", "c1.80000000", "x1.1", "c1.1.1"] {
            assert_eq!(text.parse::<ChunkCursor>(), Err("not a cursor"), "{text}");
        }
    }
}
