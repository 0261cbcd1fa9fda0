//! The OpenAPI description and the page that shows it. Everything the page needs is in the binary, so that it works where no other
//! host is reachable.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::HeaderName;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi as Description_, Ref, RefOr, Response as ResponseSchema, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use crate::error::{Problem, ProblemField};
use crate::state::AppState;

const PAGE: &str = include_str!("../docs/page.html");
const STYLE: &str = include_str!("../docs/page.css");
const SCRIPT: &str = include_str!("../docs/page.js");

/// The page may load its own files and ask this API, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What holds for the whole API.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Millrace",
        description = "Millrace takes work in, keeps it safe, and gets it done.\n\n\
            **Who you are.** Send `Authorization: Bearer` with an API key (`mr_…`) or a JSON web token with the claims `sub`, `org`, \
            `role` and `exp`. The organisation comes from the credential alone: whatever belongs to another one is a 404.\n\n\
            **Roles.** `submitter` submits, reads and cancels the organisation's jobs and documents. `operator` also handles dead \
            letters, queues and organisations' limits. `admin` may do everything. Queues serve all organisations at once, so `operator` and `admin` are \
            for the platform's own staff.\n\n\
            **Errors** are `application/problem+json` (RFC 9457). Branch on `code`: its meaning never changes. `request_id` names the \
            request in the logs; every answer carries it as `x-request-id`. A 503 has `Retry-After`: the same request may be sent again.\n\n\
            **Lists** are newest first. Give `next_cursor` as `cursor` for the next page.",
        license(name = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "Jobs", description = "Work to be done, and what became of it."),
        (name = "Assets", description = "Documents: uploaded, turned into text, cut into chunks."),
        (name = "Webhooks", description = "Who may deliver, how that is verified, and what it becomes."),
        (name = "Schedules", description = "Jobs that are submitted at intervals, or by the clocks of a time zone."),
        (name = "Dead letters", description = "Jobs that were given up, until somebody replays or discards them."),
        (name = "Queues", description = "What waits and what runs, over all organisations."),
        (name = "Organisations", description = "What holds for single organisations: weights and limits."),
        (name = "System", description = "Health, metrics, version."),
    ),
    components(schemas(Problem, ProblemField)),
    security(("credential" = [])),
    modifiers(&Credential),
)]
pub(super) struct Description;

struct Credential;

impl Modify for Credential {
    fn modify(&self, description: &mut Description_) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An API key (`mr_…`) or a JSON web token."))
            .build();
        description
            .components
            .get_or_insert_with(Default::default)
            .add_security_scheme("credential", SecurityScheme::Http(scheme));
    }
}

/// Gives every answer that is an error its body, and every operation an answer for errors that it does not name.
pub(super) fn complete(description: &mut Description_) {
    for item in description.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.delete, &mut item.patch];
        for operation in operations.into_iter().flatten() {
            complete_operation(operation);
        }
    }
}

fn complete_operation(operation: &mut Operation) {
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response
            && status.starts_with(['4', '5'])
            && response.content.is_empty()
        {
            *response = problem(&response.description);
        }
    }
    let other = problem("Any other error");
    operation.responses.responses.entry("default".to_owned()).or_insert(RefOr::T(other));
}

fn problem(text: &str) -> ResponseSchema {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new().description(text).content("application/problem+json", content).build()
}

/// OpenAPI description.
#[utoipa::path(
    get, path = "/openapi.json", tag = "System", operation_id = "describe", security(()),
    responses((status = 200, description = "The API, as OpenAPI 3.1", body = Object)),
)]
pub(super) async fn description(State(state): State<AppState>) -> Response {
    file("application/json", state.description())
}

/// Reference page.
#[utoipa::path(
    get, path = "/docs", tag = "System", operation_id = "docs", security(()),
    responses((status = 200, description = "A page for people", body = String, content_type = "text/html")),
)]
pub(super) async fn page() -> Response {
    let mut response = file("text/html; charset=utf-8", PAGE);
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, http::HeaderValue::from_static(POLICY));
    headers.insert(HeaderName::from_static("referrer-policy"), http::HeaderValue::from_static("no-referrer"));
    response
}

/// The reference page's style.
#[utoipa::path(
    get, path = "/docs/page.css", tag = "System", operation_id = "docsStyle", security(()),
    responses((status = 200, description = "A style sheet", body = String, content_type = "text/css")),
)]
pub(super) async fn style() -> Response {
    file("text/css; charset=utf-8", STYLE)
}

/// The reference page's script.
#[utoipa::path(
    get, path = "/docs/page.js", tag = "System", operation_id = "docsScript", security(()),
    responses((status = 200, description = "A script", body = String, content_type = "text/javascript")),
)]
pub(super) async fn script() -> Response {
    file("text/javascript; charset=utf-8", SCRIPT)
}

/// Files change with the binary alone; a few minutes of caching spare most requests and outlast no rollout.
fn file(media_type: &'static str, content: impl Into<axum::body::Body>) -> Response {
    ([(CONTENT_TYPE, media_type), (CACHE_CONTROL, "public, max-age=300")], content.into()).into_response()
}
