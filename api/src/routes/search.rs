//! Search over documents' chunks.

use axum::Json;
use axum::extract::State;
use millrace_shared::db::search::{self, Search, SearchCursor};
use millrace_shared::db::{self, assets};
use millrace_shared::ids::AssetId;
use serde::{Deserialize, Deserializer};
use utoipa::IntoParams;

use crate::error::ApiError;
use crate::extract::{Query, Submitter, from_text};
use crate::state::AppState;
use crate::wire::{Limit, SearchPage, SearchText};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Params {
    /// Words, all of which are wanted; `"a phrase"`; `or` between two; `-` before what is not wanted. Nothing is a syntax error.
    #[serde(deserialize_with = "wanted")]
    #[param(value_type = String, min_length = 1, max_length = 400)]
    q: SearchText,
    /// Only chunks of this document.
    #[serde(default, deserialize_with = "from_text")]
    #[param(value_type = Option<uuid::Uuid>)]
    asset: Option<AssetId>,
    /// `next_cursor` of the page before. Send it with the same `q` and `asset`.
    #[serde(default, deserialize_with = "from_text")]
    #[param(value_type = Option<String>)]
    cursor: Option<SearchCursor>,
    /// Hits on a page; 20 unless told otherwise.
    #[serde(default, deserialize_with = "from_text")]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    limit: Option<Limit>,
}

/// Hits on a page, because people look at few.
const PAGE: u16 = 20;

fn wanted<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SearchText, D::Error> {
    from_text(deserializer)?.ok_or_else(|| serde::de::Error::missing_field("q"))
}

/// Search documents.
///
/// Chunks of documents that are ready, best first. Words are compared as the language of each document wants it (`mills` finds `mill` in an English
/// one). Where nothing has the words, chunks with words that are alike are given (`match` is `similar`): with a slip of the finger in them, or longer.
#[utoipa::path(
    get, path = "/v1/search", tag = "Assets", operation_id = "search", params(Params),
    responses(
        (status = 200, description = "A page of hits", body = SearchPage),
        (status = 404, description = "No such asset"),
        (status = 503, description = "It took or waited longer than `MILLRACE_SEARCH_TIMEOUT`; a rarer word may help"),
    ),
)]
pub(super) async fn search(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Query(params): Query<Params>,
) -> Result<Json<SearchPage>, ApiError> {
    // Before a connection is taken: those who wait must not keep others from submitting.
    let turn = tokio::time::timeout(state.limits().search.timeout, state.searches().acquire()).await;
    let _turn = turn.map_err(|_| ApiError::Unavailable("a turn at searching", None))?.map_err(ApiError::internal)?;
    let mut connection = state.database().acquire().await?;
    if let Some(asset) = params.asset {
        assets::get(&mut connection, caller.org, asset).await?.ok_or(ApiError::NotFound("asset"))?;
    }
    let search = Search {
        org: caller.org,
        text: params.q.as_str(),
        asset: params.asset,
        after: params.cursor,
        limit: params.limit.map_or(PAGE, |limit| Limit::get(Some(limit))),
    };
    let hits = search::search(&mut connection, &search, state.limits().search).await.map_err(|error| {
        if db::is_contention(&error) {
            return ApiError::Unavailable("an answer to this search in time", Some(error.into()));
        }
        error.into()
    })?;
    Ok(Json(hits.into()))
}
