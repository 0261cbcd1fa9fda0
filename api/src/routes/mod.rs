//! The table of all routes. What is not here does not exist: the router and the OpenAPI description are both made from it, and
//! the tests that go through every route read it back from there.

mod assets;
mod by_url;
mod chunks;
mod conflicts;
mod connections;
mod dead_letters;
mod docs;
mod health;
mod jobs;
mod kinds;
mod oauth;
mod organisations;
mod parts;
mod queues;
mod records;
mod schedules;
mod search;
mod system;
mod upload;
mod webhook_sources;
mod webhooks;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::envelope::{describe_metrics, envelope};
use crate::error::ApiError;
use crate::state::AppState;

/// The API as a tower service.
pub fn router(state: AppState) -> Router {
    describe_metrics();
    system::describe_metrics();
    let (quick, _) = quick().split_for_parts();
    let (slow, _) = slow().split_for_parts();
    quick
        .layer(from_fn_with_state(state.clone(), deadline))
        // Extractors of ours bound their bodies themselves; axum's own bound of 2 MB would cut uploads off.
        .merge(slow.layer(DefaultBodyLimit::disable()))
        .fallback(async || ApiError::NoRoute)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(from_fn(envelope))
        .with_state(state)
}

/// The description of all routes, as OpenAPI 3.1.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut description = docs::Description::openapi();
    description.merge(quick().into_openapi());
    description.merge(slow().into_openapi());
    docs::complete(&mut description);
    description
}

/// Routes that answer within `MILLRACE_REQUEST_TIMEOUT`.
fn quick() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(jobs::submit, jobs::list))
        .routes(routes!(jobs::submit_batch))
        .routes(routes!(jobs::cancel))
        .routes(routes!(assets::list))
        .routes(routes!(assets::get, assets::delete))
        .routes(routes!(chunks::list))
        .routes(routes!(parts::list))
        .routes(routes!(search::search))
        .routes(routes!(schedules::create, schedules::list))
        .routes(routes!(schedules::get, schedules::change, schedules::delete))
        .routes(routes!(schedules::run))
        .routes(routes!(webhook_sources::create, webhook_sources::list))
        .routes(routes!(webhook_sources::get, webhook_sources::delete))
        .routes(routes!(webhook_sources::rotate))
        .routes(routes!(webhook_sources::test))
        .routes(routes!(webhooks::deliver, webhooks::deliver_by_query))
        .routes(routes!(webhooks::deliver_by_secret))
        .routes(routes!(connections::create, connections::list))
        .routes(routes!(connections::get, connections::change, connections::delete))
        .routes(routes!(connections::replace))
        .routes(routes!(connections::sync))
        .routes(routes!(connections::syncs))
        .routes(routes!(connections::drift))
        .routes(routes!(oauth::start))
        .routes(routes!(oauth::callback))
        .routes(routes!(records::list))
        .routes(routes!(records::get, records::change))
        .routes(routes!(conflicts::list))
        .routes(routes!(conflicts::resolve))
        .routes(routes!(kinds::list))
        .routes(routes!(queues::list))
        .routes(routes!(queues::pause))
        .routes(routes!(queues::resume))
        .routes(routes!(queues::limit))
        .routes(routes!(organisations::get, organisations::limit))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::get))
        .routes(routes!(dead_letters::replay))
        .routes(routes!(dead_letters::discard))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(system::metrics))
        .routes(routes!(system::version))
        .routes(routes!(docs::description))
        .routes(routes!(docs::page))
        .routes(routes!(docs::style))
        .routes(routes!(docs::script))
}

/// Routes with limits of their own: uploads, long polls, streams and bulk work.
fn slow() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(jobs::get))
        .routes(routes!(upload::upload))
        .routes(routes!(chunks::text))
        .routes(routes!(records::export))
        .routes(routes!(dead_letters::replay_all))
        .routes(routes!(dead_letters::discard_all))
}

async fn deadline(State(state): State<AppState>, request: Request, next: Next) -> Result<Response, ApiError> {
    match tokio::time::timeout(state.limits().request_timeout, next.run(request)).await {
        Ok(response) => Ok(response),
        Err(_) => Err(ApiError::Unavailable("an answer in time", None)),
    }
}
