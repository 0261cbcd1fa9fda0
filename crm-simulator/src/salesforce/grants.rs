//! OAuth: codes, refresh tokens, and assertions that a registered key has signed.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;
use serde_json::json;

use crate::account::State;
use crate::exchange::Reply;
use crate::grants::{self, Exchange};
use crate::oauth::{Pair, unique};
use crate::provider::Object;
use crate::serve::Call;

const ASSERTION: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// An assertion may end so much later, in seconds: the vendor's page speaks of three minutes, and its clock may be behind.
const ASSERTION_S: i64 = 300;

/// `POST /services/oauth2/token`
pub(super) fn token(state: &mut State, call: &Call<'_>) -> Reply {
    let Some(form) = call.request.form() else {
        return refusal(400, "invalid_request", "must be application/x-www-form-urlencoded");
    };
    let given = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    if given("grant_type") == ASSERTION {
        return by_assertion(state, call, given("assertion"));
    }
    let client = &state.oauth.client;
    if given("client_id") != client.client_id {
        return refusal(400, "invalid_client_id", "client identifier invalid");
    }
    if given("client_secret") != client.client_secret {
        return refusal(400, "invalid_client", "invalid client credentials");
    }
    let is_first = given("grant_type") == "authorization_code";
    match grants::exchange(state, &form, call.now_ms, access_token) {
        Exchange::Given(pair) => given_tokens(state, call, &pair, is_first),
        Exchange::Refused => invalid_grant(state.switches.invalid_grant_status),
        Exchange::Unsupported => refusal(400, "unsupported_grant_type", "grant type not supported"),
        Exchange::WrongRedirect => refusal(400, "redirect_uri_mismatch", "redirect_uri must match configuration"),
    }
}

fn access_token() -> String {
    unique("00D!")
}

/// No `expires_in`: sessions end when they end. A refresh gives a refresh token only where these are replaced.
fn given_tokens(state: &State, call: &Call<'_>, pair: &Pair, is_first: bool) -> Reply {
    let owner = state.store.table(Object::Owners).live_ids().first().copied().unwrap_or(1);
    let (organization, user) = (super::organization_id(state), state.store.id(Object::Owners, owner));
    let mut tokens = json!({
        "access_token": pair.access,
        "instance_url": call.base,
        "id": format!("{}/id/{organization}/{user}", call.base),
        "token_type": "Bearer",
        "issued_at": call.now_ms.to_string(),
        "signature": "0CmxinZir53Yex7nE0TD+zMpvIWYGb/bdJh6XfOH6EQ=",
        "scope": "api refresh_token",
    });
    if is_first || state.switches.rotation != crate::switches::Rotation::Never {
        tokens["refresh_token"] = pair.refresh.as_str().into();
    }
    Reply::json(200, tokens)
}

#[derive(Debug, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    exp: i64,
}

/// The tokens that an assertion gives are access tokens alone.
fn by_assertion(state: &mut State, call: &Call<'_>, assertion: &str) -> Reply {
    let claims = match read(state, assertion) {
        Ok(claims) => claims,
        Err(why) => return refusal(400, "invalid_grant", why),
    };
    let now = call.now_ms.div_euclid(1000);
    if claims.exp <= now || claims.exp > now + ASSERTION_S {
        return refusal(400, "invalid_grant", "expired authorization code");
    }
    if claims.iss != state.oauth.client.client_id {
        return refusal(400, "invalid_client_id", "client identifier invalid");
    }
    if claims.sub != state.oauth.client.jwt_user {
        return refusal(400, "invalid_grant", "user hasn't approved this consumer");
    }
    let pair = state.oauth.grant(access_token(), &state.switches, call.now_ms);
    let mut reply = given_tokens(state, call, &pair, false);
    if let crate::exchange::Content::Json(tokens) = &mut reply.content {
        for name in ["refresh_token", "issued_at", "signature"] {
            tokens.as_object_mut().map(|tokens| tokens.remove(name));
        }
    }
    reply
}

fn read(state: &State, assertion: &str) -> Result<Claims, &'static str> {
    let client = &state.oauth.client;
    let key = client.jwt_public_key.as_ref().ok_or("no certificate is registered")?;
    let key = DecodingKey::from_rsa_pem(key.as_bytes()).map_err(|_| "the registered certificate is invalid")?;
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&client.jwt_audiences);
    // By the simulator's own clock, which may have been moved.
    validation.validate_exp = false;
    validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    decode::<Claims>(assertion, &key, &validation).map(|decoded| decoded.claims).map_err(|_| "invalid assertion")
}

fn refusal(status: u16, error: &str, description: &str) -> Reply {
    Reply::json(status, json!({"error": error, "error_description": description}))
}

pub(crate) fn invalid_grant(status: u16) -> Reply {
    refusal(status, "invalid_grant", "expired access/refresh token")
}
