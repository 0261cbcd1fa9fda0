use axum::extract::FromRequestParts;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use http::request::Parts;
use millrace_shared::jobs::FieldError;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// The path's parameters.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => Err(refusal(error.into_kind())),
            Err(error) => Err(ApiError::internal(error)),
        }
    }
}

fn refusal(kind: ErrorKind) -> ApiError {
    let field = match kind {
        ErrorKind::ParseErrorAtKey { key, value, expected_type } => {
            FieldError::new(key, format!("`{value}` is not a valid {expected_type}"))
        }
        ErrorKind::DeserializeError { key, message, .. } if message.starts_with("UUID") => {
            FieldError::new(key, "must be a UUID")
        }
        ErrorKind::DeserializeError { key, message, .. } => FieldError::new(key, message),
        ErrorKind::InvalidUtf8InPathParam { key } => FieldError::new(key, "is not valid UTF-8"),
        ErrorKind::Message(message) => FieldError::new("path", message),
        other => FieldError::new("path", other.to_string()),
    };
    ApiError::Invalid(vec![field])
}
