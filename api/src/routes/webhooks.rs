//! `POST /v1/webhooks/{source}`, or for some schemes GET: where others deliver. Public: what a delivery proves is its only credential.
//!
//! Whatever is wrong with it, the sender gets the same answer, which tells neither whether there is such a source nor what was missing; operators find
//! that in `millrace_webhooks_total` and the log, where no body, header or secret is ever written.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use metrics::counter;
use millrace_shared::db::webhooks::{Arrival, SecretRecord, Source};
use millrace_shared::ids::{EventId, SourceId};
use millrace_shared::intake;
use millrace_shared::jobs::{JobPayload as _, JobRequest, NewJob, WebhookDeliver};
use millrace_shared::seal::Keyring;
use millrace_shared::webhook::{self, Delivery, Refusal, Verified};
use secrecy::SecretString;

use crate::arrivals::{Delivered, Seen};
use crate::error::ApiError;
use crate::state::AppState;

const REFUSED: ApiError = ApiError::Unauthenticated("the delivery cannot be verified");

/// The parts of a path. One that cannot be read names no source, and is answered like any other that names none.
type Named<T> = Result<Path<T>, PathRejection>;

/// Longest content type that is kept.
const MOST_TYPE_CHARS: usize = 255;

/// The content type of SOAP 1.1.
const SOAP: &str = "text/xml";
const OUTBOUND: &str = "http://soap.sforce.com/2005/09/outbound";
const ACKNOWLEDGED: &str = concat!(
    r#"<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>"#,
    r#"<notificationsResponse xmlns="http://soap.sforce.com/2005/09/outbound"><Ack>true</Ack></notificationsResponse>"#,
    "</soapenv:Body></soapenv:Envelope>",
);

/// Deliver a webhook.
///
/// For senders of webhooks. Answers 200 once the delivery is safe, also when it has come before, and 401 whatever is wrong with it.
#[utoipa::path(
    post, path = "/v1/webhooks/{source}", tag = "Webhooks", operation_id = "deliverWebhook", security(()),
    params(("source" = uuid::Uuid, Path, description = "The source")),
    request_body(content = String, content_type = "*/*", description = "Whatever the source sends"),
    responses(
        (status = 200, description = "It is safe"),
        (status = 401, description = "It cannot be verified"),
        (status = 413, description = "It is larger than `MILLRACE_WEBHOOK_MAX_BODY_BYTES`"),
    ),
)]
pub(super) async fn deliver(
    State(state): State<AppState>,
    source: Named<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let source = source.map_or_else(|_| String::new(), |path| path.0);
    take(&state, &source, None, request).await
}

/// Deliver a webhook that is a GET.
///
/// As the other, for senders that say in the query all that they have to say.
#[utoipa::path(
    get, path = "/v1/webhooks/{source}", tag = "Webhooks", operation_id = "deliverWebhookByQuery", security(()),
    params(
        ("source" = uuid::Uuid, Path, description = "The source"),
        ("client_uuid" = Option<String>, Query, description = "`kommo_disabled`: the integration"),
        ("account_id" = Option<String>, Query, description = "`kommo_disabled`: the account"),
        ("signature" = Option<String>, Query, description = "`kommo_disabled`: over both"),
    ),
    responses(
        (status = 200, description = "It is safe"),
        (status = 401, description = "It cannot be verified"),
        (status = 413, description = "It is larger than `MILLRACE_WEBHOOK_MAX_BODY_BYTES`"),
    ),
)]
pub(super) async fn deliver_by_query(
    State(state): State<AppState>,
    source: Named<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let source = source.map_or_else(|_| String::new(), |path| path.0);
    take(&state, &source, None, request).await
}

/// Deliver a webhook to a secret URL.
///
/// As the other, for senders that can prove nothing else: the secret is the last part of the path.
#[utoipa::path(
    post, path = "/v1/webhooks/{source}/{secret}", tag = "Webhooks", operation_id = "deliverWebhookToSecretUrl", security(()),
    params(("source" = uuid::Uuid, Path, description = "The source"), ("secret" = String, Path, description = "Its secret")),
    request_body(content = String, content_type = "*/*", description = "Whatever the source sends"),
    responses(
        (status = 200, description = "It is safe"),
        (status = 401, description = "It cannot be verified"),
        (status = 413, description = "It is larger than `MILLRACE_WEBHOOK_MAX_BODY_BYTES`"),
    ),
)]
pub(super) async fn deliver_by_secret(
    State(state): State<AppState>,
    named: Named<(String, String)>,
    request: Request,
) -> Result<Response, ApiError> {
    let (source, secret) = named.map_or_else(|_| (String::new(), String::new()), |path| path.0);
    take(&state, &source, Some(secret), request).await
}

