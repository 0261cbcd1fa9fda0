//! OAuth: access tokens are JWTs, refresh tokens replace each other, and a refresh token finds an account that has moved.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::problem;
use crate::account::State;
use crate::exchange::Reply;
use crate::grants::{self, Exchange};
use crate::oauth::unique;
use crate::provider::Object;
use crate::serve::Call;

/// `GET /oauth`: back to the application, also with the account's name and the client's id.
pub(super) fn authorize(state: &mut State, call: &Call<'_>) -> Reply {
    let client_id = state.oauth.client.client_id.clone();
    let mut more = vec![("client_id", client_id)];
    if !state.switches.refuses_consent {
        more.push(("referer", format!("{}.kommo.com", state.name)));
    }
    grants::consent(state, call, &more)
}

/// `POST /oauth2/access_token`
pub(super) fn token(state: &mut State, call: &Call<'_>) -> Reply {
    let Some(Value::Object(body)) = call.request.json() else {
        return problem(400, "Bad Request", "The body must be a JSON object with Content-Type: application/json");
    };
    let form: HashMap<String, String> =
        body.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
    let client = &state.oauth.client;
    if form.get("client_id") != Some(&client.client_id) || form.get("client_secret") != Some(&client.client_secret) {
        return problem(401, "Unauthorized", "Client authentication failed");
    }
    // The vendor asks for the redirect URI in refreshes too.
    if form.get("redirect_uri") != Some(&client.redirect_uri) {
        return problem(400, "Bad Request", "Check the `redirect_uri` parameter");
    }
    let access = access_token(state, call.now_ms, form.get("grant_type").map(String::as_str).unwrap_or_default());
    match grants::exchange(state, &form, call.now_ms, || access) {
        Exchange::Given(pair) => Reply::json(
            200,
            json!({
                "token_type": "Bearer",
                "expires_in": state.switches.access_token_s,
                "server_time": call.now_ms.div_euclid(1000),
                "access_token": pair.access,
                "refresh_token": pair.refresh,
            }),
        ),
        Exchange::Refused => invalid_grant(state.switches.invalid_grant_status),
        Exchange::Unsupported => problem(400, "Bad Request", "The authorization grant type is not supported"),
        Exchange::WrongRedirect => problem(400, "Bad Request", "Check the `redirect_uri` parameter"),
    }
}

/// A JWT as the vendor makes them. Nobody but the vendor can check its signature, so any key will do.
pub(crate) fn access_token(state: &State, now_ms: i64, grant: &str) -> String {
    let now = now_ms.div_euclid(1000);
    let owner = state.store.table(Object::Owners).live_ids().first().copied().unwrap_or(0);
    let claims = json!({
        "aud": state.oauth.client.client_id,
        "jti": unique("jti"),
        "iat": now,
        "nbf": now,
        "exp": now + state.switches.access_token_s,
        "sub": owner.to_string(),
        "grant_type": grant,
        "account_id": state.store.account_id,
        "base_domain": "kommo.com",
        "version": 2,
        "scopes": ["crm", "notifications"],
        "api_domain": state.switches.api_domain,
    });
    let header = json!({"typ": "JWT", "alg": "HS256"});
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let mut mac = Hmac::<Sha256>::new_from_slice(b"simulator").expect("HMAC takes keys of any length");
    mac.update(format!("{header}.{claims}").as_bytes());
    format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// `GET /oauth2/account/current/subdomain`: the refresh token has found the account already.
pub(super) fn subdomain(state: &State) -> Reply {
    Reply::json(
        200,
        json!({
            "id": state.store.account_id,
            "subdomain": state.name,
            "domain": format!("{}.kommo.com", state.name),
            "top_level_domain": "com",
        }),
    )
}

pub(crate) fn invalid_grant(status: u16) -> Reply {
    let body = json!({
        "type": "https://developers.kommo.com/v3/errors/OAuthProblemJson",
        "title": "Authorization error",
        "status": status,
        "hint": "Token has been revoked",
        "detail": "The refresh token is invalid.",
    });
    Reply::json(status, body).of_type("application/problem+json")
}
