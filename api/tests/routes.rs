//! The router as a service, with no server behind it: what is told before Postgres is asked, and what is told when it is away.

use axum::Router;
use axum::body::Body;
use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use millrace_api::{AppState, REQUEST_ID, openapi, router};
use millrace_shared::auth::ApiKey;
use millrace_shared::config::{ApiConfig, Source};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

struct Api {
    router: Router,
    _storage: tempfile::TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    /// Checks that it is a problem as RFC 9457 and our own rules want it.
    fn assert_problem(&self, status: u16, code: &str) -> Value {
        let body = self.json();
        assert_eq!(self.status.as_u16(), status, "{body}");
        assert_eq!(self.headers[CONTENT_TYPE], "application/problem+json");
        assert_eq!(body["status"], status);
        assert_eq!(body["code"], code, "{body}");
        assert_eq!(body["request_id"].as_str().expect("an id"), self.headers[REQUEST_ID]);
        for field in ["type", "title", "detail"] {
            assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "{field} in {body}");
        }
        body
    }
}

impl Api {
    /// An API whose Postgres and Redis are away: nothing listens on port 1.
    fn without_servers() -> Self {
        let storage = tempfile::tempdir().expect("a directory");
        let directory = format!("file://{}", storage.path().display());
        let source: Source = [
            ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none"),
            ("REDIS_URL", "redis://127.0.0.1:1"),
            ("MILLRACE_JWT_SECRET", "qk3Zr8Vw1Lx5Tn7Yb2Hc9Jd4Mf6Ps0Ga"),
            ("MILLRACE_STORAGE_URL", directory.as_str()),
        ]
        .into_iter()
        .collect();
        let config = ApiConfig::load(&source).expect("a configuration");
        let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder().handle();
        let state = AppState::open(&config, metrics, CancellationToken::new()).expect("opened");
        Self { router: router(state), _storage: storage }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("the router does not fail");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("the body is whole").to_bytes().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn call(&self, method: Method, path: &str, credential: Option<&str>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(credential) = credential {
            request = request.header(AUTHORIZATION, credential);
        }
        self.send(request.body(Body::empty()).expect("a request")).await
    }
}

/// Every operation: its method, its path with ids filled in, and its description.
fn operations() -> Vec<(Method, String, Value)> {
    let description = serde_json::to_value(openapi()).expect("the description is JSON");
    let mut operations = Vec::new();
    for (path, item) in description["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            let method: Method = method.to_uppercase().parse().expect("a method");
            let path = path
                .replace("{id}", "0193e4a8-6f4e-7c3a-9d55-0f6a3c1b2d7e")
                .replace("{job_id}", "0193e4a8-6f4e-7c3a-9d55-0f6a3c1b2d7e")
                .replace("{queue}", "probe");
            operations.push((method, path, operation.clone()));
        }
    }
    operations
}

/// For whoever a CRM sends back: it is proved by its state, and answered by pages for people.
fn is_for_browsers(operation: &Value) -> bool {
    operation["operationId"] == "oauthCallback"
}

fn is_open(operation: &Value) -> bool {
    operation["tags"][0] == "System" || is_for_browsers(operation)
}

#[tokio::test]
async fn every_route_but_those_of_the_system_wants_a_credential() {
    let api = Api::without_servers();
    let mut closed = 0;
    for (method, path, operation) in operations() {
        let answer = api.call(method.clone(), &path, None).await;
        if is_open(&operation) {
            assert_ne!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
        } else {
            answer.assert_problem(401, "unauthenticated");
            assert!(answer.headers[WWW_AUTHENTICATE].to_str().expect("text").starts_with("Bearer"), "{method} {path}");
            closed += 1;
        }
    }
    assert!(closed >= 20, "only {closed} routes were seen");
}

#[tokio::test]
async fn credentials_that_cannot_be_valid_are_refused_without_a_database() {
    let api = Api::without_servers();
    for credential in [
        "",
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "Bearer mr_short",
        "Bearer mr_!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!",
        "Bearer a.b.c",
        "Bearer eyJhbGciOiJub25lIn0.e30.",
    ] {
        api.call(Method::GET, "/v1/jobs", Some(credential)).await.assert_problem(401, "unauthenticated");
    }
}

