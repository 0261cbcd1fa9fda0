//! Sources of webhooks: who may deliver, how that is verified, and what it becomes.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use http::{HeaderMap, HeaderName, HeaderValue};
use millrace_shared::crm::Provider;
use millrace_shared::db::crm::connections;
use millrace_shared::db::webhooks::{self, NewSource, SecretRecord, Source};
use millrace_shared::ids::{ConnectionId, OrgId, SecretId, SourceId};
use millrace_shared::jobs::FieldError;
use millrace_shared::seal::Keyring;
use millrace_shared::webhook::Delivery;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::PgConnection;

use super::webhooks::verify;
use crate::error::ApiError;
use crate::extract::{self, Path, Query, Submitter};
use crate::state::AppState;
use crate::wire::{
    Limit, List, NewWebhookSecret, NewWebhookSource, PageParams, WebhookSource, WebhookTest, WebhookVerdict,
};

/// Make a source of webhooks.
///
/// The answer has the URL to give to the sender, and the secret where it was made here; it is shown this once.
#[utoipa::path(
    post, path = "/v1/webhook-sources", tag = "Webhooks", operation_id = "createWebhookSource", request_body = NewWebhookSource,
    responses(
        (status = 201, description = "The source", body = WebhookSource),
        (status = 409, description = "The installation lacks `MILLRACE_ENCRYPTION_KEYS` or `MILLRACE_PUBLIC_URL` (`not_configured`)"),
    ),
)]
pub(super) async fn create(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    extract::Json(body): extract::Json<NewWebhookSource>,
) -> Result<(StatusCode, Json<WebhookSource>), ApiError> {
    let mut transaction = state.database().begin().await?;
    let connected = provider(&mut transaction, caller.org, body.connection_id()).await?;
    let new = body.check(state.kinds(), connected).map_err(ApiError::Invalid)?;
    if new.scheme.signs_the_url() && !state.has_public_url() {
        return Err(not_configured(
            "this scheme signs the URL: set MILLRACE_PUBLIC_URL to the address that senders reach this API by",
        ));
    }
    let keyring = keyring(&state)?;
    let id = SourceId::new();
    let row = NewSource {
        id,
        org: caller.org,
        name: &new.name,
        scheme: &new.scheme,
        kind: new.kind,
        connection_id: new.connection_id,
        tolerance_seconds: new.tolerance_seconds,
    };
    let source = webhooks::create(&mut transaction, &row).await?;
    add_secret(&mut transaction, keyring, (caller.org, id), new.secret.get()).await?;
    let secrets = webhooks::secrets(&mut transaction, caller.org, id).await?;
    transaction.commit().await?;
    let shown = new.secret.to_show().map(|secret| secret.expose_secret().to_owned());
    Ok((StatusCode::CREATED, Json(shape(&state, source, &secrets, shown))))
}

/// List sources of webhooks.
///
/// Newest first.
#[utoipa::path(
    get, path = "/v1/webhook-sources", tag = "Webhooks", operation_id = "listWebhookSources", params(PageParams<SourceId>),
    responses((status = 200, description = "A page", body = List<WebhookSource>)),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Query(params): Query<PageParams<SourceId>>,
) -> Result<Json<List<WebhookSource>>, ApiError> {
    let limit = usize::from(Limit::get(params.limit));
    let mut connection = state.database().acquire().await?;
    let mut rows = webhooks::list(&mut connection, caller.org, params.cursor, limit as i64 + 1).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows.last().filter(|_| more).map(|source| source.id.to_string());
    let found = webhooks::with_secrets(&mut connection, rows).await?;
    let items = found.into_iter().map(|(source, secrets)| shape(&state, source, &secrets, None)).collect();
    Ok(Json(List { items, next_cursor }))
}

/// Get a source of webhooks.
#[utoipa::path(
    get, path = "/v1/webhook-sources/{id}", tag = "Webhooks", operation_id = "getWebhookSource",
    params(("id" = uuid::Uuid, Path, description = "The source")),
    responses((status = 200, description = "The source", body = WebhookSource), (status = 404, description = "No such source")),
)]
pub(super) async fn get(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Path(id): Path<SourceId>,
) -> Result<Json<WebhookSource>, ApiError> {
    let mut connection = state.database().acquire().await?;
    let (source, secrets) = known(&mut connection, caller.org, id).await?;
    Ok(Json(shape(&state, source, &secrets, None)))
}

/// Delete a source of webhooks.
///
/// What it delivers from then on is refused. Jobs that were made of what it delivered go on.
#[utoipa::path(
    delete, path = "/v1/webhook-sources/{id}", tag = "Webhooks", operation_id = "deleteWebhookSource",
    params(("id" = uuid::Uuid, Path, description = "The source")),
    responses((status = 204, description = "It is gone"), (status = 404, description = "No such source")),
)]
pub(super) async fn delete(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Path(id): Path<SourceId>,
) -> Result<StatusCode, ApiError> {
    let mut connection = state.database().acquire().await?;
    if webhooks::delete(&mut connection, caller.org, id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::NotFound("source of webhooks"))
    }
}

