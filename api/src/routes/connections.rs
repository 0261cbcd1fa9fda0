//! Connections to CRMs. The API keeps them and calls no CRM: that a connection serves is for a worker to find out.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use millrace_shared::crm::{self, Credentials};
use millrace_shared::db::crm::connections::{self, NewConnection as NewRow};
use millrace_shared::db::crm::{credentials, records, syncs};
use millrace_shared::ids::{ConnectionId, JobId, OrgId};
use millrace_shared::intake;
use millrace_shared::jobs::{CrmConnect, CrmSync, JobPayload, JobRequest};
use millrace_shared::ledger::Accepted;
use millrace_shared::seal::{Keyring, Sealed};
use sqlx::PgConnection;

use super::webhook_sources::{keyring, not_configured};
use crate::error::ApiError;
use crate::extract::{self, Path, Query, Submitter};
use crate::state::AppState;
use crate::wire::{
    self, Connection, ConnectionChange, Drift, List, NewConnection, NewCredentials, NewSync, PageParams, Sync,
    page_request,
};

/// So many copies a statement deletes in a fraction of its time.
const DELETED_AT_ONCE: u32 = 5_000;
const NO_CONNECTION: ApiError = ApiError::NotFound("connection");

/// Connect an account in a CRM.
///
/// With a token, or a key of Salesforce's, a job begins at once that tries it and begins the first sync. With `oauth`, a person grants access first.
#[utoipa::path(
    post, path = "/v1/connections", tag = "CRM", operation_id = "createConnection", request_body = NewConnection,
    responses(
        (status = 201, description = "The connection", body = Connection),
        (status = 409, description = "The installation lacks `MILLRACE_ENCRYPTION_KEYS` or `MILLRACE_PUBLIC_URL` (`not_configured`)"),
    ),
)]
pub(super) async fn create(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    extract::Json(body): extract::Json<NewConnection>,
) -> Result<(StatusCode, Json<Connection>), ApiError> {
    let new = body.check(&state.redirect_uri()).map_err(ApiError::Invalid)?;
    if new.waits_for_grant {
        needs_public_url(&state)?;
    }
    let id = ConnectionId::new();
    let sealed = sealed(keyring(&state)?, (caller.org, id), &new.credentials);
    let row = NewRow {
        id,
        org: caller.org,
        provider: new.provider,
        name: &new.name,
        account: new.account.as_deref(),
        objects: &new.objects,
        conflict_policy: new.conflict_policy,
    };
    let mut transaction = state.database().begin().await?;
    let made = connections::create(&mut transaction, &row).await?;
    credentials::insert(&mut transaction, caller.org, id, &sealed).await?;
    let accepted = if new.waits_for_grant {
        Vec::new()
    } else {
        submit(&state, &mut transaction, caller.org, &CrmConnect { connection_id: id }).await?
    };
    transaction.commit().await?;
    intake::publish(state.queues(), &accepted).await;
    Ok((StatusCode::CREATED, Json(Connection::of(made, job_of(&accepted)))))
}

/// List connections.
///
/// Newest first.
#[utoipa::path(
    get, path = "/v1/connections", tag = "CRM", operation_id = "listConnections", params(PageParams),
    responses((status = 200, description = "A page", body = List<Connection>)),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Query(params): Query<PageParams>,
) -> Result<Json<List<Connection>>, ApiError> {
    let page = page_request(params.cursor, params.limit);
    let found = connections::list(&mut *state.database().acquire().await?, caller.org, &page).await?;
    Ok(Json(List::of(found, |row| Connection::of(row, None))))
}

/// Get a connection.
#[utoipa::path(
    get, path = "/v1/connections/{id}", tag = "CRM", operation_id = "getConnection",
    params(("id" = uuid::Uuid, Path, description = "The connection")),
    responses((status = 200, description = "The connection", body = Connection), (status = 404, description = "No such connection")),
)]
pub(super) async fn get(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Path(id): Path<ConnectionId>,
) -> Result<Json<Connection>, ApiError> {
    let found = connections::get(&mut *state.database().acquire().await?, caller.org, id).await?;
    Ok(Json(Connection::of(found.ok_or(NO_CONNECTION)?, None)))
}

