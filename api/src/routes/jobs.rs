//! Submitting, reading and cancelling jobs.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use millrace_shared::db::jobs::{self as ledger_jobs, JobFilter, JobRow, JobState as LedgerState};
use millrace_shared::db::{Cursor, idempotency};
use millrace_shared::ids::{JobId, OrgId};
use millrace_shared::intake;
use millrace_shared::jobs::{NewJob, QueueName};
use millrace_shared::ledger::{self, Accepted};
use millrace_shared::views::{self, State as JobState};
use millrace_shared::wire::{self as shapes, Job};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use utoipa::IntoParams;

use crate::envelope::TraceContext;
use crate::error::ApiError;
use crate::extract::{Json, Path, Query, Submitter, from_text};
use crate::gather;
use crate::state::AppState;
use crate::wire::{self, BatchBody, IdempotencyKey, Limit, List, SubmitBody, Timestamp, Wait, page_request};

const MOST_JOBS: usize = 1000;
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Submit a job.
///
/// The job is safe once this answers. With an `Idempotency-Key`, repeating the request within 48 hours gives the first answer
/// again (with the header `idempotency-replayed: true`) and submits nothing.
#[utoipa::path(
    post, path = "/v1/jobs", tag = "Jobs", operation_id = "submitJob", request_body = SubmitBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    responses(
        (status = 202, description = "The job was taken in", body = Job, headers(("location" = String, description = "Where to read it"))),
        (status = 422, description = "A field is wrong, or the Idempotency-Key was used with another request"),
    ),
)]
pub(super) async fn submit(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Extension(trace): Extension<TraceContext>,
    headers: HeaderMap,
    Json(body): Json<SubmitBody>,
) -> Result<Response, ApiError> {
    let request = IdempotentRequest::new(&headers, "submit", &body)?;
    let place = |_| String::new();
    let jobs = intake::check(state.kinds(), vec![body.into()], &trace.0, place).map_err(ApiError::Invalid)?;
    Submission { org: caller.org, request, jobs, shape: Shape::One }.take_in(&state, place).await
}

/// Submit many jobs.
///
/// 1 to 1,000 jobs, all or none.
#[utoipa::path(
    post, path = "/v1/jobs/batch", tag = "Jobs", operation_id = "submitJobs", request_body = BatchBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    responses(
        (status = 202, description = "All jobs were taken in", body = wire::Accepted),
        (status = 422, description = "A field is wrong (its name begins with the job's index, `jobs[3].kind`); no job was taken in"),
    ),
)]
pub(super) async fn submit_batch(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Extension(trace): Extension<TraceContext>,
    headers: HeaderMap,
    Json(body): Json<BatchBody>,
) -> Result<Response, ApiError> {
    if !(1..=MOST_JOBS).contains(&body.jobs.len()) {
        return Err(ApiError::invalid("jobs", format!("must hold 1 to {MOST_JOBS} jobs, not {}", body.jobs.len())));
    }
    let request = IdempotentRequest::new(&headers, "submit_batch", &body)?;
    let place = |index| format!("jobs[{index}].");
    let requests = body.jobs.into_iter().map(|job| job.0.into()).collect();
    let jobs = intake::check(state.kinds(), requests, &trace.0, place).map_err(ApiError::Invalid)?;
    Submission { org: caller.org, request, jobs, shape: Shape::Batch }.take_in(&state, place).await
}

/// A request that may have been answered before.
struct IdempotentRequest {
    key: Option<IdempotencyKey>,
    digest: [u8; 32],
}

impl IdempotentRequest {
    /// The digest is of what the request means and not of its bytes, so that spaces and the order of fields do not matter.
    fn new(headers: &HeaderMap, route: &str, body: &impl Serialize) -> Result<Self, ApiError> {
        let key = IdempotencyKey::from_headers(headers)?;
        let body = serde_json::to_vec(body).map_err(ApiError::internal)?;
        let digest = Sha256::new().chain_update(route).chain_update([0]).chain_update(body).finalize().into();
        Ok(Self { key, digest })
    }
}

