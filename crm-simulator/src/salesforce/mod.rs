//! Salesforce: SOQL by `query` and `queryAll`, single records, OAuth with refresh tokens and with signed assertions.
//!
//! A query finds its records once; further pages give these by a locator. Deleted records are in `queryAll` until they are purged.

mod grants;
mod query;
mod records;
mod schema;
mod soql;

use http::Method;
use serde_json::{Value, json};

use crate::account::State;
use crate::exchange::Reply;
use crate::oauth::Unfit;
use crate::provider::{Object, Provider};
use crate::serve::Call;

pub(crate) use grants::invalid_grant;
pub(crate) use query::Located;

type Answer = Result<Reply, Reply>;

pub(crate) fn answer(state: &mut State, call: &Call<'_>) -> Reply {
    let segments = call.request.segments();
    let method = &call.request.method;
    match (method, segments.as_slice()) {
        (&Method::GET, ["services", "oauth2", "authorize"]) => return crate::grants::consent(state, call, &[]),
        (&Method::POST, ["services", "oauth2", "token"]) => return grants::token(state, call),
        _ => {}
    }
    let reply = admit(state, call).and_then(|()| route(state, call, &segments)).unwrap_or_else(|refusal| refusal);
    let daily = state.switches.daily_requests;
    let used = state.limits.day.1.min(daily.max(1));
    if daily == 0 || reply.status == 401 {
        return reply;
    }
    reply.with("sforce-limit-info", format!("api-usage={used}/{daily}"))
}

fn admit(state: &mut State, call: &Call<'_>) -> Result<(), Reply> {
    let token = call.request.bearer().unwrap_or_default();
    match state.oauth.admit(token, &state.switches, call.now_ms) {
        Ok(()) => {}
        Err(Unfit::Unknown | Unfit::Expired) => return Err(crate::vendor::bad_token(Provider::Salesforce)),
    }
    let used = state.limits.count_day(call.now_ms);
    let is_within = state.limits.admit("", &state.switches);
    let daily = state.switches.daily_requests;
    if !is_within || (daily > 0 && used > daily) {
        state.counters.stats.rate_refusals += 1;
        return Err(too_many());
    }
    Ok(())
}

fn route(state: &mut State, call: &Call<'_>, path: &[&str]) -> Answer {
    let missing = || error(404, "NOT_FOUND", "The requested resource does not exist");
    let path = match path {
        ["services", "oauth2", "userinfo"] => return Ok(userinfo(state, call)),
        ["services", "data"] => return Ok(Reply::json(200, versions())),
        ["services", "data", version, rest @ ..] => {
            check_version(version)?;
            rest
        }
        _ => return Err(missing()),
    };
    match (&call.request.method, path) {
        (&Method::GET, ["query"]) => query::query(state, call, query::Deleted::Hidden),
        (&Method::GET, ["queryAll"]) => query::query(state, call, query::Deleted::Shown),
        (&Method::GET, ["query" | "queryAll", locator]) => query::more(state, call, locator),
        (&Method::GET, ["limits"]) => Ok(limits(state)),
        (&Method::GET, ["sobjects", name, "describe"]) => records::describe(state, name),
        (&Method::GET, ["sobjects", name, id]) => records::get(state, call, (name, id)),
        (&Method::PATCH, ["sobjects", name, id]) => records::patch(state, call, (name, id)),
        _ => Err(missing()),
    }
}

/// `v60.0`, say.
fn check_version(version: &str) -> Result<(), Reply> {
    let number = version.strip_prefix('v').and_then(|number| number.strip_suffix(".0"));
    let is_known =
        number.and_then(|number| number.parse::<u32>().ok()).is_some_and(|number| (31..=70).contains(&number));
    if is_known { Ok(()) } else { Err(error(404, "NOT_FOUND", "The requested resource does not exist")) }
}

fn versions() -> Value {
    (58..=64).map(|number| json!({"label": "Any", "url": format!("/services/data/v{number}.0"), "version": format!("{number}.0")})).collect()
}

fn limits(state: &State) -> Reply {
    let daily = state.switches.daily_requests;
    let left = daily.saturating_sub(state.limits.day.1);
    Reply::json(200, json!({"DailyApiRequests": {"Max": daily, "Remaining": left}}))
}

/// The 18 characters of the organization.
pub(crate) fn organization_id(state: &State) -> String {
    crate::rows::salesforce_id("00D", state.store.account_id)
}

fn userinfo(state: &State, call: &Call<'_>) -> Reply {
    let owner = state.store.table(Object::Owners).live_ids().first().copied().unwrap_or(1);
    let user = state.store.id(Object::Owners, owner);
    let organization = organization_id(state);
    Reply::json(
        200,
        json!({
            "sub": format!("{}/id/{organization}/{user}", call.base),
            "user_id": user,
            "organization_id": organization,
            "preferred_username": state.oauth.client.jwt_user,
            "nickname": "integration",
            "name": "Integration User",
            "email": state.oauth.client.jwt_user,
            "email_verified": true,
            "zoneinfo": "Europe/Berlin",
            "user_type": "STANDARD",
            "active": true,
            "urls": {
                "rest": format!("{}/services/data/v{{version}}/", call.base),
                "query": format!("{}/services/data/v{{version}}/query/", call.base),
            },
        }),
    )
}

/// An error as Salesforce words it: a list of one.
pub(crate) fn error(status: u16, code: &str, message: &str) -> Reply {
    Reply::json(status, json!([{"message": message, "errorCode": code}]))
}

pub(crate) fn too_many() -> Reply {
    error(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
}
