//! The serving side of the control API.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::account::{Account, AccountSpec};
use crate::faults::Fault;
use crate::mutate::{Mutation, Operation, Waiting};
use crate::oauth::{Revoked, unique};
use crate::provider::{Object, Provider};
use crate::rows;
use crate::webhooks::ReceiverSpec;
use crate::world::World;

type Shared = State<Arc<World>>;
type Of = Path<(String, String)>;
type Answer = Result<Json<Value>, Refusal>;

pub(crate) fn router(world: Arc<World>) -> Router {
    Router::new()
        .route("/_sim/clock", post(advance))
        .route("/_sim/{provider}/{account}", put(create).delete(delete))
        .route("/_sim/{provider}/{account}/truth", get(truth))
        .route("/_sim/{provider}/{account}/rows", post(change))
        .route("/_sim/{provider}/{account}/mutate", post(mutate).get(mutations).delete(forget_mutations))
        .route("/_sim/{provider}/{account}/faults", post(spoil).get(faults).delete(mend))
        .route("/_sim/{provider}/{account}/stats", get(stats).delete(reset_stats))
        .route("/_sim/{provider}/{account}/switches", post(switch).get(switches))
        .route("/_sim/{provider}/{account}/tokens", post(tokens))
        .route("/_sim/{provider}/{account}/move", post(move_account))
        .route("/_sim/{provider}/{account}/webhooks", post(register).get(deliveries).delete(unregister))
        // Seeds and lists of operations may be long.
        .layer(axum::extract::DefaultBodyLimit::max(64 << 20))
        .with_state(world)
}

/// Why a call of the control API is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("there is no such provider")]
    NoProvider,
    #[error("there is no such account")]
    NoAccount,
    #[error("there is no such kind of record")]
    NoObject,
    #[error("the name is taken, or there is no such account")]
    NoMove,
    #[error("Salesforce has no webhooks here")]
    NoWebhooks,
    #[error("{0}")]
    Invalid(String),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self {
            Self::NoProvider | Self::NoAccount => StatusCode::NOT_FOUND,
            _ => StatusCode::BAD_REQUEST,
        };
        (status, Json(json!({"error": self.to_string()}))).into_response()
    }
}

fn invalid(error: impl std::fmt::Display) -> Refusal {
    Refusal::Invalid(error.to_string())
}

fn provider(name: &str) -> Result<Provider, Refusal> {
    Provider::parse(name).ok_or(Refusal::NoProvider)
}

fn account(world: &World, (name, account): &(String, String)) -> Result<Arc<Account>, Refusal> {
    world.account(provider(name)?, account).ok_or(Refusal::NoAccount)
}

async fn create(State(world): Shared, Path((of, name)): Of, Json(spec): Json<AccountSpec>) -> Answer {
    let provider = provider(&of)?;
    let made = {
        let name = name.clone();
        // Many records take a while to make, and requests of other accounts go on meanwhile.
        tokio::task::spawn_blocking(move || Account::new(provider, &name, spec)).await
    };
    let made = made.map_err(invalid)?.map_err(invalid)?;
    let account_id = made.lock().store.account_id;
    world.put(&name, made);
    Ok(Json(json!({"provider": provider, "account": name, "account_id": account_id.to_string()})))
}

async fn delete(State(world): Shared, Path((of, name)): Of) -> Answer {
    Ok(Json(json!({"removed": world.remove(provider(&of)?, &name)})))
}

#[derive(Deserialize)]
struct Advance {
    advance_ms: i64,
}

async fn advance(State(world): Shared, Json(by): Json<Advance>) -> Json<Value> {
    world.clock.advance(by.advance_ms);
    Json(json!({"now_ms": world.clock.now_ms()}))
}

#[derive(Deserialize)]
struct Wanted {
    object: String,
}

