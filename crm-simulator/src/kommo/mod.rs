//! Kommo (amoCRM) API v4.
//!
//! HAL documents, problems as `application/problem+json`, 204 for nothing. Deleted leads can be listed, other deleted records are gone
//! without a trace. Where the account has moved, its former name answers no more, and only the refresh token finds the new one.

mod catalogs;
mod grants;
mod lists;
mod render;
mod write;

use http::Method;
use serde_json::{Value, json};

use crate::account::State;
use crate::exchange::Reply;
use crate::provider::Object;
use crate::serve::Call;

pub(crate) use grants::{access_token, invalid_grant};

/// Where the present name of an account is asked for, at whatever host.
pub(crate) const SUBDOMAIN_PATH: &str = "/oauth2/account/current/subdomain";

const HAL: &str = "application/hal+json";

pub(crate) fn answer(state: &mut State, call: &Call<'_>) -> Reply {
    let segments = call.request.segments();
    let method = &call.request.method;
    match (method, segments.as_slice()) {
        (&Method::GET, ["oauth"]) => return grants::authorize(state, call),
        (&Method::POST, ["oauth2", "access_token"]) => return grants::token(state, call),
        (&Method::GET, ["oauth2", "account", "current", "subdomain"]) => return grants::subdomain(state),
        _ => {}
    }
    let token = call.request.bearer().unwrap_or_default();
    if state.oauth.admit(token, &state.switches, call.now_ms).is_err() {
        return crate::vendor::bad_token(state.store.provider);
    }
    let reply = match segments.as_slice() {
        ["api", "v4", rest @ ..] => api(state, call, rest),
        _ => None,
    };
    reply.unwrap_or_else(|| problem(404, "Not Found", "Cannot find the requested resource"))
}

fn api(state: &mut State, call: &Call<'_>, path: &[&str]) -> Option<Reply> {
    let reply = match (&call.request.method, path) {
        (&Method::GET, ["account"]) => catalogs::account(state, call),
        (&Method::GET, ["users"]) => catalogs::users(state, call),
        (&Method::GET, ["users", id]) => catalogs::user(state, call, id),
        (&Method::GET, ["leads", "pipelines"]) => catalogs::pipelines(state, call),
        (&Method::GET, [entity, "custom_fields"]) => catalogs::custom_fields(state, call, object(entity)?),
        (&Method::GET, [entity, "notes"]) => lists::notes(state, call, object(entity)?, None),
        (&Method::GET, [entity, "notes", id]) => lists::note(state, call, object(entity)?, id),
        (&Method::GET, [entity, about, "notes"]) => lists::notes(state, call, object(entity)?, Some(about)),
        (&Method::PATCH, [entity, "notes", id] | [entity, _, "notes", id]) => {
            write::patch_note(state, call, object(entity)?, id)
        }
        (&Method::GET, [entity]) => lists::list(state, call, object(entity)?),
        (&Method::GET, [entity, id]) => lists::get(state, call, object(entity)?, id),
        (&Method::PATCH, [entity, id]) => write::patch(state, call, object(entity)?, id),
        (&Method::PATCH, [entity]) => write::patch_many(state, call, object(entity)?),
        _ => return None,
    };
    Some(reply.unwrap_or_else(|refusal| refusal))
}

/// The kind of record that a path names.
fn object(entity: &str) -> Option<Object> {
    match entity {
        "leads" => Some(Object::Deals),
        "contacts" => Some(Object::Contacts),
        "companies" => Some(Object::Companies),
        _ => None,
    }
}

fn entity(object: Object) -> &'static str {
    match object {
        Object::Deals => "leads",
        Object::Contacts => "contacts",
        _ => "companies",
    }
}

/// An error as Kommo words it.
pub(crate) fn problem(status: u16, title: &str, detail: &str) -> Reply {
    let body = json!({
        "type": "https://httpstatus.es/".to_owned() + &status.to_string(),
        "title": title,
        "status": status,
        "detail": detail,
    });
    Reply::json(status, body).of_type("application/problem+json")
}

fn not_valid(parameter: &str, detail: &str) -> Reply {
    let body = json!({
        "type": "https://httpstatus.es/400",
        "title": "Bad Request",
        "status": 400,
        "detail": "Request validation failed",
        "validation-errors": [{
            "request_id": "0",
            "errors": [{"code": "InvalidValue", "path": parameter, "detail": detail}],
        }],
    });
    Reply::json(400, body).of_type("application/problem+json")
}

fn hal(value: Value) -> Reply {
    Reply::json(200, value).of_type(HAL)
}
