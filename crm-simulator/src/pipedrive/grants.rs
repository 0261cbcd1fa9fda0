//! OAuth: the client by HTTP Basic or in the form.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::account::State;
use crate::exchange::{Reply, Request};
use crate::grants::{self, Exchange};
use crate::oauth::unique;
use crate::serve::Call;

/// `POST /oauth/token`
pub(super) fn token(state: &mut State, call: &Call<'_>) -> Reply {
    let Some(form) = call.request.form() else {
        return refusal(400, "invalid_request", "The content must be application/x-www-form-urlencoded");
    };
    if !is_client(state, call.request, &form) {
        return refusal(401, "invalid_client", "Client authentication failed");
    }
    match grants::exchange(state, &form, call.now_ms, || unique("v1u")) {
        Exchange::Given(pair) => Reply::json(
            200,
            json!({
                "access_token": pair.access,
                "token_type": "Bearer",
                "refresh_token": pair.refresh,
                "scope": "base,deals:full,contacts:full",
                "expires_in": state.switches.access_token_s - 1,
                "api_domain": call.base,
            }),
        ),
        Exchange::Refused => invalid_grant(state.switches.invalid_grant_status),
        Exchange::Unsupported => refusal(400, "unsupported_grant_type", "The grant type is not supported"),
        Exchange::WrongRedirect => refusal(400, "invalid_grant", "The redirect_uri is not the registered one"),
    }
}

fn is_client(state: &State, request: &Request, form: &HashMap<String, String>) -> bool {
    let client = &state.oauth.client;
    let basic = request.header("authorization").and_then(|given| given.strip_prefix("Basic "));
    if let Some(basic) = basic {
        let expected = STANDARD.encode(format!("{}:{}", client.client_id, client.client_secret));
        return basic.trim() == expected;
    }
    form.get("client_id") == Some(&client.client_id) && form.get("client_secret") == Some(&client.client_secret)
}

fn refusal(status: u16, error: &str, message: &str) -> Reply {
    Reply::json(status, json!({"success": false, "error": error, "message": message}))
}

pub(crate) fn invalid_grant(status: u16) -> Reply {
    refusal(status, "invalid_grant", "Invalid grant: the code or refresh token is invalid")
}
