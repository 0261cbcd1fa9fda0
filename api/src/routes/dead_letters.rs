//! Jobs that were given up: looking at them, replaying them, putting them away. Only those of the caller's own organisation.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use millrace_shared::db::dead_letters::{self, DeadLetterFilter};
use millrace_shared::db::{Cursor, attempts};
use millrace_shared::ids::{JobId, OrgId};
use millrace_shared::intake;
use millrace_shared::jobs::QueueName;
use millrace_shared::ledger::{self, Pace, ReplayError};
use millrace_shared::wire::{self, Attempt, Job};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::error::ApiError;
use crate::extract::{self, Object, Operator, OptionalJson, Path, Query, Submitter, from_text};
use crate::state::AppState;
use crate::wire::{DeadLetter, Limit, List, Timestamp, page_request};

/// Dead letters handled in one transaction of bulk work.
const BATCH: u32 = 200;
/// Dead letters handled by one request of bulk work.
const MOST: u64 = 10_000;
const SEARCH_CHARS: usize = 500;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Only this queue.
    #[serde(default, deserialize_with = "from_text")]
    #[param(value_type = Option<String>)]
    queue: Option<QueueName>,
    /// Only this kind.
    kind: Option<String>,
    /// Only this error class, or errors whose text contains this.
    error: Option<String>,
    /// Only those that were given up at or after this time (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// `next_cursor` of the page before.
    #[serde(default, deserialize_with = "from_text")]
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
    /// Rows on a page; 50 unless told otherwise.
    #[serde(default, deserialize_with = "from_text")]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    limit: Option<Limit>,
}

/// List dead letters.
///
/// Newest job first.
#[utoipa::path(
    get, path = "/v1/dead-letters", tag = "Dead letters", operation_id = "listDeadLetters", params(ListParams),
    responses((status = 200, description = "A page of dead letters", body = List<DeadLetter>)),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Query(params): Query<ListParams>,
) -> Result<Json<List<DeadLetter>>, ApiError> {
    let filter = BulkFilter {
        queue: params.queue.map(|queue| queue.as_str().to_owned()),
        kind: params.kind,
        error: params.error,
        since: params.since,
    };
    let filter = filter.of(caller.org)?;
    let page = page_request(params.cursor, params.limit);
    let before = page.after.map(|cursor| JobId(cursor.id()));
    let mut connection = state.database().acquire().await?;
    let rows = dead_letters::list(&mut connection, &filter, before, u32::from(page.limit) + 1).await?;
    Ok(Json(List::of(page.page(rows, |row| row.id.0), DeadLetter::from)))
}

/// Read a dead letter.
///
/// With its payload and every attempt.
#[utoipa::path(
    get, path = "/v1/dead-letters/{job_id}", tag = "Dead letters", operation_id = "getDeadLetter",
    params(("job_id" = uuid::Uuid, Path, description = "The job")),
    responses((status = 200, description = "The dead letter", body = DeadLetter), (status = 404, description = "No such dead letter")),
)]
pub(super) async fn get(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Path(id): Path<JobId>,
) -> Result<Json<DeadLetter>, ApiError> {
    let filter = DeadLetterFilter { org: Some(caller.org), ids: Some(vec![id]), ..DeadLetterFilter::default() };
    let mut connection = state.database().acquire().await?;
    let rows = dead_letters::list(&mut connection, &filter, None, 1).await?;
    let row = rows.into_iter().next().ok_or(ApiError::NotFound("dead letter"))?;
    let payload = row.payload.clone();
    let attempts = attempts::of_job(&mut connection, caller.org, id).await?;
    Ok(Json(DeadLetter {
        payload: Some(payload),
        attempts: Some(attempts.into_iter().map(Attempt::from).collect()),
        ..DeadLetter::from(row)
    }))
}

/// How to replay.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "payload": { "sleep_ms": 10 } }))]
pub(super) struct ReplayBody {
    /// Replaces the job's payload; checked against the kind's schema.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    payload: Option<Value>,
}

