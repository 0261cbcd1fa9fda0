//! Copies of records in CRMs.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use millrace_shared::crm::Object;
use millrace_shared::db::crm::connections;
use millrace_shared::db::crm::records::{self, ListRecords};
use millrace_shared::db::{Cursor, PageRequest};
use millrace_shared::ids::{ConnectionId, OrgId, RecordId};
use millrace_shared::intake;
use serde::Deserialize;
use sqlx::PgPool;
use utoipa::IntoParams;

use super::connections::{job_of, submit};
use crate::error::ApiError;
use crate::extract::{self, Path, Query, Submitter, from_text};
use crate::state::AppState;
use crate::wire::{ChangeAccepted, Limit, List, Record, RecordChange, Timestamp, page_request};

const MOST_CHANGES: i64 = 100;
/// Rows that an export reads at a time.
const EXPORT_PAGE: u16 = 500;
const MOST_TEXT_CHARS: usize = 200;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Of this connection alone.
    #[serde(default, deserialize_with = "from_text")]
    #[param(value_type = Option<uuid::Uuid>)]
    connection: Option<ConnectionId>,
    /// Of this sort alone: `contacts`, `companies`, `deals`, `notes`, `owners` or `pipelines`.
    #[serde(default, deserialize_with = "from_text")]
    #[param(value_type = Option<String>)]
    object: Option<Object>,
    /// With these letters in the name, or with this whole e-mail address, telephone number or id.
    #[param(max_length = 200)]
    q: Option<String>,
    /// Whose copy has changed since, as RFC 3339.
    #[serde(default, deserialize_with = "from_text")]
    #[param(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    updated_since: Option<Timestamp>,
    /// `true`: those too that were deleted.
    #[serde(default)]
    deleted: bool,
    /// `next_cursor` of the page before.
    #[serde(default, deserialize_with = "from_text")]
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
    /// Rows on a page; 50 unless told otherwise.
    #[serde(default, deserialize_with = "from_text")]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    limit: Option<Limit>,
}

/// List records of CRMs.
///
/// Those whose copy was made last first.
#[utoipa::path(
    get, path = "/v1/records", tag = "CRM", operation_id = "listRecords", params(ListParams),
    responses((status = 200, description = "A page", body = List<Record>)),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Query(params): Query<ListParams>,
) -> Result<Json<List<Record>>, ApiError> {
    if params.q.as_ref().is_some_and(|text| text.is_empty() || text.chars().count() > MOST_TEXT_CHARS) {
        return Err(ApiError::invalid("q", format!("must be 1 to {MOST_TEXT_CHARS} characters")));
    }
    let asked = ListRecords {
        connection: params.connection,
        object: params.object,
        text: params.q.as_deref(),
        updated_since: params.updated_since.map(|since| since.0),
        deleted: params.deleted,
    };
    let page = page_request(params.cursor, params.limit);
    let found = records::list(&mut *state.database().acquire().await?, caller.org, &asked, &page).await?;
    Ok(Json(List::of(found, Record::brief)))
}

/// Get a record of a CRM.
///
/// With the CRM's own document, and what has changed.
#[utoipa::path(
    get, path = "/v1/records/{id}", tag = "CRM", operation_id = "getRecord",
    params(("id" = uuid::Uuid, Path, description = "The record")),
    responses((status = 200, description = "The record", body = Record), (status = 404, description = "No such record")),
)]
pub(super) async fn get(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Path(id): Path<RecordId>,
) -> Result<Json<Record>, ApiError> {
    let mut connection = state.database().acquire().await?;
    let found = records::get(&mut connection, caller.org, id).await?.ok_or(ApiError::NotFound("record"))?;
    let changes = records::changes(&mut connection, caller.org, id, MOST_CHANGES).await?;
    Ok(Json(Record::with_changes(found, changes)))
}