#[tokio::test]
async fn every_closed_route_says_503_and_when_to_try_again_while_postgres_is_away() {
    let api = Api::without_servers();
    let key = format!("Bearer {}", ApiKey::generate().reveal());
    // One is enough: the credential is checked first, by the same code on every route, and waits three seconds for Postgres.
    let answer = api.call(Method::GET, "/v1/jobs", Some(&key)).await;
    answer.assert_problem(503, "unavailable");
    assert!(answer.headers[RETRY_AFTER].to_str().expect("text").parse::<u32>().expect("seconds") > 0);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let api = Api::without_servers();
    for path in ["/", "/v1", "/v2/jobs", "/v1/jobs/", "/v1/jobs/a/b/c", "/docs/../secret", "/%00"] {
        api.call(Method::GET, path, None).await.assert_problem(404, "no_such_path");
    }
    let answer = api.call(Method::DELETE, "/v1/jobs", None).await;
    answer.assert_problem(405, "method_not_allowed");
    let allow = answer.headers[ALLOW].to_str().expect("text");
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    let odd = Method::from_bytes(b"BREW").expect("a method");
    api.call(odd, "/v1/version", None).await.assert_problem(405, "method_not_allowed");
}

#[tokio::test]
async fn the_process_lives_and_is_not_ready_without_postgres() {
    let api = Api::without_servers();
    let live = api.call(Method::GET, "/health/live", None).await;
    assert_eq!((live.status, live.json()["status"].as_str()), (StatusCode::OK, Some("ok")));

    let ready = api.call(Method::GET, "/health/ready", None).await;
    let body = ready.json();
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body["status"], "unavailable");
    assert_eq!(
        (&body["postgres"]["ok"], &body["redis"]["ok"], &body["storage"]["ok"]),
        (&false.into(), &false.into(), &true.into())
    );
}

#[tokio::test]
async fn the_description_is_whole() {
    let description = serde_json::to_value(openapi()).expect("the description is JSON");
    assert!(description["openapi"].as_str().expect("a version").starts_with("3.1"));
    let mut ids = std::collections::HashSet::new();
    for (method, path, operation) in operations() {
        let place = format!("{method} {path}");
        let id = operation["operationId"].as_str().expect("an operationId").to_owned();
        assert!(ids.insert(id), "{place}: the operationId is used twice");
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{place} has no summary");
        assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{place} has no tag");
        for (status, response) in operation["responses"].as_object().expect("responses") {
            if status == "default" || status.starts_with(['4', '5']) {
                let reference = &response["content"]["application/problem+json"]["schema"]["$ref"];
                let is_readiness = path == "/health/ready" && status == "503";
                let is_page = is_for_browsers(&operation) && !response["content"]["text/html"].is_null();
                assert!(
                    is_readiness || is_page || reference == "#/components/schemas/Problem",
                    "{place} {status}: {response}"
                );
            }
        }
    }
    let text = description.to_string();
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().expect("a name");
        assert!(description["components"]["schemas"][name].is_object(), "{name} is referred to and not there");
    }
}

#[tokio::test]
async fn the_reference_page_needs_no_other_host() {
    let api = Api::without_servers();
    let page = api.call(Method::GET, "/docs", None).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.headers["content-security-policy"].to_str().expect("text").contains("default-src 'none'"));
    for path in ["/docs", "/docs/page.css", "/docs/page.js"] {
        let file = api.call(Method::GET, path, None).await;
        let text = String::from_utf8(file.body).expect("text");
        assert!(!text.is_empty(), "{path} is empty");
        for outside in ["src=\"http", "href=\"http", "src=\"//", "url(http", "@import", "import(", "fetch(\"http"] {
            assert!(!text.contains(outside), "{path} has {outside}");
        }
    }
}

#[tokio::test]
async fn every_answer_names_its_request_and_is_not_cached_or_sniffed() {
    let api = Api::without_servers();
    let answer = api.call(Method::GET, "/v1/version", None).await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    assert_eq!(answer.headers[REQUEST_ID].len(), 36);
}
