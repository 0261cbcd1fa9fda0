//! Grants of access: a person is sent to the CRM, and comes back with a code. The code is kept for a worker to redeem; the API calls nobody.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use millrace_shared::crm::{self, Credentials, OauthClient, Provider};
use millrace_shared::db::crm::connections::{self, Connection};
use millrace_shared::db::crm::credentials;
use millrace_shared::ids::ConnectionId;
use millrace_shared::intake;
use millrace_shared::jobs::CrmConnect;
use millrace_shared::ledger::Accepted;
use millrace_shared::queue::{GRANT_TIME, Grant};
use secrecy::SecretString;
use sqlx::PgConnection;
use url::Url;

use super::connections::{sealed, submit};
use super::webhook_sources::keyring;
use crate::error::ApiError;
use crate::extract::{Path, Submitter};
use crate::state::AppState;
use crate::wire::OauthStart;

/// Longer codes are no vendor's.
const MOST_CODE_CHARS: usize = 8_192;

/// Begin a grant of access.
///
/// Send the person who may grant it to the answer's URL within ten minutes. The CRM sends them back to `/v1/oauth/callback`, and a job does the rest.
#[utoipa::path(
    post, path = "/v1/connections/{id}/oauth/start", tag = "CRM", operation_id = "startOauth",
    params(("id" = uuid::Uuid, Path, description = "The connection")),
    responses(
        (status = 200, description = "Where the person grants access", body = OauthStart),
        (status = 404, description = "No such connection"),
        (status = 409, description = "The connection proves itself otherwise (`not_oauth`)"),
    ),
)]
pub(super) async fn start(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Path(id): Path<ConnectionId>,
) -> Result<Json<OauthStart>, ApiError> {
    let mut connection = state.database().acquire().await?;
    let found = connections::get(&mut connection, caller.org, id).await?.ok_or(ApiError::NotFound("connection"))?;
    let held = open(&state, &mut connection, &found).await?;
    drop(connection);
    let Credentials::Oauth { client, .. } = held else {
        return Err(ApiError::Conflict {
            code: "not_oauth",
            detail: "the connection proves itself by a token or a key; nobody has to grant access".to_owned(),
        });
    };
    let grant = Grant { org: caller.org, connection: id, subject: caller.subject.to_string() };
    let begun = state.queues().begin_grant(&grant).await;
    let nonce = begun.map_err(|error| ApiError::Unavailable("Redis", Some(error.into())))?;
    let authorize_url = authorize_url(&state, &found, &client, &nonce)?;
    Ok(Json(OauthStart { authorize_url, expires_in_seconds: GRANT_TIME.as_secs() }))
}

fn authorize_url(
    state: &AppState,
    connection: &Connection,
    client: &OauthClient,
    nonce: &str,
) -> Result<String, ApiError> {
    let provider = connection.provider();
    let addresses = state.crm_endpoints().of(provider, connection.account.as_deref());
    let mut url = Url::parse(&addresses.authorize).map_err(ApiError::internal)?;
    let mut query = url.query_pairs_mut();
    query.append_pair("client_id", &client.id).append_pair("state", nonce);
    if provider == Provider::Kommo {
        // It knows where to send people back to from the app, and takes no scopes (https://developers.kommo.com/docs/oauth-20).
        query.append_pair("mode", "popup");
    } else {
        query.append_pair("redirect_uri", &client.redirect_uri).append_pair("response_type", "code");
    }
    let scopes = provider.scopes();
    if !scopes.is_empty() {
        query.append_pair("scope", scopes);
    }
    drop(query);
    Ok(url.into())
}

/// Where grants of access come back to.
///
/// For browsers that a CRM sends back. The `state` serves once.
#[utoipa::path(
    get, path = "/v1/oauth/callback", tag = "CRM", operation_id = "oauthCallback", security(()),
    params(
        ("state" = String, Query, description = "What the grant was begun with"),
        ("code" = Option<String>, Query, description = "What the grant gave"),
        ("error" = Option<String>, Query, description = "Why there is none"),
    ),
    responses(
        (status = 200, description = "A page for the person: access was granted", content_type = "text/html"),
        (status = 400, description = "A page for the person: it was not, and why", content_type = "text/html"),
    ),
)]
pub(super) async fn callback(State(state): State<AppState>, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    let told = Told::read(query.as_deref().unwrap_or_default());
    let Some(nonce) = told.state else { return Ok(page(&NO_STATE)) };
    // Before the state is used up: while Postgres is away the same link can be tried again.
    let mut transaction = state.database().begin().await?;
    let ended = state.queues().end_grant(&nonce).await;
    let Some(grant) = ended.map_err(|error| ApiError::Unavailable("Redis", Some(error.into())))? else {
        return Ok(page(&NO_STATE));
    };
    let Some(code) = told.code else {
        tracing::info!(connection.id = %grant.connection, org.id = %grant.org, "access to a CRM was not granted");
        return Ok(page(&NOT_GRANTED));
    };
    let Some(found) = connections::get(&mut transaction, grant.org, grant.connection).await? else {
        return Ok(page(&NO_STATE));
    };
    if told.account.is_some() && told.account != found.account {
        return Ok(page(&OTHER_ACCOUNT));
    }
    let Some(accepted) = keep(&state, &mut transaction, &found, code).await? else { return Ok(page(&NO_STATE)) };
    transaction.commit().await?;
    intake::publish(state.queues(), &accepted).await;
    tracing::info!(connection.id = %found.id, org.id = %found.org_id, caller = grant.subject, "access to a CRM was granted");
    Ok(page(&GRANTED))
}

