//! OAuth v1: refresh tokens stay the same, access tokens are short-lived.

use std::collections::HashMap;

use http::Method;
use serde_json::json;

use super::{Answer, error};
use crate::account::State;
use crate::exchange::Reply;
use crate::grants::{self, Exchange};
use crate::provider::Object;
use crate::serve::Call;

pub(super) fn route(state: &mut State, call: &Call<'_>, rest: &[&str]) -> Answer {
    match (&call.request.method, rest) {
        (&Method::GET, ["authorize"] | [_, "authorize"]) => Ok(grants::consent(state, call, &[])),
        (&Method::POST, ["v1", "token"]) => token(state, call),
        (&Method::GET, ["v1", "access-tokens", token]) => {
            state.oauth.admit(token, &state.switches, call.now_ms).map_err(|_| super::not_found())?;
            let owner = state.store.table(Object::Owners).live_ids().first().copied().unwrap_or(1);
            Ok(Reply::json(
                200,
                json!({
                    "token": token,
                    "hub_id": state.store.account_id,
                    "hub_domain": format!("{}.hubspot.com", state.name),
                    "user_id": owner + 1_000_000,
                    "app_id": 54_321,
                    "expires_in": state.switches.access_token_s,
                    "token_type": "access",
                    "scopes": ["oauth", "crm.objects.contacts.read"],
                }),
            ))
        }
        _ => Err(error(404, "RESOURCE_NOT_FOUND", "resource not found")),
    }
}

fn token(state: &mut State, call: &Call<'_>) -> Answer {
    let Some(form) = call.request.form() else {
        return Err(error(415, "UNSUPPORTED_MEDIA_TYPE", "HTTP 415 Unsupported Media Type"));
    };
    check_client(state, &form)?;
    let pair = match grants::exchange(state, &form, call.now_ms, || crate::oauth::unique("CiR")) {
        Exchange::Given(pair) => pair,
        Exchange::Refused => return Err(invalid_grant(state.switches.invalid_grant_status)),
        Exchange::Unsupported => return Err(refusal(400, "BAD_GRANT_TYPE", "missing or unknown grant type")),
        Exchange::WrongRedirect => {
            return Err(refusal(400, "REDIRECT_URI_MISMATCH", "missing or wrong redirect_uri"));
        }
    };
    Ok(Reply::json(
        200,
        json!({
            "token_type": "bearer",
            "refresh_token": pair.refresh,
            "access_token": pair.access,
            "expires_in": state.switches.access_token_s,
        }),
    ))
}

fn check_client(state: &State, form: &HashMap<String, String>) -> Result<(), Reply> {
    let client = &state.oauth.client;
    if form.get("client_id") != Some(&client.client_id) {
        return Err(refusal(400, "BAD_CLIENT_ID", "missing or unknown client id"));
    }
    if form.get("client_secret") != Some(&client.client_secret) {
        return Err(refusal(400, "BAD_CLIENT_SECRET", "missing or invalid client secret"));
    }
    Ok(())
}

fn refusal(status: u16, code: &str, message: &str) -> Reply {
    Reply::json(
        status,
        json!({"status": code, "message": message, "correlationId": "a43683b0-5717-4ceb-80b4-104d02915d8c"}),
    )
}

pub(crate) fn invalid_grant(status: u16) -> Reply {
    refusal(status, "BAD_REFRESH_TOKEN", "missing or invalid refresh token")
}
