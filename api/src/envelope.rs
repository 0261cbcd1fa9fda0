//! What surrounds every request: its id, its span, its metrics, its last resort.
//!
//! This is the outermost layer: it alone knows the request's id, so it writes the bodies of problems, and it catches panics.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use http::header::{ALLOW, CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tracing::Instrument as _;
use uuid::Uuid;

use crate::error::{ApiError, Failure};

/// The header that names a request.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request's W3C trace context: the caller's, or one that begins here with the request's id as its trace.
#[derive(Debug, Clone)]
pub(crate) struct TraceContext(pub(crate) String);

pub(crate) async fn envelope(mut request: Request, next: Next) -> Response {
    let id = Uuid::now_v7();
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!(
        "request",
        request.id = %id,
        http.method = method,
        http.route = route,
        org.id = tracing::field::Empty,
        caller = tracing::field::Empty,
    );
    let trace = TraceContext(trace_context(request.headers(), id));
    request.extensions_mut().insert(trace);

    let begun = Instant::now();
    let in_flight = InFlight::enter();
    let outcome = AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span.clone()).await;
    drop(in_flight);
    let mut response = outcome.unwrap_or_else(|_| ApiError::internal("the handler panicked").into_response());
    if let Some(Failure(error)) = response.extensions_mut().remove() {
        span.in_scope(|| log(&error));
        response = error.render(id, response.headers_mut().remove(ALLOW));
    }

    let status = response.status().as_u16().to_string();
    let elapsed = begun.elapsed();
    span.in_scope(|| tracing::debug!(http.status = status, elapsed_ms = elapsed.as_millis(), "answered"));
    let labels = [("method", method.to_owned()), ("route", route), ("status", status)];
    metrics::counter!("millrace_http_requests_total", &labels).increment(1);
    metrics::histogram!("millrace_http_request_duration_seconds", &labels).record(elapsed);

    let headers = response.headers_mut();
    // A UUID is plain ASCII, so this never fails.
    if let Ok(value) = HeaderValue::try_from(id.to_string()) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Names the metrics of HTTP for whoever reads `/metrics`.
pub(crate) fn describe_metrics() {
    metrics::describe_counter!("millrace_http_requests_total", "Requests answered, by method, route and status.");
    metrics::describe_histogram!(
        "millrace_http_request_duration_seconds",
        metrics::Unit::Seconds,
        "Time from a request's head to its answer's head."
    );
    metrics::describe_gauge!("millrace_http_requests_in_flight", "Requests that are being answered.");
}

fn log(error: &ApiError) {
    let chain = error as &dyn std::error::Error;
    match error {
        ApiError::Internal(_) => tracing::error!(error = chain, "a request failed by our fault"),
        ApiError::Unavailable(..) => tracing::warn!(error = chain, "a request was turned away"),
        _ => tracing::debug!(error = chain, code = error.code(), "a request was refused"),
    }
}

/// Methods are labels; whatever a client invents must not become a new time series.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// <https://www.w3.org/TR/trace-context/#traceparent-header>
fn trace_context(headers: &HeaderMap, id: Uuid) -> String {
    headers
        .get("traceparent")
        .and_then(|value| value.to_str().ok())
        .filter(|value| is_traceparent(value))
        .map_or_else(|| begin_trace(id), str::to_owned)
}

fn is_traceparent(value: &str) -> bool {
    let is_hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    match value.split('-').collect::<Vec<_>>()[..] {
        ["00", trace, parent, flags] => {
            is_hex(trace, 32) && !is_zero(trace) && is_hex(parent, 16) && !is_zero(parent) && is_hex(flags, 2)
        }
        _ => false,
    }
}

fn begin_trace(id: Uuid) -> String {
    let trace = id.simple().to_string();
    format!("00-{trace}-{}-01", &trace[16..])
}

struct InFlight;

impl InFlight {
    fn enter() -> Self {
        metrics::gauge!("millrace_http_requests_in_flight").increment(1.0);
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        metrics::gauge!("millrace_http_requests_in_flight").decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use http::StatusCode;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_opaque_500_with_the_requests_id() {
        async fn panics() {
            panic!("a secret detail");
        }
        let router: Router = Router::new().route("/", get(panics)).layer(axum::middleware::from_fn(envelope));
        let response = router.oneshot(Request::new(Body::empty())).await.expect("the router does not fail");
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let id = response.headers()[REQUEST_ID].to_str().expect("text").to_owned();
        let body = response.into_body().collect().await.expect("whole").to_bytes();
        let text = String::from_utf8(body.to_vec()).expect("text");
        assert!(text.contains(&id) && text.contains("internal_error") && !text.contains("secret"), "{text}");
    }

    #[test]
    fn a_trace_that_the_caller_began_goes_on() {
        let id = Uuid::now_v7();
        let mut headers = HeaderMap::new();
        let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        headers.insert("traceparent", HeaderValue::from_static(given));
        assert_eq!(trace_context(&headers, id), given);
        for wrong in ["", "00-x-y-01", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "nonsense"] {
            headers.insert("traceparent", HeaderValue::from_static(wrong));
            let begun = trace_context(&headers, id);
            assert!(is_traceparent(&begun) && begun.contains(&id.simple().to_string()), "{wrong}: {begun}");
        }
    }
}
