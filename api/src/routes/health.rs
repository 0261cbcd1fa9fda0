//! Whether the process lives, and whether it can do its work.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use millrace_shared::db;
use serde::Serialize;
use utoipa::ToSchema;

use crate::state::AppState;

/// Longest wait for one check.
const PATIENCE: Duration = Duration::from_secs(2);

/// The process lives.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Alive {
    /// Always `ok`.
    status: &'static str,
}

/// Liveness.
///
/// Asks nothing else: a process must not be restarted because a server is away.
#[utoipa::path(
    get, path = "/health/live", tag = "System", operation_id = "live", security(()),
    responses((status = 200, description = "It lives", body = Alive)),
)]
pub(super) async fn live() -> Json<Alive> {
    Json(Alive { status: "ok" })
}

/// Whether the API can do its work, and with what.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Readiness {
    /// `ready`; `degraded` when jobs are accepted but something else does not work; `unavailable` when they are not; `draining`.
    status: &'static str,
    /// Without it nothing works.
    postgres: Check,
    /// Without it jobs are accepted and wait.
    redis: Check,
    /// Without it there are no uploads.
    storage: Check,
}

/// One server that the API depends on.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Check {
    /// Whether it works.
    ok: bool,
    /// How long it took to tell.
    ms: u64,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// Readiness.
///
/// Whether the API can do its work, and with what.
#[utoipa::path(
    get, path = "/health/ready", tag = "System", operation_id = "ready", security(()),
    responses(
        (status = 200, description = "It accepts jobs; `degraded` says that Redis or the object store is away, or Redis out of memory", body = Readiness),
        (status = 503, description = "It does not: Postgres is away, a migration is missing, or it is draining"),
    ),
)]
pub(super) async fn ready(State(state): State<AppState>) -> (StatusCode, Json<Readiness>) {
    let (postgres, redis, storage) = tokio::join!(
        check("postgres", postgres(&state)),
        check("redis", async {
            state.queues().takes_writes().await.map_err(|refused| (refused.why(), refused.into()))
        }),
        check("storage", async { state.storage().ping().await.map_err(|error| ("does not answer", error.into())) }),
    );
    let (code, status) = if state.draining().is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else if !postgres.ok {
        (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
    } else if redis.ok && storage.ok {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::OK, "degraded")
    };
    (code, Json(Readiness { status, postgres, redis, storage }))
}

/// What to tell everybody, and what to tell the log.
type Failed = (&'static str, Box<dyn std::error::Error + Send + Sync>);

async fn postgres(state: &AppState) -> Result<(), Failed> {
    let mut connection = state.database().acquire().await.map_err(|error| ("is not reachable", Box::from(error)))?;
    let pending = db::pending_migrations(&mut connection)
        .await
        .map_err(|error| ("does not tell its migrations", Box::from(error)))?;
    if pending.is_empty() {
        Ok(())
    } else {
        Err(("lacks migrations; run `millrace migrate`", format!("{} migrations are pending", pending.len()).into()))
    }
}

async fn check(name: &'static str, work: impl Future<Output = Result<(), Failed>>) -> Check {
    let begun = Instant::now();
    let outcome = tokio::time::timeout(PATIENCE, work).await;
    let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let problem = match outcome {
        Ok(Ok(())) => None,
        Ok(Err((problem, error))) => {
            tracing::debug!(check = name, error = &*error as &dyn std::error::Error, "a readiness check failed");
            Some(problem.to_owned())
        }
        Err(_) => Some(format!("gave no answer within {} ms", PATIENCE.as_millis())),
    };
    Check { ok: problem.is_none(), ms, problem }
}
