use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use millrace_shared::auth::{ApiKey, Principal, Role};
use millrace_shared::db::organisations;

use crate::error::ApiError;
use crate::state::AppState;

/// A caller with at least the role `submitter`.
#[derive(Debug)]
pub struct Submitter(pub Principal);

/// A caller with at least the role `operator`.
#[derive(Debug)]
pub struct Operator(pub Principal);

impl FromRequestParts<AppState> for Submitter {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        authorise(parts, state, Role::Submitter).await.map(Self)
    }
}

impl FromRequestParts<AppState> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        authorise(parts, state, Role::Operator).await.map(Self)
    }
}

async fn authorise(parts: &mut Parts, state: &AppState, needed: Role) -> Result<Principal, ApiError> {
    let principal = authenticate(&parts.headers, state).await?;
    tracing::Span::current()
        .record("org.id", tracing::field::display(principal.org))
        .record("caller", tracing::field::display(&principal.subject));
    if principal.role < needed {
        return Err(ApiError::Forbidden { needed, held: principal.role });
    }
    Ok(principal)
}

async fn authenticate(headers: &HeaderMap, state: &AppState) -> Result<Principal, ApiError> {
    const REFUSED: ApiError = ApiError::Unauthenticated("the credential is not valid, has expired or was revoked");

    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value =
        values.next().ok_or(ApiError::Unauthenticated("send Authorization: Bearer with an API key or a token"))?;
    if values.next().is_some() {
        return Err(ApiError::Unauthenticated("there must be one Authorization header"));
    }
    let credential = value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, credential)| credential.trim())
        .ok_or(ApiError::Unauthenticated("the Authorization header must have the scheme Bearer"))?;

    if ApiKey::is_claimed_by(credential) {
        let hash = ApiKey::parse(credential).map_err(|_| REFUSED)?.hash();
        return state.doorkeeper().ask(hash).await?.ok_or(REFUSED);
    }
    let Some(tokens) = state.tokens() else {
        return Err(ApiError::Unauthenticated("only API keys are accepted here"));
    };
    let principal = tokens.verify(credential, chrono::Utc::now()).map_err(|reason| {
        tracing::debug!(error = &reason as &dyn std::error::Error, "a token was refused");
        REFUSED
    })?;
    // Whoever issues tokens may know organisations that we do not.
    let mut connection = state.database().acquire().await?;
    if organisations::exists(&mut connection, principal.org).await? { Ok(principal) } else { Err(REFUSED) }
}
