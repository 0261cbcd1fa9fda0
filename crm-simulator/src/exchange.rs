//! A request as a vendor's code reads it, and the reply that it makes. Plain data: what travels, and what goes wrong on the way, is the server's.

use std::collections::HashMap;
use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use serde_json::Value;
use url::form_urlencoded;

/// A request, read whole.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// The vendor's own path: what names the provider and the account is taken off.
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) peer: IpAddr,
}

impl Request {
    pub(crate) fn parse_query(query: Option<&str>) -> Vec<(String, String)> {
        form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect()
    }

    /// The path's parts, without empty ones.
    pub(crate) fn segments(&self) -> Vec<&str> {
        self.path.split('/').filter(|part| !part.is_empty()).collect()
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that lists things, separated by commas or given several times.
    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        let given = self.query.iter().filter(|(found, _)| found == name);
        given.flat_map(|(_, value)| value.split(',')).map(str::trim).filter(|part| !part.is_empty()).collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    fn has_type(&self, wanted: &str) -> bool {
        let given = self.header(header::CONTENT_TYPE.as_str()).unwrap_or_default();
        given.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(wanted)
    }

    /// The body as JSON; `None` when it is not, or does not say that it is.
    pub(crate) fn json(&self) -> Option<Value> {
        self.has_type("application/json").then(|| serde_json::from_slice(&self.body).ok())?
    }

    /// The body as a form; `None` when it does not say that it is one.
    pub(crate) fn form(&self) -> Option<HashMap<String, String>> {
        self.has_type("application/x-www-form-urlencoded")
            .then(|| form_urlencoded::parse(&self.body).into_owned().collect())
    }
}

/// A JSON object of parts that are made already. `json!` would copy each of them, and a page holds hundreds of records.
pub(crate) fn document<const PARTS: usize>(parts: [(&str, Value); PARTS]) -> Value {
    parts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What a reply says.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Empty,
    Json(Value),
    Raw(Vec<u8>),
}

/// A reply, before anything happens to it.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) content: Content,
}

impl Reply {
    pub(crate) fn json(status: u16, value: Value) -> Self {
        Self {
            status,
            content_type: "application/json;charset=utf-8",
            headers: Vec::new(),
            content: Content::Json(value),
        }
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self { content: Content::Empty, ..Self::json(status, Value::Null) }
    }

    pub(crate) fn html(status: u16) -> Self {
        let page = format!(
            "<!DOCTYPE html><html><head><title>{status}</title></head><body><h1>We will be back soon</h1></body></html>"
        );
        Self {
            content_type: "text/html; charset=utf-8",
            content: Content::Raw(page.into_bytes()),
            ..Self::empty(status)
        }
    }

    pub(crate) fn redirect(location: String) -> Self {
        Self::empty(302).with("location", location)
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn of_type(self, content_type: &'static str) -> Self {
        Self { content_type, ..self }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        match &self.content {
            Content::Empty => Vec::new(),
            Content::Json(value) => serde_json::to_vec(value).unwrap_or_default(),
            Content::Raw(bytes) => bytes.clone(),
        }
    }
}
