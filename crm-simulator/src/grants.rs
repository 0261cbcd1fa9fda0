//! What the vendors' authorize pages and token endpoints have in common.

use std::collections::HashMap;

use url::Url;

use crate::account::State;
use crate::exchange::Reply;
use crate::oauth::Pair;
use crate::serve::Call;

/// What became of a token request.
#[derive(Debug)]
pub(crate) enum Exchange {
    Given(Pair),
    /// The code or the refresh token is void.
    Refused,
    /// The grant type is none that is known.
    Unsupported,
    /// The redirect URI is not the registered one.
    WrongRedirect,
}

/// The authorize page: the user consents, or refuses, without being asked.
pub(crate) fn consent(state: &mut State, call: &Call<'_>, more: &[(&str, String)]) -> Reply {
    let request = call.request;
    let client = state.oauth.client.clone();
    if request.parameter("client_id") != Some(client.client_id.as_str()) {
        return Reply::html(400);
    }
    let redirect = request.parameter("redirect_uri").unwrap_or(&client.redirect_uri);
    let Ok(mut url) = Url::parse(redirect) else { return Reply::html(400) };
    if redirect != client.redirect_uri {
        return Reply::html(400);
    }
    let refuses = state.switches.refuses_consent;
    {
        let mut query = url.query_pairs_mut();
        if refuses {
            query.append_pair("error", "access_denied");
        } else {
            query.append_pair("code", &state.oauth.issue_code(call.now_ms));
        }
        if let Some(given) = request.parameter("state") {
            query.append_pair("state", given);
        }
        for (name, value) in more {
            query.append_pair(name, value);
        }
    }
    Reply::redirect(url.into())
}

/// Exchanges a code or a refresh token for tokens; `access` makes the new access token.
pub(crate) fn exchange(
    state: &mut State,
    form: &HashMap<String, String>,
    now_ms: i64,
    access: impl FnOnce() -> String,
) -> Exchange {
    let given = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let stats = &mut state.counters.stats;
    match given("grant_type") {
        "authorization_code" if given("redirect_uri") != state.oauth.client.redirect_uri => Exchange::WrongRedirect,
        "authorization_code" => {
            if !state.oauth.redeem(given("code"), now_ms) {
                return Exchange::Refused;
            }
            stats.codes_redeemed += 1;
            Exchange::Given(state.oauth.grant(access(), &state.switches, now_ms))
        }
        "refresh_token" => match state.oauth.refresh(given("refresh_token"), access(), &state.switches, now_ms) {
            Some(pair) => {
                stats.refreshes += 1;
                Exchange::Given(pair)
            }
            None => {
                stats.refreshes_refused += 1;
                Exchange::Refused
            }
        },
        _ => Exchange::Unsupported,
    }
}