/// Replay a dead letter.
///
/// The same job is queued again, with its id, its history and as many attempts again. Needs the role `operator`.
#[utoipa::path(
    post, path = "/v1/dead-letters/{job_id}/replay", tag = "Dead letters", operation_id = "replayDeadLetter",
    params(("job_id" = uuid::Uuid, Path, description = "The job")), request_body = Option<ReplayBody>,
    responses(
        (status = 202, description = "It is queued again", body = Job),
        (status = 404, description = "No such dead letter"),
        (status = 409, description = "Another job with its unique key waits or runs (`unique_key_taken`)"),
        (status = 422, description = "The payload misses the kind's schema"),
    ),
)]
pub(super) async fn replay(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(id): Path<JobId>,
    OptionalJson(body): OptionalJson<ReplayBody>,
) -> Result<(StatusCode, Json<Job>), ApiError> {
    let payload = body.unwrap_or_default().payload;
    let mut transaction = state.database().begin().await?;
    let row = ledger::replay(&mut transaction, state.kinds(), Some(caller.org), id, payload).await?;
    transaction.commit().await?;
    intake::within_patience(ledger::publish(state.queues(), std::slice::from_ref(&row))).await;
    Ok((StatusCode::ACCEPTED, Json(wire::accepted(row))))
}

/// Discard a dead letter.
///
/// It leaves the list; the job and its history stay. Needs the role `operator`.
#[utoipa::path(
    post, path = "/v1/dead-letters/{job_id}/discard", tag = "Dead letters", operation_id = "discardDeadLetter",
    params(("job_id" = uuid::Uuid, Path, description = "The job")),
    responses((status = 204, description = "It is put away"), (status = 404, description = "No such dead letter")),
)]
pub(super) async fn discard(
    State(state): State<AppState>,
    Operator(caller): Operator,
    Path(id): Path<JobId>,
) -> Result<StatusCode, ApiError> {
    let mut transaction = state.database().begin().await?;
    let found = ledger::discard(&mut transaction, Some(caller.org), id).await?;
    transaction.commit().await?;
    if found { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::NotFound("dead letter")) }
}

/// Which dead letters. Absent fields do not filter: `{}` is all of the organisation's.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "queue": "asset", "error": "timeout" }))]
pub(super) struct BulkFilter {
    /// Only this queue.
    #[serde(default)]
    queue: Option<String>,
    /// Only this kind.
    #[serde(default)]
    kind: Option<String>,
    /// Only this error class, or errors whose text contains this.
    #[serde(default)]
    error: Option<String>,
    /// Only those that were given up at or after this time.
    #[serde(default)]
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    since: Option<Timestamp>,
}

impl BulkFilter {
    fn of(self, org: OrgId) -> Result<DeadLetterFilter, ApiError> {
        let queue = self.queue.map(|queue| queue.parse::<QueueName>()).transpose();
        if self.error.as_ref().is_some_and(|text| text.is_empty() || text.chars().count() > SEARCH_CHARS) {
            return Err(ApiError::invalid("error", format!("must have 1 to {SEARCH_CHARS} characters")));
        }
        Ok(DeadLetterFilter {
            org: Some(org),
            ids: None,
            queue: queue.map_err(|error| ApiError::invalid("queue", error.to_string()))?,
            kind: self.kind,
            error: self.error,
            since: self.since.map(|time| time.0),
        })
    }
}

/// What to replay.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayAllBody {
    /// Which dead letters.
    #[schema(value_type = BulkFilter)]
    filter: Object<BulkFilter>,
    /// Jobs a second at which they become due, so that a recovering service is not overrun; all at once unless told otherwise.
    #[serde(default)]
    #[schema(minimum = 0.001, maximum = 100_000)]
    rate_per_s: Option<f64>,
    /// Only count.
    #[serde(default)]
    dry_run: bool,
}

/// What to discard.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DiscardAllBody {
    /// Which dead letters.
    #[schema(value_type = BulkFilter)]
    filter: Object<BulkFilter>,
    /// Only count.
    #[serde(default)]
    dry_run: bool,
}

