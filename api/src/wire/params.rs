use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderMap;
use millrace_shared::db::{Cursor, PageRequest};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};

use crate::error::ApiError;
use crate::extract::from_text;

/// Rows on a page, 1 to 200.
#[derive(Debug, Clone, Copy)]
pub struct Limit(u16);

impl Limit {
    const DEFAULT: u16 = 50;
    const MOST: u16 = 200;

    /// Rows on a page.
    #[must_use]
    pub fn get(limit: Option<Self>) -> u16 {
        limit.map_or(Self::DEFAULT, |limit| limit.0)
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(rows) if (1..=Self::MOST).contains(&rows) => Ok(Self(rows)),
            _ => Err(format!("must be a whole number from 1 to {}", Self::MOST)),
        }
    }
}

/// Which page of a list, where nothing else is asked. Serde refuses unknown parameters only of a whole query, so lists with parameters of their own
/// have these among them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "C: FromStr<Err: fmt::Display>"))]
pub struct PageParams<C = Cursor> {
    /// `next_cursor` of the page before.
    #[serde(default, deserialize_with = "from_text")]
    pub cursor: Option<C>,
    /// Rows on a page.
    #[serde(default, deserialize_with = "from_text")]
    pub limit: Option<Limit>,
}

// Not derived: that would ask every cursor for a schema, where each is text to clients.
impl<C> IntoParams for PageParams<C> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let optional = |name: &str, what: &str, schema: ObjectBuilder| {
            let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query);
            parameter.description(Some(what)).schema(Some(schema)).build()
        };
        let text = ObjectBuilder::new().schema_type(Type::String);
        let number = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)))
            .minimum(Some(1))
            .maximum(Some(Limit::MOST));
        let limit = format!("Rows on a page; {} unless told otherwise.", Limit::DEFAULT);
        vec![optional("cursor", "`next_cursor` of the page before.", text), optional("limit", &limit, number)]
    }
}

/// The page that a query asks for.
#[must_use]
pub fn page_request(cursor: Option<Cursor>, limit: Option<Limit>) -> PageRequest {
    PageRequest { after: cursor, limit: Limit::get(limit) }
}

/// A moment that Postgres can hold and a person can mean: 1970 to 9999.
#[derive(Debug, Clone, Copy, serde::Serialize)]
#[serde(transparent)]
pub struct Timestamp(pub DateTime<Utc>);

impl FromStr for Timestamp {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let time = DateTime::parse_from_rfc3339(text).map_err(
            |_| "must be a time as RFC 3339 has it, such as 2026-01-31T08:00:00Z (in a query write + as %2B)",
        )?;
        if !(0..253_402_300_800).contains(&time.timestamp()) {
            return Err("must be between the years 1970 and 9999");
        }
        Ok(Self(time.to_utc()))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// How long a client waits for a job to end: `30s`, `500ms`, `1m`; at most a minute.
#[derive(Debug, Clone, Copy)]
pub struct Wait(pub Duration);

impl Wait {
    const LONGEST: Duration = Duration::from_secs(60);
}

impl FromStr for Wait {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "must be a time from 0s to 60s, such as 30s or 500ms";
        let digits = text.find(|letter: char| !letter.is_ascii_digit()).ok_or(WRONG)?;
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| WRONG)?;
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            _ => return Err(WRONG),
        };
        let wait = number.checked_mul(unit_ms).map(Duration::from_millis).ok_or(WRONG)?;
        if wait > Self::LONGEST { Err(WRONG) } else { Ok(Self(wait)) }
    }
}

/// The `Idempotency-Key` header, if it was sent.
#[derive(Debug, Clone)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    const LONGEST: usize = 255;

    /// Reads the header.
    ///
    /// # Errors
    /// When it is sent twice, is empty, too long, or has other characters than visible ASCII.
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        let mut values = headers.get_all("idempotency-key").iter();
        let Some(value) = values.next() else { return Ok(None) };
        let text = value.as_bytes();
        let is_valid = (1..=Self::LONGEST).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic);
        match (values.next(), value.to_str()) {
            (None, Ok(text)) if is_valid => Ok(Some(Self(text.to_owned()))),
            _ => Err(ApiError::invalid(
                "Idempotency-Key",
                format!("must be one header of 1 to {} visible ASCII characters", Self::LONGEST),
            )),
        }
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl AsRef<str> for IdempotencyKey {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn waits_are_bounded_and_have_a_unit() {
        assert_eq!("30s".parse::<Wait>().expect("valid").0, Duration::from_secs(30));
        assert_eq!("1m".parse::<Wait>().expect("valid").0, Duration::from_secs(60));
        assert_eq!("0ms".parse::<Wait>().expect("valid").0, Duration::ZERO);
        for wrong in ["", "30", "s", "61s", "2m", "-1s", "1.5s", "99999999999999999999m", "18446744073709551615m"] {
            assert!(wrong.parse::<Wait>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_those_that_postgres_can_hold() {
        assert!("2026-01-31T08:00:00Z".parse::<Timestamp>().is_ok());
        assert!("2026-01-31T08:00:00.5+02:00".parse::<Timestamp>().is_ok());
        for wrong in ["", "yesterday", "2026-01-31", "1969-12-31T23:59:59Z", "-0001-01-01T00:00:00Z"] {
            assert!(wrong.parse::<Timestamp>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn limits_are_from_1_to_200() {
        for wrong in ["0", "201", "-1", "x", "1.0", "99999999"] {
            assert!(wrong.parse::<Limit>().is_err(), "{wrong}");
        }
        assert_eq!(Limit::get("200".parse().ok()), 200);
        assert_eq!(Limit::get(None), 50);
    }

    #[test]
    fn idempotency_keys_are_visible_ascii() {
        let read = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert("idempotency-key", HeaderValue::from_bytes(value).expect("a header"));
            IdempotencyKey::from_headers(&headers)
        };
        assert_eq!(read(b"order-17").expect("valid").expect("sent").as_ref(), "order-17");
        for wrong in [&b""[..], b"a b", b"\xe4", &[b'x'; 256]] {
            assert!(read(wrong).is_err());
        }
        assert!(IdempotencyKey::from_headers(&HeaderMap::new()).expect("valid").is_none());
    }
}
