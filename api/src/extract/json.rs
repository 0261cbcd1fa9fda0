use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use http::HeaderMap;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use millrace_shared::jobs::FieldError;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;

use super::{Object, field_error, media_type};
use crate::error::ApiError;
use crate::state::AppState;

/// A JSON body, read up to the configured limit.
#[derive(Debug)]
pub struct Json<T>(pub T);

/// A JSON body that may be left out.
#[derive(Debug)]
pub struct OptionalJson<T>(pub Option<T>);

impl<T: DeserializeOwned> FromRequest<AppState> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        check_content_type(request.headers())?;
        parse(&read(request, state).await?).map(Self)
    }
}

impl<T: DeserializeOwned> FromRequest<AppState> for OptionalJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let content_type = check_content_type(request.headers());
        let body = read(request, state).await?;
        if body.is_empty() {
            return Ok(Self(None));
        }
        content_type?;
        parse(&body).map(|value| Self(Some(value)))
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    if is_json(headers) { Ok(()) } else { Err(ApiError::UnsupportedMediaType("application/json")) }
}

/// Whether a body is said to be JSON.
pub fn is_json(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|essence| {
        essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
    })
}

async fn read(request: Request, state: &AppState) -> Result<Bytes, ApiError> {
    let limit = state.limits().body_bytes;
    let too_large = || ApiError::TooLarge { limit_bytes: limit as u64 };
    let (parts, body) = request.into_parts();
    let announced = parts.headers.get(http::header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > limit as u64) {
        return Err(too_large());
    }
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => Err(ApiError::Malformed("the body ended before it was complete".into())),
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    refuse_nul(body)?;
    let mut json = serde_json::Deserializer::from_slice(body);
    let Object(value) = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (path, error) = (error.path().clone(), error.into_inner());
        match error.classify() {
            // A wrong field may come before the place where the body stops being JSON at all.
            Category::Data => match serde_json::from_slice::<Value>(body) {
                Ok(_) => ApiError::Invalid(vec![field_error(&path, &without_place(&error), "body")]),
                Err(error) => malformed(&error),
            },
            Category::Syntax | Category::Eof | Category::Io => malformed(&error),
        }
    })?;
    json.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

fn malformed(error: &serde_json::Error) -> ApiError {
    ApiError::Malformed(format!("the body is not valid JSON: {error}").into())
}

/// serde_json's message without its ` at line 1 column 7`: the field is named already.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rfind(" at line ").map_or(text.clone(), |at| text[..at].to_owned())
}

/// Postgres holds no NUL in its text, so none may come in. The escape is rare enough that looking for it first is all the cost.
fn refuse_nul(body: &[u8]) -> Result<(), ApiError> {
    if !body.windows(6).any(|window| window == b"\\u0000") {
        return Ok(());
    }
    let Ok(value) = serde_json::from_slice(body) else { return Ok(()) };
    match nul_at(&value, "") {
        Some(field) => Err(ApiError::Invalid(vec![FieldError::new(
            field,
            "contains the character U+0000, which cannot be stored",
        )])),
        None => Ok(()),
    }
}

fn nul_at(value: &Value, path: &str) -> Option<String> {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::String(text) => text.contains('\0').then(|| path.to_owned()),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, item)| nul_at(item, &format!("{path}[{index}]")))
        }
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            if name.contains('\0') { Some(below(&name.replace('\0', "\\u0000"))) } else { nul_at(value, &below(name)) }
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[expect(dead_code, reason = "only its errors are looked at")]
        items: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code, reason = "only its errors are looked at")]
        number: u8,
    }

    fn error(body: &str) -> ApiError {
        parse::<Outer>(body.as_bytes()).expect_err("refused")
    }

    fn fields(body: &str) -> Vec<(String, String)> {
        match error(body) {
            ApiError::Invalid(fields) => fields.into_iter().map(|field| (field.field, field.message)).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_wrong_field_is_named_with_its_path() {
        let [(field, message)] = &fields(r#"{"items":[{"number":1},{"number":"x"}]}"#)[..] else { panic!() };
        assert_eq!(field, "items[1].number");
        assert!(message.contains("expected u8") && !message.contains("line"), "{message}");
        assert_eq!(fields(r#"{"items":[{"number":1,"more":1}]}"#)[0].0, "items[0].more");
        assert_eq!(fields("7")[0].0, "body");
        assert_eq!(fields("[[]]")[0].0, "body");
        assert_eq!(fields("{}"), [("items".to_owned(), "is required".to_owned())]);
        assert_eq!(fields(r#"{"items":[{}]}"#)[0].0, "items[0].number");
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        for body in [
            "",
            "{",
            "nonsense",
            "{\"items\":[]} more",
            "{\"nonsense\":1} more",
            "{\"items\":\"\\ud800\"}",
            "\u{feff}{}",
        ] {
            assert!(matches!(error(body), ApiError::Malformed(_)), "{body}: {:?}", error(body));
        }
        let deep = "[".repeat(10_000);
        assert!(matches!(error(&deep), ApiError::Malformed(_) | ApiError::Invalid(_)));
    }

    #[test]
    fn a_nul_is_refused_wherever_it_hides() {
        assert_eq!(fields(r#"{"items":[{"number":1,"x":"a\u0000"}]}"#)[0].0, "items[0].x");
        assert_eq!(fields(r#"{"a\u0000":1}"#)[0].0, "a\\u0000");
        // An escaped backslash before u0000 is no NUL.
        assert_eq!(fields(r#"{"items":[],"x":"\\u0000"}"#)[0].0, "x");
    }
}