/// What a browser brings back.
#[derive(Default)]
struct Told {
    state: Option<String>,
    code: Option<SecretString>,
    /// Of which account, where the CRM says so.
    account: Option<String>,
}

impl Told {
    fn read(query: &str) -> Self {
        let mut told = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "state" => told.state = Some(value.into_owned()),
                "code" if (1..=MOST_CODE_CHARS).contains(&value.len()) => {
                    told.code = Some(SecretString::from(value.into_owned()));
                }
                // Kommo's, with the account's host.
                "referer" => told.account = value.split_once('.').map(|(account, _)| account.to_owned()),
                _ => {}
            }
        }
        told
    }
}

/// Keeps a code, with the job that redeems it.
async fn keep(
    state: &AppState,
    transaction: &mut PgConnection,
    connection: &Connection,
    new: SecretString,
) -> Result<Option<Vec<Accepted>>, ApiError> {
    let (org, id) = (connection.org_id, connection.id);
    credentials::lock_waiting(transaction, org, id).await?;
    let mut held = open(state, transaction, connection).await?;
    let Credentials::Oauth { code, .. } = &mut held else { return Ok(None) };
    *code = Some(new);
    credentials::replace(transaction, org, id, &sealed(keyring(state)?, (org, id), &held)).await?;
    submit(state, transaction, org, &CrmConnect { connection_id: id }).await.map(Some)
}

async fn open(state: &AppState, connection: &mut PgConnection, of: &Connection) -> Result<Credentials, ApiError> {
    let stored = credentials::get(connection, of.org_id, of.id).await?.ok_or(ApiError::NotFound("connection"))?;
    let opened = keyring(state)?.open(&crm::place(of.org_id, of.id), &stored.sealed).map_err(ApiError::internal)?;
    Credentials::from_secret(&opened).map_err(ApiError::internal)
}

/// What a person is told.
struct Notice {
    status: StatusCode,
    title: &'static str,
    text: &'static str,
}

const GRANTED: Notice = Notice {
    status: StatusCode::OK,
    title: "Access granted",
    text: "The account is being connected. You can close this window.",
};
const NOT_GRANTED: Notice = Notice {
    status: StatusCode::BAD_REQUEST,
    title: "Access not granted",
    text: "Nothing has changed. To connect the account, begin again where you came from.",
};
const NO_STATE: Notice = Notice {
    status: StatusCode::BAD_REQUEST,
    title: "This link has run out",
    text: "It serves once, for ten minutes. Begin again where you came from.",
};
const OTHER_ACCOUNT: Notice = Notice {
    status: StatusCode::BAD_REQUEST,
    title: "Another account",
    text: "Access was granted to another account than the one to connect. Sign in to that one, and begin again where you came from.",
};

fn page(notice: &Notice) -> Response {
    let Notice { status, title, text } = notice;
    let mark = if status.is_success() { "#1a7f5a" } else { "#b3541e" };
    let body = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>\
         body{{font:16px/1.5 system-ui,sans-serif;display:grid;place-items:center;min-height:90vh;margin:0;color:#1d2733;background:#f6f7f9}}\
         main{{max-width:26rem;margin:1rem;padding:2rem;background:#fff;border-top:4px solid {mark};border-radius:6px;box-shadow:0 1px 4px #0002}}\
         h1{{font-size:1.3rem;margin:0 0 .5rem}}p{{margin:0}}</style></head>\
         <body><main><h1>{title}</h1><p>{text}</p></main></body></html>"
    );
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        // The address of this page holds the code.
        (REFERRER_POLICY, "no-referrer"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ];
    (*status, headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn what_a_browser_brings_back_is_read() {
        let told = Told::read("code=a%2Bb&state=s&referer=acme.kommo.com&client_id=c&from_widget=1");
        assert_eq!(told.state.as_deref(), Some("s"));
        assert_eq!(told.code.unwrap().expose_secret(), "a+b");
        assert_eq!(told.account.as_deref(), Some("acme"));
        let refused = Told::read("error=access_denied&state=s&code=");
        assert!(refused.code.is_none() && refused.state.is_some());
    }
}