struct Submission {
    org: OrgId,
    request: IdempotentRequest,
    jobs: Vec<NewJob>,
    shape: Shape,
}

/// Whether a submission is answered as one job or as a list.
#[derive(Clone, Copy)]
enum Shape {
    One,
    Batch,
}

impl Submission {
    async fn take_in(self, state: &AppState, place: impl Fn(usize) -> String) -> Result<Response, ApiError> {
        if self.request.key.is_none() && gather::can_share(&self.jobs) {
            let rows = state.gatherer().ask(gather::Submission { org: self.org, jobs: self.jobs.into() }).await?;
            let rows: Vec<&JobRow> = rows.iter().collect();
            count(&rows);
            return Ok(accepted(body_of(&rows, self.shape)?, id_of(&rows, self.shape)));
        }
        let mut transaction = state.database().begin().await?;
        if let Some(key) = &self.request.key {
            match idempotency::claim(&mut transaction, self.org, key.as_ref(), &self.request.digest).await? {
                idempotency::Seen::New => {}
                idempotency::Seen::Answered(body) => {
                    let id = body["id"].as_str().and_then(|id| id.parse().ok());
                    let mut response = accepted(body.to_string().into_bytes(), id);
                    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
                    return Ok(response);
                }
                idempotency::Seen::OtherRequest => return Err(ApiError::IdempotencyMismatch),
            }
        }
        let taken = intake::accept(&mut transaction, self.org, &self.jobs, place).await?;
        let rows: Vec<&JobRow> = taken.iter().map(Accepted::row).collect();
        let body = body_of(&rows, self.shape)?;
        if let Some(key) = &self.request.key {
            let body: Value = serde_json::from_slice(&body).map_err(ApiError::internal)?;
            idempotency::answer(&mut transaction, self.org, key.as_ref(), &body).await?;
        }
        transaction.commit().await?;
        #[cfg(feature = "failpoints")]
        crate::failpoint::reach("committed");
        intake::publish(state.queues(), &taken).await;
        count(&rows);
        Ok(accepted(body, id_of(&rows, self.shape)))
    }
}

fn body_of(rows: &[&JobRow], shape: Shape) -> Result<Vec<u8>, ApiError> {
    let jobs: Vec<Job> = rows.iter().map(|row| shapes::accepted((*row).clone())).collect();
    let body = match shape {
        Shape::One => serde_json::to_vec(&jobs.first()),
        Shape::Batch => serde_json::to_vec(&wire::Accepted { jobs }),
    };
    body.map_err(ApiError::internal)
}

fn id_of(rows: &[&JobRow], shape: Shape) -> Option<JobId> {
    match shape {
        Shape::One => rows.first().map(|row| row.id),
        Shape::Batch => None,
    }
}

