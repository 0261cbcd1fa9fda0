//! What holds for single organisations: their weights and limits of their own. For the platform's staff, whoever's organisation it is.

use axum::Json;
use axum::extract::State;
use millrace_shared::control::change_org_settings;
use millrace_shared::db::organisations;
use millrace_shared::ids::OrgId;
use millrace_shared::wire::{self, OrgLimits};
use sqlx::PgConnection;

use crate::error::ApiError;
use crate::extract::{self, Operator, Path};
use crate::state::AppState;
use crate::wire::OrgLimitsBody;

/// Get an organisation's limits.
///
/// Its weight and its own limits, where it has any. Needs the role `operator`.
#[utoipa::path(
    get, path = "/v1/organisations/{id}/limits", tag = "Organisations", operation_id = "getOrganisationLimits",
    params(("id" = uuid::Uuid, Path, description = "The organisation")),
    responses((status = 200, description = "What holds for it", body = OrgLimits), (status = 404, description = "No such organisation")),
)]
pub(super) async fn get(
    State(state): State<AppState>,
    _caller: Operator,
    Path(org): Path<OrgId>,
) -> Result<Json<OrgLimits>, ApiError> {
    let mut connection = state.database().acquire().await?;
    known(&mut connection, org).await?;
    Ok(Json(wire::org_limits(&mut connection, org).await?))
}

/// Limit an organisation.
///
/// Sets its weight and its own limits, in one queue or in all: what was set there before is replaced. It holds from the next claim on; jobs
/// that run go on. Needs the role `operator`.
#[utoipa::path(
    put, path = "/v1/organisations/{id}/limits", tag = "Organisations", operation_id = "limitOrganisation", request_body = OrgLimitsBody,
    params(("id" = uuid::Uuid, Path, description = "The organisation")),
    responses((status = 200, description = "What holds for it now", body = OrgLimits), (status = 404, description = "No such organisation")),
)]
pub(super) async fn limit(
    State(state): State<AppState>,
    _caller: Operator,
    Path(org): Path<OrgId>,
    extract::Json(body): extract::Json<OrgLimitsBody>,
) -> Result<Json<OrgLimits>, ApiError> {
    let (queue, new) = body.check().map_err(ApiError::Invalid)?;
    let mut connection = state.database().acquire().await?;
    known(&mut connection, org).await?;
    change_org_settings(&mut connection, state.queues(), (org, queue), |settings| *settings = new).await?;
    Ok(Json(wire::org_limits(&mut connection, org).await?))
}

async fn known(connection: &mut PgConnection, org: OrgId) -> Result<(), ApiError> {
    if organisations::exists(connection, org).await? { Ok(()) } else { Err(ApiError::NotFound("organisation")) }
}