async fn take(state: &AppState, source: &str, token: Option<String>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    // Before anything is known of the sender, so that the time it takes tells nothing of the source.
    let body = read(state, body).await?;
    let holder = match source.parse::<SourceId>() {
        Ok(id) => state.keyholders().ask(id).await?,
        Err(_) => None,
    };
    let Some(holder) = holder else {
        count("unknown", "unknown_source");
        return Err(REFUSED);
    };
    let (source, secrets) = &*holder;
    let url = state.public_url(&parts.uri);
    let delivery = Delivery {
        method: parts.method.as_str(),
        url: &url,
        token: token.as_deref(),
        headers: &parts.headers,
        body: &body,
    };
    let verified = verify(state.keyring(), source, secrets, &delivery, Utc::now())?;
    let name = source.id.to_string();
    let verified = verified.map_err(|refusal| {
        count(&name, refusal.code());
        tracing::info!(source.id = %source.id, org.id = %source.org_id, reason = refusal.code(), "a webhook was refused");
        REFUSED
    })?;
    let answer = answer(&parts.headers, &body);
    let seen = state.arrivals().ask(arrived(state, source, (&parts.headers, body), &verified)?).await?;
    match seen {
        Seen::First => count(&name, "accepted"),
        Seen::Before => count(&name, "duplicate"),
        Seen::Refused => {
            count("unknown", "unknown_source");
            return Err(REFUSED);
        }
    }
    Ok(answer)
}

/// What senders want to hear where 200 is not enough: Salesforce's outbound messages come again for a day unless SOAP says that they were taken in
/// (<https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_om_outboundmessaging_wsdl.htm>).
fn answer(headers: &HeaderMap, body: &[u8]) -> Response {
    let content_type = headers.get(CONTENT_TYPE).map_or(b"".as_slice(), HeaderValue::as_bytes);
    let is_xml = content_type.get(..SOAP.len()).is_some_and(|start| start.eq_ignore_ascii_case(SOAP.as_bytes()));
    if is_xml && body.windows(OUTBOUND.len()).any(|window| window == OUTBOUND.as_bytes()) {
        return ([(CONTENT_TYPE, "text/xml; charset=utf-8")], ACKNOWLEDGED).into_response();
    }
    StatusCode::OK.into_response()
}

fn count(source: &str, outcome: &'static str) {
    counter!("millrace_webhooks_total", "source" => source.to_owned(), "outcome" => outcome).increment(1);
}

async fn read(state: &AppState, body: axum::body::Body) -> Result<Bytes, ApiError> {
    let limit = state.limits().webhook_bytes;
    let read = Limited::new(body, limit).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            return ApiError::TooLarge { limit_bytes: limit as u64 };
        }
        ApiError::Malformed("the body broke off".into())
    })?;
    Ok(read.to_bytes())
}

/// Opens a source's secrets and judges a delivery by them.
pub(super) fn verify(
    keyring: Option<&Keyring>,
    source: &Source,
    secrets: &[SecretRecord],
    delivery: &Delivery<'_>,
    now: chrono::DateTime<Utc>,
) -> Result<Result<Verified, Refusal>, ApiError> {
    let keyring = keyring
        .ok_or_else(|| ApiError::Internal("MILLRACE_ENCRYPTION_KEYS is not set, and secrets are sealed".into()))?;
    let opened: Result<Vec<SecretString>, _> =
        secrets.iter().map(|secret| keyring.open(&secret.place(source.org_id), &secret.sealed)).collect();
    let opened = opened.map_err(ApiError::internal)?;
    let tolerance = TimeDelta::seconds(i64::from(source.tolerance_seconds));
    Ok(webhook::verify(&source.scheme, &opened, delivery, (now, tolerance)))
}

fn arrived(
    state: &AppState,
    source: &Source,
    (headers, body): (&HeaderMap, Bytes),
    verified: &Verified,
) -> Result<Delivered, ApiError> {
    let id = EventId::new();
    let (content_type, body) = match &verified.said {
        Some(said) => (Some("application/json"), said.clone()),
        None => (headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()), body.to_vec()),
    };
    let job = job_of(state, id)?;
    let arrival = Arrival {
        id,
        org: source.org_id,
        source: source.id,
        fingerprint: verified.fingerprint,
        content_type: content_type.map(|text| text.chars().take(MOST_TYPE_CHARS).collect()),
        body,
        job: job.id,
    };
    Ok(Delivered { arrival, job: std::sync::Arc::new(job) })
}

fn job_of(state: &AppState, event: EventId) -> Result<NewJob, ApiError> {
    let payload = serde_json::to_value(WebhookDeliver { event_id: event }).map_err(ApiError::internal)?;
    let request = vec![JobRequest::new(WebhookDeliver::KIND, payload)];
    let jobs = intake::check(state.kinds(), request, "", |_| String::new()).map_err(ApiError::Invalid)?;
    jobs.into_iter().next().ok_or_else(|| ApiError::internal("a checked request gave no job"))
}