/// Change a connection.
#[utoipa::path(
    patch, path = "/v1/connections/{id}", tag = "CRM", operation_id = "changeConnection", request_body = ConnectionChange,
    params(("id" = uuid::Uuid, Path, description = "The connection")),
    responses((status = 200, description = "The connection", body = Connection), (status = 404, description = "No such connection")),
)]
pub(super) async fn change(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Path(id): Path<ConnectionId>,
    extract::Json(body): extract::Json<ConnectionChange>,
) -> Result<Json<Connection>, ApiError> {
    let mut connection = state.database().acquire().await?;
    if !connections::set_policy(&mut connection, (caller.org, id), body.conflict_policy).await? {
        return Err(NO_CONNECTION);
    }
    let found = connections::get(&mut connection, caller.org, id).await?;
    Ok(Json(Connection::of(found.ok_or(NO_CONNECTION)?, None)))
}

/// Delete a connection.
///
/// With its credentials, its copy of the account, and the sources of webhooks that belong to it. Nothing happens to the account. A large copy takes a while: where
/// the answer is 408, what was deleted stays so, and the next call goes on.
#[utoipa::path(
    delete, path = "/v1/connections/{id}", tag = "CRM", operation_id = "deleteConnection",
    params(("id" = uuid::Uuid, Path, description = "The connection")),
    responses((status = 204, description = "It is gone"), (status = 404, description = "No such connection")),
)]
pub(super) async fn delete(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Path(id): Path<ConnectionId>,
) -> Result<StatusCode, ApiError> {
    let mut connection = state.database().acquire().await?;
    // Each part by itself, because a statement has little time.
    while records::delete_some(&mut connection, caller.org, id, DELETED_AT_ONCE).await? == u64::from(DELETED_AT_ONCE) {}
    let gone = connections::delete(&mut connection, caller.org, id).await?;
    if gone { Ok(StatusCode::NO_CONTENT) } else { Err(NO_CONNECTION) }
}

/// Replace a connection's credentials.
///
/// What its jobs waited for, if it was `reauthorize`: a job tries them, and then the others go on.
#[utoipa::path(
    put, path = "/v1/connections/{id}/credentials", tag = "CRM", operation_id = "replaceCredentials", request_body = NewCredentials,
    params(("id" = uuid::Uuid, Path, description = "The connection")),
    responses((status = 200, description = "The connection", body = Connection), (status = 404, description = "No such connection")),
)]
pub(super) async fn replace(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Path(id): Path<ConnectionId>,
    extract::Json(body): extract::Json<NewCredentials>,
) -> Result<Json<Connection>, ApiError> {
    let waits_for_grant = matches!(body.auth, wire::NewAuth::Oauth { .. });
    if waits_for_grant {
        needs_public_url(&state)?;
    }
    let mut transaction = state.database().begin().await?;
    let found = connections::get(&mut transaction, caller.org, id).await?.ok_or(NO_CONNECTION)?;
    let mut wrong = Vec::new();
    let new = body.auth.check(found.provider(), &state.redirect_uri(), &mut wrong);
    if !wrong.is_empty() {
        return Err(ApiError::Invalid(wrong));
    }
    let sealed = sealed(keyring(&state)?, (caller.org, id), &new);
    credentials::lock_waiting(&mut transaction, caller.org, id).await?.ok_or(NO_CONNECTION)?;
    credentials::replace(&mut transaction, caller.org, id, &sealed).await?;
    let accepted = if waits_for_grant {
        Vec::new()
    } else {
        submit(&state, &mut transaction, caller.org, &CrmConnect { connection_id: id }).await?
    };
    transaction.commit().await?;
    intake::publish(state.queues(), &accepted).await;
    Ok(Json(Connection::of(found, job_of(&accepted))))
}

