//! Pipedrive: API v2 for deals, persons, organizations, pipelines and stages, v1 for users and notes.
//!
//! Version 2 pages by an opaque cursor, version 1 by a count of records. Deleted deals can be listed for thirty days; other deleted records
//! are in no list.

mod catalogs;
mod grants;
mod lists;
mod render;
mod write;

use http::Method;
use serde_json::{Value, json};

use crate::account::State;
use crate::exchange::{Reply, document};
use crate::provider::{Object, Provider};
use crate::serve::Call;

pub(crate) use grants::invalid_grant;
pub(crate) use render::shown;

type Answer = Result<Reply, Reply>;

pub(crate) fn answer(state: &mut State, call: &Call<'_>) -> Reply {
    let segments = call.request.segments();
    let method = &call.request.method;
    match (method, segments.as_slice()) {
        (&Method::GET, ["oauth", "authorize"]) => return crate::grants::consent(state, call, &[]),
        (&Method::POST, ["oauth", "token"]) => return grants::token(state, call),
        _ => {}
    }
    let token = crate::vendor::token(Provider::Pipedrive, call.request).unwrap_or_default();
    if state.oauth.admit(token, &state.switches, call.now_ms).is_err() {
        return crate::vendor::bad_token(Provider::Pipedrive);
    }
    let reply = route(state, call, &segments).unwrap_or_else(|refusal| refusal);
    with_rates(state, reply)
}

fn route(state: &mut State, call: &Call<'_>, path: &[&str]) -> Answer {
    // Version 1 is reached with and without `/api`.
    let path = match path {
        ["api", "v1", ..] => &path[1..],
        ["api", "v2", ..] | ["v1", ..] => path,
        _ => return Err(failure(404, "Unknown method")),
    };
    match (&call.request.method, path) {
        (&Method::GET, ["api", "v2", "pipelines"]) => catalogs::pipelines(state, call),
        (&Method::GET, ["api", "v2", "stages"]) => catalogs::stages(state, call),
        (&Method::GET, ["api", "v2", kind]) => lists::list(state, call, object(kind)?),
        (&Method::GET, ["api", "v2", kind, id]) => lists::get(state, object(kind)?, id),
        (&Method::PATCH, ["api", "v2", kind, id]) => write::patch(state, call, object(kind)?, id),
        (&Method::GET, ["v1", "users"]) => catalogs::users(state),
        (&Method::GET, ["v1", "users", "me"]) => catalogs::me(state),
        (&Method::GET, ["v1", "notes"]) => lists::notes(state, call.request),
        (&Method::GET, ["v1", "notes", id]) => lists::get(state, Object::Notes, id),
        (&Method::PUT, ["v1", "notes", id]) => write::put_note(state, call, id),
        (&Method::GET, ["v1", fields]) => catalogs::fields(state, fields),
        _ => Err(failure(404, "Unknown method")),
    }
}

fn object(kind: &str) -> Result<Object, Reply> {
    match kind {
        "deals" => Ok(Object::Deals),
        "persons" => Ok(Object::Contacts),
        "organizations" => Ok(Object::Companies),
        _ => Err(failure(404, "Unknown method")),
    }
}

fn with_rates(state: &State, reply: Reply) -> Reply {
    if state.switches.requests == 0 {
        return reply;
    }
    let used = state.limits.windows.values().map(crate::rate::Window::len).max().unwrap_or(0);
    let left = u64::from(state.switches.requests).saturating_sub(used as u64);
    reply
        .with("x-ratelimit-limit", state.switches.requests.to_string())
        .with("x-ratelimit-remaining", left.to_string())
        .with("x-ratelimit-reset", state.switches.window_ms.div_ceil(1000).to_string())
}

/// An error as Pipedrive words it.
pub(crate) fn failure(status: u16, message: &str) -> Reply {
    Reply::json(
        status,
        json!({
            "success": false,
            "error": message,
            "error_info": "Please check developers.pipedrive.com for more information about Pipedrive API.",
            "data": null,
            "additional_data": null,
        }),
    )
}

fn not_valid(message: &str) -> Reply {
    let mut reply = failure(400, &format!("Validation failed: {message}"));
    if let crate::exchange::Content::Json(body) = &mut reply.content {
        body["code"] = "ERR_SCHEMA_VALIDATION_FAILED".into();
    }
    reply
}

fn success(data: Value, additional: Value) -> Reply {
    Reply::json(200, document([("success", true.into()), ("data", data), ("additional_data", additional)]))
}