/// What bulk work did.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({ "matched": 42, "done": 41, "skipped": 1, "more": false }))]
pub(super) struct BulkOutcome {
    /// Dead letters that matched at the beginning.
    matched: u64,
    /// Those that were replayed or discarded.
    done: u64,
    /// Those that were left alone, because another job holds their unique key.
    skipped: u64,
    /// Whether some are left over: one request handles at most 10,000. Send it again.
    more: bool,
}

/// Replay many dead letters.
///
/// All that match, oldest first. Needs the role `operator`.
#[utoipa::path(
    post, path = "/v1/dead-letters/replay", tag = "Dead letters", operation_id = "replayDeadLetters", request_body = ReplayAllBody,
    responses((status = 200, description = "What was done", body = BulkOutcome)),
)]
pub(super) async fn replay_all(
    State(state): State<AppState>,
    Operator(caller): Operator,
    extract::Json(body): extract::Json<ReplayAllBody>,
) -> Result<Json<BulkOutcome>, ApiError> {
    if body.rate_per_s.is_some_and(|rate| !(0.001..=100_000.0).contains(&rate)) {
        return Err(ApiError::invalid("rate_per_s", "must be from 0.001 to 100000"));
    }
    let filter = body.filter.0.of(caller.org)?;
    let mut outcome = BulkOutcome { matched: matching(&state, &filter).await?, done: 0, skipped: 0, more: false };
    if body.dry_run {
        return Ok(Json(outcome));
    }
    let mut after = None;
    loop {
        let pace = Pace { rate_per_s: body.rate_per_s, already: outcome.done };
        let mut transaction = state.database().begin().await?;
        let page = ledger::replay_page(&mut transaction, &filter, after, BATCH, pace).await?;
        transaction.commit().await?;
        intake::within_patience(ledger::publish(state.queues(), &page.replayed)).await;
        outcome.done += page.replayed.len() as u64;
        outcome.skipped += page.skipped;
        after = page.next;
        let handled = outcome.done + outcome.skipped;
        if after.is_none() || handled >= MOST || state.draining().is_cancelled() {
            outcome.more = after.is_some();
            return Ok(Json(outcome));
        }
    }
}

/// Discard many dead letters.
///
/// All that match. Needs the role `operator`.
#[utoipa::path(
    post, path = "/v1/dead-letters/discard", tag = "Dead letters", operation_id = "discardDeadLetters", request_body = DiscardAllBody,
    responses((status = 200, description = "What was done", body = BulkOutcome)),
)]
pub(super) async fn discard_all(
    State(state): State<AppState>,
    Operator(caller): Operator,
    extract::Json(body): extract::Json<DiscardAllBody>,
) -> Result<Json<BulkOutcome>, ApiError> {
    let filter = body.filter.0.of(caller.org)?;
    let mut outcome = BulkOutcome { matched: matching(&state, &filter).await?, done: 0, skipped: 0, more: false };
    if body.dry_run {
        return Ok(Json(outcome));
    }
    loop {
        let mut transaction = state.database().begin().await?;
        let discarded = ledger::discard_page(&mut transaction, &filter, BATCH).await?;
        transaction.commit().await?;
        outcome.done += discarded;
        let more = discarded == u64::from(BATCH);
        if !more || outcome.done >= MOST || state.draining().is_cancelled() {
            outcome.more = more;
            return Ok(Json(outcome));
        }
    }
}

async fn matching(state: &AppState, filter: &DeadLetterFilter) -> Result<u64, ApiError> {
    let mut connection = state.database().acquire().await?;
    let count = dead_letters::count(&mut connection, filter).await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

impl From<ReplayError> for ApiError {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::NotFound => Self::NotFound("dead letter"),
            ReplayError::UniqueKeyTaken(_) => Self::Conflict { code: "unique_key_taken", detail: error.to_string() },
            ReplayError::Payload(fields) => Self::Invalid(fields),
            ReplayError::Database(error) => error.into(),
        }
    }
}
