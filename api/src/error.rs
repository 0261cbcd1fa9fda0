//! Every answer that is not a success: one type, one shape (RFC 9457, `application/problem+json`).
//!
//! Handlers return [`ApiError`]; the outermost middleware turns it into the body, because only there the request's id is known.
//! Clients branch on `code`, which never changes its meaning; `detail` is for people and may change.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use millrace_shared::auth::Role;
use millrace_shared::intake::IntakeError;
use millrace_shared::jobs::FieldError;
use millrace_shared::storage::StorageError;
use millrace_shared::views::ViewError;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// How long a client should wait when a server we depend on is away.
const RETRY_AFTER_SECONDS: u64 = 5;

/// Why a request got no success.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The body or the request around it cannot be read.
    #[error("{0}")]
    Malformed(Cow<'static, str>),
    /// No credential, or none that is valid.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The credential is valid and does not allow this.
    #[error("this needs the role {needed}; the credential has {held}")]
    Forbidden {
        /// What it takes.
        needed: Role,
        /// What the caller has.
        held: Role,
    },
    /// No such thing, or not the caller's organisation's.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// No such path.
    #[error("no such path; GET /openapi.json lists all")]
    NoRoute,
    /// The path exists for other methods.
    #[error("this path does not take this method")]
    MethodNotAllowed,
    /// The thing is in a state that excludes the request.
    #[error("{detail}")]
    Conflict {
        /// A stable name of the conflict.
        code: &'static str,
        /// What is in the way.
        detail: String,
    },
    /// The body took too long to arrive, or the work too long to do.
    #[error("the request took longer than {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The body is over its limit.
    #[error("the body is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The body's type is not what the path takes.
    #[error("the content type must be {0}")]
    UnsupportedMediaType(&'static str),
    /// Fields that are wrong; at least one.
    #[error("some fields are not valid")]
    Invalid(Vec<FieldError>),
    /// The `Idempotency-Key` was used with another request.
    #[error("this Idempotency-Key was used with another request")]
    IdempotencyMismatch,
    /// Something we depend on is away; the same request may well succeed later.
    #[error("{0} is not available at the moment")]
    Unavailable(&'static str, #[source] Option<BoxError>),
    /// Our fault. The caller gets the request's id and nothing else.
    #[error("internal error")]
    Internal(#[source] BoxError),
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl ApiError {
    /// One wrong field.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError::new(field, message)])
    }

    /// An error that should not have happened.
    pub fn internal(error: impl Into<BoxError>) -> Self {
        Self::Internal(error.into())
    }

    /// The status it is answered with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden { .. } => StatusCode::FORBIDDEN,
            Self::NotFound(_) | Self::NoRoute => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict { .. } => StatusCode::CONFLICT,
            Self::Timeout(_) => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid(_) | Self::IdempotencyMismatch => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unavailable(..) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The stable name that clients branch on.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed_request",
            Self::Unauthenticated(_) => "unauthenticated",
            Self::Forbidden { .. } => "forbidden",
            Self::NotFound(_) => "not_found",
            Self::NoRoute => "no_such_path",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Conflict { code, .. } => code,
            Self::Timeout(_) => "timeout",
            Self::TooLarge { .. } => "too_large",
            Self::UnsupportedMediaType(_) => "unsupported_media_type",
            Self::Invalid(_) => "validation_failed",
            Self::IdempotencyMismatch => "idempotency_key_reused",
            Self::Unavailable(..) => "unavailable",
            Self::Internal(_) => "internal_error",
        }
    }

    /// The body.
    #[must_use]
    pub fn problem(&self, request_id: Uuid) -> Problem {
        let status = self.status();
        Problem {
            r#type: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: self.to_string(),
            code: self.code().to_owned(),
            request_id,
            errors: match self {
                Self::Invalid(fields) => fields
                    .iter()
                    .map(|field| ProblemField { field: field.field.clone(), message: field.message.clone() })
                    .collect(),
                _ => Vec::new(),
            },
        }
    }

    /// The whole answer. `allow` is what the router says of a path's methods.
    pub(crate) fn render(&self, request_id: Uuid, allow: Option<HeaderValue>) -> Response {
        // A struct of strings and numbers always serialises.
        let body = serde_json::to_vec(&self.problem(request_id)).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self {
            Self::Unauthenticated(_) => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"millrace\""));
            }
            Self::Unavailable(..) => {
                headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
            }
            Self::MethodNotAllowed => {
                if let Some(allow) = allow {
                    headers.insert(ALLOW, allow);
                }
            }
            _ => {}
        }
        response
    }
}

/// The marker in a response's extensions that the outermost middleware replaces by the body.
#[derive(Clone)]
pub(crate) struct Failure(pub(crate) Arc<ApiError>);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(Failure(Arc::new(self)));
        response
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        if millrace_shared::db::is_unavailable(&error) {
            Self::Unavailable("the database", Some(error.into()))
        } else {
            Self::Internal(error.into())
        }
    }
}

impl From<IntakeError> for ApiError {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::Invalid(fields) => Self::Invalid(fields),
            IntakeError::Database(error) => error.into(),
        }
    }
}

impl From<ViewError> for ApiError {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Database(error) => error.into(),
            ViewError::Redis(error) => Self::Unavailable("Redis", Some(error.into())),
        }
    }
}

impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::TooLarge { limit_bytes } => Self::TooLarge { limit_bytes },
            error => Self::Unavailable("the object store", Some(error.into())),
        }
    }
}

/// An error, as RFC 9457 shapes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({
    "type": "about:blank", "title": "Unprocessable Entity", "status": 422, "detail": "some fields are not valid",
    "code": "validation_failed", "request_id": "0193e4a8-6f4e-7c3a-9d55-0f6a3c1b2d7e",
    "errors": [{ "field": "payload.sleep_ms", "message": "-1 is less than the minimum of 0" }]
}))]
pub struct Problem {
    /// Always `about:blank`: `code` tells more than a URL would.
    pub r#type: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong and what to change, for people.
    pub detail: String,
    /// What is wrong, for programs. Its meaning never changes.
    pub code: String,
    /// Names this request in the logs; also in the header `x-request-id`.
    pub request_id: Uuid,
    /// The fields that are wrong, for `validation_failed`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemField>,
}

/// A field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProblemField {
    /// Where it is, such as `jobs[3].payload.sleep_ms`, or a parameter's name.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}
