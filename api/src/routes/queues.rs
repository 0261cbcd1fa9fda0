//! Looking at queues and steering them. Queues serve all organisations at once, so that this is for the platform's staff.

use axum::Json;
use axum::extract::State;
use millrace_shared::control::change_settings;
use millrace_shared::jobs::QueueName;
use millrace_shared::queue::Settings;
use millrace_shared::wire::{self, Queue};

use crate::error::ApiError;
use crate::extract::{self, Operator, Path};
use crate::state::AppState;
use crate::wire::{List, QueueLimits, QueueSettings};

/// List queues.
///
/// With their figures over all organisations. Needs the role `operator`.
#[utoipa::path(
    get, path = "/v1/queues", tag = "Queues", operation_id = "listQueues",
    responses((status = 200, description = "Every queue", body = List<Queue>)),
)]
pub(super) async fn list(State(state): State<AppState>, _caller: Operator) -> Result<Json<List<Queue>>, ApiError> {
    let mut connection = state.database().acquire().await?;
    let items = wire::queues(&mut connection, state.queues()).await?;
    Ok(Json(List { items, next_cursor: None }))
}

/// Pause a queue.
///
/// Its jobs are taken in and wait; those that run go on. Needs the role `operator`.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/pause", tag = "Queues", operation_id = "pauseQueue",
    params(("queue" = String, Path, description = "The queue")),
    responses((status = 200, description = "It is paused", body = QueueSettings), (status = 404, description = "No such queue")),
)]
pub(super) async fn pause(
    State(state): State<AppState>,
    _caller: Operator,
    Path(queue): Path<String>,
) -> Result<Json<QueueSettings>, ApiError> {
    change(&state, &queue, |settings| settings.paused = true).await
}

/// Resume a queue.
///
/// Needs the role `operator`.
#[utoipa::path(
    post, path = "/v1/queues/{queue}/resume", tag = "Queues", operation_id = "resumeQueue",
    params(("queue" = String, Path, description = "The queue")),
    responses((status = 200, description = "It runs", body = QueueSettings), (status = 404, description = "No such queue")),
)]
pub(super) async fn resume(
    State(state): State<AppState>,
    _caller: Operator,
    Path(queue): Path<String>,
) -> Result<Json<QueueSettings>, ApiError> {
    change(&state, &queue, |settings| settings.paused = false).await
}

/// Limit a queue.
///
/// How many of its jobs may run at once, and begin in how long, over all workers: what was set before is replaced. Needs the role
/// `operator`.
#[utoipa::path(
    put, path = "/v1/queues/{queue}/limits", tag = "Queues", operation_id = "limitQueue", request_body = QueueLimits,
    params(("queue" = String, Path, description = "The queue")),
    responses((status = 200, description = "The limits hold", body = QueueSettings), (status = 404, description = "No such queue")),
)]
pub(super) async fn limit(
    State(state): State<AppState>,
    _caller: Operator,
    Path(queue): Path<String>,
    extract::Json(limits): extract::Json<QueueLimits>,
) -> Result<Json<QueueSettings>, ApiError> {
    let wrong = limits.wrong();
    if !wrong.is_empty() {
        return Err(ApiError::Invalid(wrong));
    }
    change(&state, &queue, |settings| {
        settings.concurrency = limits.concurrency;
        settings.org_concurrency = limits.org_concurrency;
        settings.rate = limits.rate;
        settings.org_rate = limits.org_rate;
    })
    .await
}

async fn change(
    state: &AppState,
    queue: &str,
    change: impl FnOnce(&mut Settings) + Send,
) -> Result<Json<QueueSettings>, ApiError> {
    let queue: QueueName = queue.parse().map_err(|_| ApiError::NotFound("queue"))?;
    let mut connection = state.database().acquire().await?;
    let settings = change_settings(&mut connection, state.queues(), queue, change).await?;
    Ok(Json(QueueSettings { queue: queue.as_str(), paused: settings.paused, limits: settings.into() }))
}
