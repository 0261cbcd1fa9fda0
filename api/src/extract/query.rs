use std::fmt::Display;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};

use super::field_error;
use crate::error::ApiError;

/// The query's parameters. Unknown ones are refused by the types (`deny_unknown_fields`), and so is NUL.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        // Postgres holds no NUL in its text. `%00` is the only spelling: a raw one is no valid request line.
        if query.contains("%00") {
            return Err(ApiError::invalid("query", "contains the character U+0000 (`%00`)"));
        }
        let pairs = serde_urlencoded::Deserializer::new(url::form_urlencoded::parse(query.as_bytes()));
        serde_path_to_error::deserialize(pairs).map(Self).map_err(|error| {
            let path = error.path().clone();
            ApiError::Invalid(vec![field_error(&path, &error.into_inner().to_string(), "query")])
        })
    }
}

/// Reads an optional parameter through its type's own parser, whose message tells what was expected. An empty one is refused too.
pub fn from_text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(D::Error::custom)
}