/// Sync a connection.
///
/// One sync of a mode waits or runs at a time: where there is one, it is the answer.
#[utoipa::path(
    post, path = "/v1/connections/{id}/sync", tag = "CRM", operation_id = "syncConnection", request_body = NewSync,
    params(("id" = uuid::Uuid, Path, description = "The connection")),
    responses((status = 202, description = "The connection, with the job", body = Connection), (status = 404, description = "No such connection")),
)]
pub(super) async fn sync(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Path(id): Path<ConnectionId>,
    extract::Json(body): extract::Json<NewSync>,
) -> Result<(StatusCode, Json<Connection>), ApiError> {
    let mut transaction = state.database().begin().await?;
    let found = connections::get(&mut transaction, caller.org, id).await?.ok_or(NO_CONNECTION)?;
    let kept = found.objects();
    if let Some(object) = body.objects.iter().flatten().find(|object| !kept.contains(object)) {
        return Err(ApiError::invalid("objects", format!("{object} are not kept by this connection")));
    }
    let payload = CrmSync { connection_id: id, mode: body.mode, objects: body.objects };
    let accepted = submit(&state, &mut transaction, caller.org, &payload).await?;
    transaction.commit().await?;
    intake::publish(state.queues(), &accepted).await;
    Ok((StatusCode::ACCEPTED, Json(Connection::of(found, job_of(&accepted)))))
}

/// List a connection's syncs.
///
/// Newest first.
#[utoipa::path(
    get, path = "/v1/connections/{id}/syncs", tag = "CRM", operation_id = "listSyncs",
    params(("id" = uuid::Uuid, Path, description = "The connection"), PageParams),
    responses((status = 200, description = "A page", body = List<Sync>), (status = 404, description = "No such connection")),
)]
pub(super) async fn syncs(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Path(id): Path<ConnectionId>,
    Query(params): Query<PageParams>,
) -> Result<Json<List<Sync>>, ApiError> {
    let page = page_request(params.cursor, params.limit);
    let mut connection = state.database().acquire().await?;
    connections::get(&mut connection, caller.org, id).await?.ok_or(NO_CONNECTION)?;
    Ok(Json(List::of(syncs::list(&mut connection, caller.org, id, &page).await?, Sync::of)))
}

/// List what has drifted.
///
/// Fields that were not what they are known to be, the last 200. Records are kept all the same.
#[utoipa::path(
    get, path = "/v1/connections/{id}/drift", tag = "CRM", operation_id = "listDrift",
    params(("id" = uuid::Uuid, Path, description = "The connection")),
    responses((status = 200, description = "What has drifted", body = List<Drift>), (status = 404, description = "No such connection")),
)]
pub(super) async fn drift(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Path(id): Path<ConnectionId>,
) -> Result<Json<List<Drift>>, ApiError> {
    let mut connection = state.database().acquire().await?;
    connections::get(&mut connection, caller.org, id).await?.ok_or(NO_CONNECTION)?;
    let found = syncs::drift(&mut connection, caller.org, id).await?;
    Ok(Json(List { items: found.into_iter().map(Drift::from).collect(), next_cursor: None }))
}

/// Submits a job of ours, in the caller's transaction.
pub(super) async fn submit<P: JobPayload>(
    state: &AppState,
    transaction: &mut PgConnection,
    org: OrgId,
    payload: &P,
) -> Result<Vec<Accepted>, ApiError> {
    let payload = serde_json::to_value(payload).map_err(ApiError::internal)?;
    let jobs = intake::check(state.kinds(), vec![JobRequest::new(P::KIND, payload)], "", |_| String::new());
    let jobs = jobs.map_err(ApiError::Invalid)?;
    Ok(intake::accept(transaction, org, &jobs, |_| String::new()).await?)
}

pub(super) fn job_of(accepted: &[Accepted]) -> Option<JobId> {
    accepted.first().map(|accepted| accepted.row().id)
}

pub(super) fn sealed(keyring: &Keyring, (org, id): (OrgId, ConnectionId), credentials: &Credentials) -> Sealed {
    keyring.seal(&crm::place(org, id), &credentials.to_secret())
}

fn needs_public_url(state: &AppState) -> Result<(), ApiError> {
    if state.has_public_url() {
        return Ok(());
    }
    Err(not_configured(
        "grants come back to this API: set MILLRACE_PUBLIC_URL to the address that browsers reach it by",
    ))
}
