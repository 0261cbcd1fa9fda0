//! Metrics and version.
//!
//! Figures of the queues are asked for when somebody scrapes, so that every instance of the API tells the same and none keeps a clock.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use millrace_shared::jobs::{Priority, QUEUES};
use millrace_shared::telemetry::METRICS_CONTENT_TYPE;
use millrace_shared::views::{self, QueueView};
use serde::Serialize;
use utoipa::ToSchema;

use crate::state::AppState;

/// A scrape does without the queues' figures rather than wait longer for them.
const QUEUES_TIMEOUT: Duration = Duration::from_secs(2);

/// Metrics.
///
/// The process's own and the queues' figures, as Prometheus reads them. Keep the path inside your network: it needs no credential.
#[utoipa::path(
    get, path = "/metrics", tag = "System", operation_id = "metrics", security(()),
    responses((status = 200, description = "Metrics", body = String, content_type = "text/plain")),
)]
pub(super) async fn metrics(State(state): State<AppState>) -> Response {
    let pool = state.database();
    let idle = pool.num_idle();
    metrics::gauge!("millrace_database_connections", "state" => "idle").set(count(idle as u64));
    metrics::gauge!("millrace_database_connections", "state" => "used")
        .set(count(u64::from(pool.size()).saturating_sub(idle as u64)));
    let takes_writes = tokio::time::timeout(QUEUES_TIMEOUT, state.queues().takes_writes()).await;
    metrics::gauge!("millrace_redis_takes_writes").set(if matches!(takes_writes, Ok(Ok(_))) { 1.0 } else { 0.0 });
    let known = tokio::time::timeout(QUEUES_TIMEOUT, measure_queues(&state)).await.unwrap_or(false);
    metrics::gauge!("millrace_queue_figures_known").set(if known { 1.0 } else { 0.0 });
    ([(CONTENT_TYPE, METRICS_CONTENT_TYPE)], state.metrics().render()).into_response()
}

/// Sets the gauges of all queues; false where Postgres or Redis is away, and the gauges are those of the last scrape.
async fn measure_queues(state: &AppState) -> bool {
    let Ok(mut connection) = state.database().acquire().await else { return false };
    for queue in QUEUES {
        match views::queue(&mut connection, state.queues(), queue).await {
            Ok(view) => set_gauges(&view),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "the queues' figures are not to be had");
                return false;
            }
        }
    }
    true
}

fn set_gauges(view: &QueueView) {
    let queue = view.queue.as_str();
    for priority in Priority::ALL {
        let ready = count(view.stats.ready_at(priority));
        metrics::gauge!("millrace_queue_ready", "queue" => queue, "priority" => priority.as_str()).set(ready);
    }
    metrics::gauge!("millrace_queue_delayed", "queue" => queue).set(count(view.stats.delayed));
    metrics::gauge!("millrace_queue_running", "queue" => queue).set(count(view.stats.running));
    metrics::gauge!("millrace_queue_dead", "queue" => queue).set(count(view.dead));
    metrics::gauge!("millrace_queue_paused", "queue" => queue).set(if view.settings.paused { 1.0 } else { 0.0 });
    let age = view.oldest_ready_age.map_or(0.0, |age| age.as_secs_f64());
    metrics::gauge!("millrace_queue_oldest_ready_age_seconds", "queue" => queue).set(age);
}

/// Tells Prometheus what the gauges are.
pub(super) fn describe_metrics() {
    metrics::describe_gauge!("millrace_queue_ready", "Jobs that are ready to run, by queue and priority.");
    metrics::describe_gauge!("millrace_queue_delayed", "Jobs that wait for a time within the next hour.");
    metrics::describe_gauge!("millrace_queue_running", "Jobs that workers have.");
    metrics::describe_gauge!("millrace_queue_dead", "Dead letters that nobody has replayed or discarded.");
    metrics::describe_gauge!("millrace_queue_paused", "1 while the queue is paused.");
    metrics::describe_gauge!("millrace_queue_oldest_ready_age_seconds", "How long the oldest ready job has been due.");
    metrics::describe_gauge!(
        "millrace_queue_figures_known",
        "1 if the queues' figures are of this scrape, 0 if of an earlier one."
    );
    metrics::describe_gauge!(
        "millrace_redis_takes_writes",
        "1 if Redis takes jobs, 0 if it is away, out of memory or read-only: then accepted jobs wait in Postgres."
    );
    metrics::describe_gauge!("millrace_database_connections", "Connections of this process to Postgres, by state.");
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn count(number: u64) -> f64 {
    number as f64
}

/// What is running.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Version {
    /// The program.
    name: &'static str,
    /// Its version.
    version: &'static str,
    /// The version of the HTTP API, as it stands in the paths.
    api: &'static str,
}

/// Version.
#[utoipa::path(
    get, path = "/v1/version", tag = "System", operation_id = "version", security(()),
    responses((status = 200, description = "The version", body = Version)),
)]
pub(super) async fn version() -> Json<Version> {
    Json(Version { name: "millrace-api", version: env!("CARGO_PKG_VERSION"), api: "v1" })
}
