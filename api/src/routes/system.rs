//! Metrics and version.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use millrace_shared::telemetry::METRICS_CONTENT_TYPE;
use serde::Serialize;
use utoipa::ToSchema;

use crate::state::AppState;

/// The process's metrics, as Prometheus reads them. Keep the path inside your network: it needs no credential.
#[utoipa::path(
    get, path = "/metrics", tag = "System", operation_id = "metrics", security(()),
    responses((status = 200, description = "Metrics", body = String, content_type = "text/plain")),
)]
pub(super) async fn metrics(State(state): State<AppState>) -> Response {
    let pool = state.database();
    let idle = pool.num_idle();
    metrics::gauge!("millrace_database_connections", "state" => "idle").set(count(idle));
    metrics::gauge!("millrace_database_connections", "state" => "used")
        .set(count((pool.size() as usize).saturating_sub(idle)));
    ([(CONTENT_TYPE, METRICS_CONTENT_TYPE)], state.metrics().render()).into_response()
}

#[expect(clippy::cast_precision_loss, reason = "a pool has far fewer than 2^52 connections")]
fn count(connections: usize) -> f64 {
    connections as f64
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

/// What is running.
#[utoipa::path(
    get, path = "/v1/version", tag = "System", operation_id = "version", security(()),
    responses((status = 200, description = "The version", body = Version)),
)]
pub(super) async fn version() -> Json<Version> {
    Json(Version { name: "millrace-api", version: env!("CARGO_PKG_VERSION"), api: "v1" })
}