/// The answer; `id` is the job's where there is one alone.
fn accepted(body: Vec<u8>, id: Option<JobId>) -> Response {
    let mut response = (StatusCode::ACCEPTED, [(CONTENT_TYPE, "application/json")], body).into_response();
    if let Some(location) = id.and_then(|id| HeaderValue::try_from(format!("/v1/jobs/{id}")).ok()) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

fn count(rows: &[&JobRow]) {
    for row in rows {
        let labels = [("queue", row.queue.clone()), ("kind", row.kind.clone())];
        metrics::counter!("millrace_jobs_accepted_total", &labels).increment(1);
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct GetParams {
    /// Answer when the job has ended, or after this time: `500ms` to `60s`.
    #[serde(default, deserialize_with = "from_text")]
    #[param(value_type = Option<String>, example = "30s")]
    wait: Option<Wait>,
}

/// Read a job.
#[utoipa::path(
    get, path = "/v1/jobs/{id}", tag = "Jobs", operation_id = "getJob",
    params(("id" = uuid::Uuid, Path, description = "The job"), GetParams),
    responses((status = 200, description = "The job with its attempts", body = Job), (status = 404, description = "No such job")),
)]
pub(super) async fn get(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Path(id): Path<JobId>,
    Query(params): Query<GetParams>,
) -> Result<axum::Json<Job>, ApiError> {
    let wait = params.wait.map_or(Duration::ZERO, |wait| wait.0);
    let mut row = find(&state, caller.org, id).await?;
    if row.state == LedgerState::Queued && !wait.is_zero() {
        tokio::select! {
            () = state.waiter().ended(id) => {}
            () = tokio::time::sleep(wait) => {}
            () = state.draining().cancelled() => {}
        }
        row = find(&state, caller.org, id).await?;
    }
    show(&state, row).await.map(axum::Json)
}

async fn find(state: &AppState, org: OrgId, id: JobId) -> Result<JobRow, ApiError> {
    let mut connection = state.database().acquire().await?;
    ledger_jobs::find(&mut connection, org, id).await?.ok_or(ApiError::NotFound("job"))
}

/// A job with its live state and its history.
async fn show(state: &AppState, row: JobRow) -> Result<Job, ApiError> {
    let mut connection = state.database().acquire().await?;
    let views = views::current(&mut connection, state.queues(), vec![row]).await?;
    shapes::jobs(&mut connection, views).await?.pop().ok_or(ApiError::NotFound("job"))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Only this kind.
    kind: Option<String>,
    /// Only this queue.
    #[serde(default, deserialize_with = "from_text")]
    #[param(value_type = Option<String>)]
    queue: Option<QueueName>,
    /// Only jobs in this state.
    state: Option<JobState>,
    /// Only jobs accepted at or after this time (RFC 3339).
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

/// List jobs.
///
/// Newest first. While Redis is away the states `queued` and `running` cannot be asked for (503).
#[utoipa::path(
    get, path = "/v1/jobs", tag = "Jobs", operation_id = "listJobs", params(ListParams),
    responses((status = 200, description = "A page of jobs", body = List<Job>)),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Query(params): Query<ListParams>,
) -> Result<axum::Json<List<Job>>, ApiError> {
    let filter = JobFilter {
        org: Some(caller.org),
        kind: params.kind,
        queue: params.queue,
        since: params.since.map(|time| time.0),
        ..JobFilter::default()
    };
    let request = page_request(params.cursor, params.limit);
    let mut connection = state.database().acquire().await?;
    let page = views::list_jobs(&mut connection, state.queues(), filter, params.state, &request).await?;
    let next_cursor = page.next.map(|cursor| cursor.to_string());
    Ok(axum::Json(List { items: shapes::jobs(&mut connection, page.items).await?, next_cursor }))
}

/// Cancel a job.
///
/// A job that waits never runs; one that runs is told to stop, and nothing it still does counts. Cancelling a cancelled job is fine.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/cancel", tag = "Jobs", operation_id = "cancelJob",
    params(("id" = uuid::Uuid, Path, description = "The job")),
    responses(
        (status = 200, description = "It is cancelled", body = Job),
        (status = 404, description = "No such job"),
        (status = 409, description = "It has ended otherwise (`job_ended`)"),
    ),
)]
pub(super) async fn cancel(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Path(id): Path<JobId>,
) -> Result<axum::Json<Job>, ApiError> {
    let mut transaction = state.database().begin().await?;
    let ended = ledger::cancel(&mut transaction, caller.org, id).await?;
    transaction.commit().await?;
    let row = match ended {
        Some(ended) => {
            intake::withdraw(state.queues(), std::slice::from_ref(&ended)).await;
            ended.row
        }
        None => match find(&state, caller.org, id).await? {
            row if row.state == LedgerState::Cancelled => row,
            row => {
                let state = if row.state == LedgerState::Succeeded { "succeeded" } else { "dead" };
                return Err(ApiError::Conflict { code: "job_ended", detail: format!("the job has ended as {state}") });
            }
        },
    };
    show(&state, row).await.map(axum::Json)
}