async fn truth(State(world): Shared, Path(of): Of, Query(wanted): Query<Wanted>) -> Answer {
    let account = account(&world, &of)?;
    let state = account.lock();
    if wanted.object == "pipelines" {
        return Ok(Json(rows::pipelines(&state.store)));
    }
    let object = Object::parse(&wanted.object).ok_or(Refusal::NoObject)?;
    Ok(Json(rows::truth(&state.store, object)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Operations {
    operations: Vec<Operation>,
}

async fn change(State(world): Shared, Path(of): Of, Json(given): Json<Operations>) -> Answer {
    let account = account(&world, &of)?;
    let now_ms = world.clock.now_ms();
    let mut state = account.lock();
    let mut applied = Vec::new();
    for operation in &given.operations {
        applied.extend(state.apply(operation, now_ms).map_err(invalid)?);
    }
    state.publish_changes(now_ms);
    Ok(Json(json!({"applied": applied})))
}

async fn mutate(State(world): Shared, Path(of): Of, Json(mutation): Json<Mutation>) -> Answer {
    let account = account(&world, &of)?;
    let mut state = account.lock();
    for object in Object::ALL {
        state.store.table_mut(object).forget_served();
    }
    state.waiting.push(Waiting { mutation, requests: 0 });
    Ok(Json(json!({"waiting": state.waiting.len()})))
}

async fn mutations(State(world): Shared, Path(of): Of) -> Answer {
    let account = account(&world, &of)?;
    let state = account.lock();
    Ok(Json(json!({"waiting": state.waiting.len(), "applied": state.applied})))
}

async fn forget_mutations(State(world): Shared, Path(of): Of) -> Answer {
    let account = account(&world, &of)?;
    let mut state = account.lock();
    state.waiting.clear();
    state.applied.clear();
    Ok(Json(json!({"waiting": 0})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Faults {
    faults: Vec<Fault>,
}

async fn spoil(State(world): Shared, Path(of): Of, Json(given): Json<Faults>) -> Answer {
    let account = account(&world, &of)?;
    let mut state = account.lock();
    state.faults.add(given.faults);
    Ok(Json(json!({"faults": state.faults.told()})))
}

async fn faults(State(world): Shared, Path(of): Of) -> Answer {
    Ok(Json(json!({"faults": account(&world, &of)?.lock().faults.told()})))
}

async fn mend(State(world): Shared, Path(of): Of) -> Answer {
    account(&world, &of)?.lock().faults.clear();
    Ok(Json(json!({"faults": []})))
}

async fn stats(State(world): Shared, Path(of): Of) -> Answer {
    let account = account(&world, &of)?;
    let state = account.lock();
    serde_json::to_value(&state.counters.stats).map(Json).map_err(invalid)
}

async fn reset_stats(State(world): Shared, Path(of): Of) -> Answer {
    account(&world, &of)?.lock().counters.reset();
    Ok(Json(json!({})))
}

async fn switch(State(world): Shared, Path(of): Of, Json(set): Json<Map<String, Value>>) -> Answer {
    let account = account(&world, &of)?;
    let mut state = account.lock();
    state.switches = state.switches.with(&set).map_err(invalid)?;
    serde_json::to_value(&state.switches).map(Json).map_err(invalid)
}

async fn switches(State(world): Shared, Path(of): Of) -> Answer {
    let account = account(&world, &of)?;
    let state = account.lock();
    serde_json::to_value(&state.switches).map(Json).map_err(invalid)
}

/// What is to be done with tokens.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Tokens {
    /// Void from now on.
    Revoke(Revoked),
    /// Access tokens end now.
    Expire,
    /// New ones, as if a user had consented.
    Grant,
}

async fn tokens(State(world): Shared, Path(of): Of, Json(what): Json<Tokens>) -> Answer {
    let account = account(&world, &of)?;
    let now_ms = world.clock.now_ms();
    let mut state = account.lock();
    let state = &mut *state;
    match what {
        Tokens::Revoke(which) => state.oauth.revoke(which),
        Tokens::Expire => state.oauth.expire(now_ms),
        Tokens::Grant => {
            let access = match account.provider {
                Provider::Kommo => crate::kommo::access_token(state, now_ms, "authorization_code"),
                _ => unique("access"),
            };
            let pair = state.oauth.grant(access, &state.switches, now_ms);
            return Ok(Json(json!({"access_token": pair.access, "refresh_token": pair.refresh})));
        }
    }
    Ok(Json(json!({})))
}

#[derive(Deserialize)]
struct Target {
    to: String,
}

async fn move_account(State(world): Shared, Path((of, name)): Of, Json(target): Json<Target>) -> Answer {
    let is_moved = world.move_account(provider(&of)?, &name, &target.to);
    if is_moved { Ok(Json(json!({"account": target.to}))) } else { Err(Refusal::NoMove) }
}

async fn register(State(world): Shared, Path(of): Of, Json(spec): Json<ReceiverSpec>) -> Answer {
    let account = account(&world, &of)?;
    if account.provider == Provider::Salesforce {
        return Err(Refusal::NoWebhooks);
    }
    let mut state = account.lock();
    state.store.is_watched = true;
    state.receivers.add(account.provider, spec, world.http.clone());
    Ok(Json(json!({"receivers": state.receivers.told()})))
}

async fn deliveries(State(world): Shared, Path(of): Of) -> Answer {
    Ok(Json(json!({"receivers": account(&world, &of)?.lock().receivers.told()})))
}

async fn unregister(State(world): Shared, Path(of): Of) -> Answer {
    let account = account(&world, &of)?;
    let mut state = account.lock();
    state.store.is_watched = false;
    state.receivers.clear();
    Ok(Json(json!({"receivers": []})))
}
