//! The worker's own little server: health and metrics, and nothing else.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use metrics_exporter_prometheus::PrometheusHandle;
use millrace_shared::{queue::Queues, telemetry::METRICS_CONTENT_TYPE};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A dependency that does not answer within this time counts as away.
const PATIENCE: Duration = Duration::from_secs(2);
const UPKEEP: Duration = Duration::from_secs(5);

/// What the server looks at.
#[derive(Clone)]
pub(crate) struct Checks {
    pub(crate) pool: PgPool,
    pub(crate) queues: Queues,
    pub(crate) drain: CancellationToken,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) worker: String,
}

/// Tells Prometheus what the worker's metrics are.
fn describe_metrics() {
    metrics::describe_counter!("millrace_claims_total", "Jobs claimed from Redis, by queue.");
    metrics::describe_counter!("millrace_jobs_ended_total", "Jobs ended, by kind and outcome.");
    metrics::describe_counter!(
        "millrace_retries_total",
        "Failed attempts that another one follows, by kind and error class."
    );
    metrics::describe_counter!("millrace_dead_letters_total", "Jobs given up, by kind and reason.");
    metrics::describe_counter!("millrace_handed_back_total", "Jobs handed back before their end, by queue.");
    metrics::describe_counter!("millrace_paced_total", "Jobs put off because their kind's rate was used up, by queue.");
    metrics::describe_counter!("millrace_isolated_runs_total", "Runs of jobs that were lost before, by kind.");
    metrics::describe_counter!("millrace_isolation_processes_total", "Processes started for such runs.");
    metrics::describe_counter!(
        "millrace_stuck_handlers_total",
        "Handlers that block their threads and could not be stopped, by queue."
    );
    metrics::describe_counter!(
        "millrace_reconciled_total",
        "Jobs that Redis lacked and got from the ledger, by queue."
    );
    metrics::describe_gauge!("millrace_ledger_partitions", "Partitions of the ledger by time.");
    metrics::describe_gauge!("millrace_ledger_ahead_seconds", "How far ahead the ledger has partitions.");
    metrics::describe_gauge!("millrace_ledger_default_rows", "Jobs that have no partition; above 10,000 not counted.");
    metrics::describe_gauge!("millrace_ledger_retention_lag_seconds", "For how long the oldest partition is overdue.");
    metrics::describe_gauge!("millrace_ledger_survivors", "Jobs that outlived their partition, at the last drop.");
    metrics::describe_counter!("millrace_ledger_partitions_dropped_total", "Partitions dropped for their age.");
    metrics::describe_counter!("millrace_ledger_moved_total", "Jobs moved to a partition made after them.");
    metrics::describe_counter!("millrace_housekeeping_failures_total", "Rounds of housekeeping that met an error.");
    metrics::describe_counter!("millrace_schedule_ticks_total", "Ticks of schedules, by kind and outcome.");
    metrics::describe_counter!(
        "millrace_schedule_missed_total",
        "Ticks that passed while no worker was there, by kind."
    );
    metrics::describe_histogram!("millrace_schedule_late_seconds", "How long ticks had been due.");
    metrics::describe_gauge!("millrace_schedules_leader", "1 in the worker that lets schedules tick.");
    metrics::describe_gauge!("millrace_running", "Jobs that run in this worker, by queue.");
    metrics::describe_histogram!("millrace_job_duration_seconds", "How long runs took, by kind.");
}

/// Serves until `end`.
pub(crate) async fn serve(listener: TcpListener, checks: Checks, end: CancellationToken) -> std::io::Result<()> {
    describe_metrics();
    let upkeep = checks.metrics.clone();
    let app = Router::new()
        .route("/health/live", get(|| async { Json(json!({ "status": "ok" })) }))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(checks);
    let ended = end.clone();
    let server = axum::serve(listener, app).with_graceful_shutdown(async move { ended.cancelled().await });
    let keep_up = async {
        while end.run_until_cancelled(tokio::time::sleep(UPKEEP)).await.is_some() {
            upkeep.run_upkeep();
        }
    };
    tokio::join!(server, keep_up).0
}

/// Ready is a worker that can claim: Postgres and Redis answer, and no drain has begun.
async fn ready(State(checks): State<Checks>) -> impl IntoResponse {
    let postgres = tokio::time::timeout(PATIENCE, sqlx::query("SELECT 1").execute(&checks.pool));
    let redis = tokio::time::timeout(PATIENCE, checks.queues.ping());
    let writes = tokio::time::timeout(PATIENCE, checks.queues.takes_writes());
    let (postgres, redis, writes) = tokio::join!(postgres, redis, writes);
    let (postgres, redis) = (matches!(postgres, Ok(Ok(_))), matches!(redis, Ok(Ok(_))));
    let draining = checks.drain.is_cancelled();
    let is_ready = postgres && redis && !draining;
    let state = |up: bool| if up { "up" } else { "down" };
    // It works on what Redis has: that is how memory becomes free.
    let writes = match writes {
        Ok(Err(refused)) if redis => refused.why(),
        _ => state(redis),
    };
    let body: Value = json!({
        "status": if is_ready { "ready" } else if draining { "draining" } else { "not_ready" },
        "worker": checks.worker,
        "checks": { "postgres": state(postgres), "redis": writes },
    });
    (if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(body))
}

async fn metrics(State(checks): State<Checks>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, METRICS_CONTENT_TYPE)], checks.metrics.render())
}