/// Replace a source's secret.
///
/// The ones before it go on for `overlap_seconds`, so that the sender can be changed in peace; with 0 they end at once.
#[utoipa::path(
    post, path = "/v1/webhook-sources/{id}/rotate", tag = "Webhooks", operation_id = "rotateWebhookSecret", request_body = NewWebhookSecret,
    params(("id" = uuid::Uuid, Path, description = "The source")),
    responses((status = 200, description = "The source", body = WebhookSource), (status = 404, description = "No such source")),
)]
pub(super) async fn rotate(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Path(id): Path<SourceId>,
    extract::Json(body): extract::Json<NewWebhookSecret>,
) -> Result<Json<WebhookSource>, ApiError> {
    let keyring = keyring(&state)?;
    let mut transaction = state.database().begin().await?;
    let (source, _) = known(&mut transaction, caller.org, id).await?;
    let (secret, overlap) = body.check(&source.scheme).map_err(ApiError::Invalid)?;
    webhooks::expire_secrets(&mut transaction, caller.org, id, Duration::from_secs(u64::from(overlap))).await?;
    add_secret(&mut transaction, keyring, (caller.org, id), secret.get()).await?;
    let (source, secrets) = known(&mut transaction, caller.org, id).await?;
    transaction.commit().await?;
    let shown = secret.to_show().map(|secret| secret.expose_secret().to_owned());
    Ok(Json(shape(&state, source, &secrets, shown)))
}

/// Try a source's verification.
///
/// Says what would be answered to a delivery with these headers and this body, and why. Nothing is taken in.
#[utoipa::path(
    post, path = "/v1/webhook-sources/{id}/test", tag = "Webhooks", operation_id = "testWebhookSource", request_body = WebhookTest,
    params(("id" = uuid::Uuid, Path, description = "The source")),
    responses((status = 200, description = "The verdict", body = WebhookVerdict), (status = 404, description = "No such source")),
)]
pub(super) async fn test(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Path(id): Path<SourceId>,
    extract::Json(body): extract::Json<WebhookTest>,
) -> Result<Json<WebhookVerdict>, ApiError> {
    let mut connection = state.database().acquire().await?;
    let (source, secrets) = known(&mut connection, caller.org, id).await?;
    drop(connection);
    let mut headers = HeaderMap::new();
    for (name, value) in &body.headers {
        let wrong = |what| ApiError::Invalid(vec![FieldError::new(format!("headers.{name}"), what)]);
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("is no name of a header"))?;
        headers
            .append(name, HeaderValue::from_str(value).map_err(|_| wrong("has characters that no header may have"))?);
    }
    let url = format!("{}{}", state.webhook_url(id), body.path);
    let delivery = Delivery {
        method: source.scheme.method(),
        url: &url,
        token: body.path.strip_prefix('/'),
        headers: &headers,
        body: body.body.as_bytes(),
    };
    let now = body.at.map_or_else(chrono::Utc::now, |at| at.0);
    Ok(Json(match verify(state.keyring(), &source, &secrets, &delivery, now)? {
        Ok(_) => WebhookVerdict { accepted: true, code: None, detail: "it would be taken in".to_owned() },
        Err(refusal) => WebhookVerdict { accepted: false, code: Some(refusal.code()), detail: refusal.to_string() },
    }))
}

/// The CRM that a connection is to.
async fn provider(
    connection: &mut PgConnection,
    org: OrgId,
    id: Option<ConnectionId>,
) -> Result<Option<Provider>, ApiError> {
    let Some(id) = id else { return Ok(None) };
    match connections::get(connection, org, id).await? {
        Some(found) => Ok(Some(found.provider())),
        None => Err(ApiError::invalid("connection_id", "names no connection of this organisation")),
    }
}

async fn known(
    connection: &mut PgConnection,
    org: OrgId,
    id: SourceId,
) -> Result<(Source, Vec<SecretRecord>), ApiError> {
    let source = webhooks::get(connection, org, id).await?.ok_or(ApiError::NotFound("source of webhooks"))?;
    let secrets = webhooks::secrets(connection, org, id).await?;
    Ok((source, secrets))
}

async fn add_secret(
    connection: &mut PgConnection,
    keyring: &Keyring,
    (org, source): (OrgId, SourceId),
    secret: &SecretString,
) -> Result<(), ApiError> {
    let id = SecretId::new();
    let sealed = keyring.seal(&SecretRecord::place_of(org, id), secret);
    Ok(webhooks::add_secret(connection, (org, source), id, &sealed).await?)
}

pub(super) fn keyring(state: &AppState) -> Result<&Keyring, ApiError> {
    state.keyring().ok_or_else(|| not_configured("secrets are kept sealed: set MILLRACE_ENCRYPTION_KEYS"))
}

pub(super) fn not_configured(detail: &str) -> ApiError {
    ApiError::Conflict { code: "not_configured", detail: detail.to_owned() }
}

fn shape(state: &AppState, source: Source, secrets: &[SecretRecord], shown: Option<String>) -> WebhookSource {
    let url = state.webhook_url(source.id);
    WebhookSource::of(source, secrets, url, shown)
}
