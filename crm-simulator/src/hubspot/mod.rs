//! `HubSpot`: CRM v3 objects, search, batches, associations v4, owners, pipelines, OAuth v1.
//!
//! One address for all accounts; the token says which is meant. What is told of the vendor's ways is in the facts of the CRM vendors: properties
//! are all texts, only those asked for are given, search never has archived records nor associations, and gives no more than 10,000.

mod associations;
mod catalogs;
mod grants;
mod objects;
mod properties;
mod search;

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use crate::account::{Limits, State};
use crate::exchange::{Reply, Request};
use crate::oauth::Unfit;
use crate::provider::Object;
use crate::serve::Call;

pub(crate) use grants::invalid_grant;
pub(crate) use properties::property;

type Answer = Result<Reply, Reply>;

pub(crate) fn answer(state: &mut State, call: &Call<'_>) -> Reply {
    let reply = route(state, call).unwrap_or_else(|refusal| refusal);
    if call.request.path.starts_with("/oauth/") || is_search(&call.request.path) {
        return reply;
    }
    with_rates(state, reply)
}

fn route(state: &mut State, call: &Call<'_>) -> Answer {
    let segments = call.request.segments();
    let method = &call.request.method;
    if let ["oauth", rest @ ..] = segments.as_slice() {
        return grants::route(state, call, rest);
    }
    authorize(state, call)?;
    match (method, segments.as_slice()) {
        (&Method::GET, ["account-info", "v3", "details"]) => Ok(catalogs::account(state)),
        (&Method::GET, ["crm", "v3", "owners"]) => catalogs::owners(state, call.request),
        (&Method::GET, ["crm", "v3", "pipelines", "deals" | "0-3"]) => Ok(catalogs::pipelines(state)),
        (&Method::GET, ["crm", "v3", "properties", object]) => catalogs::properties(state, kind(object)?),
        (method, ["crm", "v3", "objects", object, rest @ ..]) => {
            let object = kind(object)?;
            match (method, rest) {
                (&Method::GET, []) => objects::list(state, call, object),
                (&Method::POST, ["search"]) => search::search(state, call, object),
                (&Method::POST, ["batch", "read"]) => objects::batch_read(state, call.request, object),
                (&Method::GET, [id]) => objects::get(state, call.request, object, id),
                (&Method::PATCH, [id]) => objects::patch(state, call, object, id),
                _ => Err(error(405, "METHOD_NOT_ALLOWED", "HTTP 405 Method Not Allowed")),
            }
        }
        (&Method::POST, ["crm", "v4", "associations", from, to, "batch", "read"]) => {
            associations::batch_read(state, call.request, kind(from)?, kind(to)?)
        }
        _ => Err(error(404, "RESOURCE_NOT_FOUND", "resource not found")),
    }
}

/// The limit of the path that is asked for.
pub(crate) fn limit(limits: &mut Limits, state: &State, request: &Request, whom: &str) -> Option<Reply> {
    if is_search(&request.path) {
        let searches = limits.searches.entry(request.bearer().unwrap_or_default().to_owned()).or_default();
        let is_in = searches.admit(Instant::now(), state.switches.searches_per_second, Duration::from_secs(1));
        return (!is_in).then(|| too_many("SECONDLY"));
    }
    (!limits.admit(whom, &state.switches)).then(|| with_rates(state, too_many("TEN_SECONDLY_ROLLING")))
}

fn is_search(path: &str) -> bool {
    path.ends_with("/search")
}

fn with_rates(state: &State, reply: Reply) -> Reply {
    if state.switches.requests == 0 {
        return reply;
    }
    let used = state.limits.windows.values().map(crate::rate::Window::len).max().unwrap_or(0);
    let left = u64::from(state.switches.requests).saturating_sub(used as u64);
    let reply = reply
        .with("x-hubspot-ratelimit-max", state.switches.requests.to_string())
        .with("x-hubspot-ratelimit-remaining", left.to_string())
        .with("x-hubspot-ratelimit-interval-milliseconds", state.switches.window_ms.to_string());
    let daily = state.switches.daily_requests;
    if daily == 0 {
        return reply;
    }
    reply
        .with("x-hubspot-ratelimit-daily", daily.to_string())
        .with("x-hubspot-ratelimit-daily-remaining", daily.saturating_sub(state.limits.day.1).to_string())
}

fn authorize(state: &mut State, call: &Call<'_>) -> Result<(), Reply> {
    let token = call.request.bearer().ok_or_else(bad_token)?;
    match state.oauth.admit(token, &state.switches, call.now_ms) {
        Ok(()) => {}
        Err(Unfit::Unknown) => return Err(bad_token()),
        Err(Unfit::Expired) => {
            return Err(error(401, "EXPIRED_AUTHENTICATION", "The OAuth token used to make this call expired"));
        }
    }
    let today = state.limits.count_day(call.now_ms);
    let daily = state.switches.daily_requests;
    if daily > 0 && today > daily { Err(too_many("DAILY")) } else { Ok(()) }
}

/// The kind of record that a path names, by its name or its number.
fn kind(name: &str) -> Result<Object, Reply> {
    match name {
        "contacts" | "contact" | "0-1" => Ok(Object::Contacts),
        "companies" | "company" | "0-2" => Ok(Object::Companies),
        "deals" | "deal" | "0-3" => Ok(Object::Deals),
        "notes" | "note" | "0-46" => Ok(Object::Notes),
        _ => Err(error(400, "VALIDATION_ERROR", &format!("Unable to infer object type from: {name}"))),
    }
}

/// An error as `HubSpot` words it.
pub(crate) fn error(status: u16, category: &str, message: &str) -> Reply {
    Reply::json(
        status,
        json!({
            "status": "error",
            "message": message,
            "correlationId": "3f0c1c2e-5b6d-4d1f-9d6b-0f7a6c2b1e10",
            "category": category,
        }),
    )
}

fn invalid(message: &str) -> Reply {
    error(400, "VALIDATION_ERROR", message)
}

fn not_found() -> Reply {
    error(404, "OBJECT_NOT_FOUND", "resource not found")
}

pub(crate) fn bad_token() -> Reply {
    error(401, "INVALID_AUTHENTICATION", "Authentication credentials not found or invalid")
}

/// The refusal by a limit of this name.
pub(crate) fn too_many(policy: &str) -> Reply {
    let limit = policy.to_lowercase();
    Reply::json(
        429,
        json!({
            "status": "error",
            "message": format!("You have reached your {limit} limit."),
            "errorType": "RATE_LIMIT",
            "correlationId": "c033cdaa-2c40-4a64-ae48-b4cec88dad24",
            "policyName": policy,
            "groupName": "publicapi:crm",
        }),
    )
}

fn body(request: &Request) -> Result<Value, Reply> {
    request.json().filter(Value::is_object).ok_or_else(|| invalid("Invalid input JSON: the body is not a JSON object"))
}

/// The `limit` of a request.
fn limit_of(request: &Request, default: usize, most: usize) -> Result<usize, Reply> {
    let Some(given) = request.parameter("limit") else { return Ok(default) };
    let limit: usize = given.parse().map_err(|_| invalid(&format!("Unable to parse value for limit: {given}")))?;
    if limit == 0 || limit > most {
        return Err(invalid(&format!("limit must be between 1 and {most}, but was {limit}")));
    }
    Ok(limit)
}

fn truth_of(request: &Request, name: &str) -> Result<bool, Reply> {
    match request.parameter(name) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(invalid(&format!("Unable to parse value for {name}: {other}"))),
    }
}
