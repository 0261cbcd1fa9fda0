//! What every vendor's code must answer, by vendor.

use crate::account::{Limits, State};
use crate::exchange::{Reply, Request};
use crate::provider::Provider;
use crate::serve::Call;
use crate::{hubspot, kommo, pipedrive, salesforce};

/// The vendor's answer to a request that reached it.
pub(crate) fn answer(state: &mut State, call: &Call<'_>) -> Reply {
    match state.store.provider {
        Provider::Kommo => kommo::answer(state, call),
        Provider::Hubspot => hubspot::answer(state, call),
        Provider::Salesforce => salesforce::answer(state, call),
        Provider::Pipedrive => pipedrive::answer(state, call),
    }
}

/// Whether tokens are asked for there.
pub(crate) fn is_token_path(provider: Provider, path: &str) -> bool {
    match provider {
        Provider::Kommo => path == "/oauth2/access_token",
        Provider::Hubspot => path == "/oauth/v1/token",
        Provider::Salesforce => path == "/services/oauth2/token",
        Provider::Pipedrive => path == "/oauth/token",
    }
}

/// Whether it is for browsers, or for no API that has limits.
pub(crate) fn is_page(provider: Provider, path: &str) -> bool {
    match provider {
        Provider::Kommo => path == "/oauth" || path == kommo::SUBDOMAIN_PATH,
        Provider::Hubspot => path.starts_with("/oauth/"),
        Provider::Salesforce => path == "/services/oauth2/authorize",
        Provider::Pipedrive => path == "/oauth/authorize",
    }
}

/// The access token of a request.
pub(crate) fn token(provider: Provider, request: &Request) -> Option<&str> {
    match provider {
        Provider::Pipedrive => request.header("x-api-token").or_else(|| request.bearer()),
        _ => request.bearer(),
    }
}

/// The refusal that the limits ask for, if any.
pub(crate) fn limit(limits: &mut Limits, state: &State, request: &Request, whom: &str) -> Option<Reply> {
    match state.store.provider {
        Provider::Hubspot => hubspot::limit(limits, state, request, whom),
        // Counted and told by Salesforce's own code, which also says in each reply how many there were.
        Provider::Salesforce => None,
        provider => (!limits.admit(whom, &state.switches)).then(|| too_many(provider, None)),
    }
}

/// The refusal of too many requests.
pub(crate) fn too_many(provider: Provider, retry_after_s: Option<u64>) -> Reply {
    let reply = match provider {
        Provider::Kommo => kommo::problem(429, "Too Many Requests", "Too many requests"),
        Provider::Hubspot => hubspot::too_many("TEN_SECONDLY_ROLLING"),
        Provider::Salesforce => salesforce::too_many(),
        Provider::Pipedrive => pipedrive::failure(429, "request over limit"),
    };
    crate::serve::with_retry_after(reply, retry_after_s)
}

/// The refusal of a blocked address.
pub(crate) fn blocked(provider: Provider) -> Reply {
    match provider {
        // What stands before Kommo's API blocks, and speaks no JSON.
        Provider::Kommo => Reply::html(403),
        provider => failure(provider, 403),
    }
}

/// A failure with the vendor's kind of body. What fails above 500 is mostly not the vendor's application but what stands before it.
pub(crate) fn failure(provider: Provider, status: u16) -> Reply {
    match provider {
        _ if status > 500 => Reply::html(status),
        Provider::Kommo => kommo::problem(status, "Error", "Something went wrong"),
        Provider::Hubspot => hubspot::error(status, "INTERNAL_ERROR", "internal error"),
        Provider::Salesforce => salesforce::error(status, "UNKNOWN_EXCEPTION", "An unexpected error occurred"),
        Provider::Pipedrive => pipedrive::failure(status, "Internal server error"),
    }
}

/// The refusal of an access token.
pub(crate) fn bad_token(provider: Provider) -> Reply {
    match provider {
        Provider::Kommo => kommo::problem(401, "Unauthorized", "Access token is invalid or expired"),
        Provider::Hubspot => hubspot::bad_token(),
        Provider::Salesforce => salesforce::error(401, "INVALID_SESSION_ID", "Session expired or invalid"),
        Provider::Pipedrive => pipedrive::failure(401, "unauthorized access"),
    }
}

/// The refusal of a code or a refresh token.
pub(crate) fn invalid_grant(state: &State) -> Reply {
    let status = state.switches.invalid_grant_status;
    match state.store.provider {
        Provider::Kommo => kommo::invalid_grant(status),
        Provider::Hubspot => hubspot::invalid_grant(status),
        Provider::Salesforce => salesforce::invalid_grant(status),
        Provider::Pipedrive => pipedrive::invalid_grant(status),
    }
}

/// What the former name of an account answers.
pub(crate) fn moved(state: &State) -> Reply {
    match state.store.provider {
        Provider::Kommo => kommo::problem(state.switches.moved_status, "Not Found", "Account not found"),
        provider => nobody_is_here(provider),
    }
}

/// What a request gets that is for no account.
pub(crate) fn nobody(provider: Provider, request: &Request) -> Reply {
    if request.path == kommo::SUBDOMAIN_PATH || (provider == Provider::Hubspot && !is_page(provider, &request.path)) {
        return bad_token(provider);
    }
    match provider {
        // Whose it is would stand in the form.
        Provider::Hubspot if is_token_path(provider, &request.path) && request.form().is_none() => {
            hubspot::error(415, "UNSUPPORTED_MEDIA_TYPE", "HTTP 415 Unsupported Media Type")
        }
        Provider::Hubspot => hubspot::error(400, "BAD_CLIENT_ID", "missing or unknown client id"),
        provider => nobody_is_here(provider),
    }
}

fn nobody_is_here(provider: Provider) -> Reply {
    match provider {
        Provider::Kommo => kommo::problem(404, "Not Found", "Account not found"),
        _ => Reply::html(404),
    }
}