/// Change a record in its CRM.
///
/// A job reads the record there, and writes the change if none of its fields has changed meanwhile; otherwise the connection's `conflict_policy` decides. The
/// copy changes when the CRM has.
#[utoipa::path(
    patch, path = "/v1/records/{id}", tag = "CRM", operation_id = "changeRecord", request_body = RecordChange,
    params(("id" = uuid::Uuid, Path, description = "The record")),
    responses(
        (status = 202, description = "It is on its way", body = ChangeAccepted),
        (status = 404, description = "No such record"),
        (status = 409, description = "It was deleted (`record_deleted`), or is at another version (`record_changed`)"),
    ),
)]
pub(super) async fn change(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Path(id): Path<RecordId>,
    extract::Json(body): extract::Json<RecordChange>,
) -> Result<(StatusCode, Json<ChangeAccepted>), ApiError> {
    let mut transaction = state.database().begin().await?;
    let row = records::get(&mut transaction, caller.org, id).await?.ok_or(ApiError::NotFound("record"))?;
    if row.deleted_at.is_some() {
        return Err(ApiError::Conflict {
            code: "record_deleted",
            detail: "the record was deleted in the CRM".to_owned(),
        });
    }
    let connection = connections::get(&mut transaction, caller.org, row.connection_id).await?;
    let provider = connection.ok_or(ApiError::NotFound("record"))?.provider();
    let accepted = submit(&state, &mut transaction, caller.org, &body.check(&row, provider)?).await?;
    transaction.commit().await?;
    intake::publish(state.queues(), &accepted).await;
    let job_id = job_of(&accepted).ok_or_else(|| ApiError::internal("a checked request gave no job"))?;
    Ok((StatusCode::ACCEPTED, Json(ChangeAccepted { job_id })))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportParams {
    /// Of this connection alone.
    #[serde(default, deserialize_with = "from_text")]
    #[param(value_type = Option<uuid::Uuid>)]
    connection: Option<ConnectionId>,
    /// Of this sort alone.
    #[serde(default, deserialize_with = "from_text")]
    #[param(value_type = Option<String>)]
    object: Option<Object>,
    /// Whose copy has changed since, as RFC 3339.
    #[serde(default, deserialize_with = "from_text")]
    #[param(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    updated_since: Option<Timestamp>,
    /// `true`: those too that were deleted.
    #[serde(default)]
    deleted: bool,
}

/// Export records of CRMs.
///
/// All of them, with the CRMs' own documents, one JSON object a line. An answer that breaks off has no last line `{"end":true}`.
#[utoipa::path(
    get, path = "/v1/records/export", tag = "CRM", operation_id = "exportRecords", params(ExportParams),
    responses((status = 200, description = "Lines of JSON", content_type = "application/x-ndjson")),
)]
pub(super) async fn export(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Query(params): Query<ExportParams>,
) -> Result<Response, ApiError> {
    let first = Place { pool: state.database().clone(), org: caller.org, params, after: None, is_over: false };
    let lines = stream::try_unfold(first, |place| async move {
        if place.is_over { Ok(None) } else { place.lines().await.map(Some) }
    });
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

/// How far an export is.
struct Place {
    pool: PgPool,
    org: OrgId,
    params: ExportParams,
    after: Option<Cursor>,
    is_over: bool,
}

impl Place {
    /// Some lines, and where they end. A connection is held for no longer than it takes to read them, however slowly they are taken.
    async fn lines(mut self) -> sqlx::Result<(Bytes, Self)> {
        let asked = ListRecords {
            connection: self.params.connection,
            object: self.params.object,
            text: None,
            updated_since: self.params.updated_since.map(|since| since.0),
            deleted: self.params.deleted,
        };
        let page = PageRequest { after: self.after, limit: EXPORT_PAGE };
        let found = records::list(&mut *self.pool.acquire().await?, self.org, &asked, &page).await?;
        let mut lines = Vec::new();
        for row in found.items {
            serde_json::to_writer(&mut lines, &Record::whole(row))
                .map_err(|error| sqlx::Error::Encode(error.into()))?;
            lines.push(b'\n');
        }
        (self.after, self.is_over) = (found.next, found.next.is_none());
        if self.is_over {
            lines.extend_from_slice(b"{\"end\":true}\n");
        }
        Ok((lines.into(), self))
    }
}
