//! What the API says of itself: the source of the tables that must have a row for every route.

use anyhow::{Context as _, Result};
use millrace_harness::{Client, Reply};
use reqwest::Method;
use serde_json::Value;

/// A route.
#[derive(Debug, Clone)]
pub struct Operation {
    pub id: String,
    pub method: Method,
    /// With names in braces.
    pub path: String,
    pub tag: String,
    /// Names of its query's parameters.
    pub query: Vec<String>,
    /// The media type of its body, if it takes one.
    pub body: Option<String>,
    /// All media types that it takes.
    pub bodies: Vec<String>,
    /// Names of its body's fields.
    pub fields: Vec<String>,
    pub body_is_required: bool,
}

/// Every route of a running API.
pub async fn operations(client: &Client) -> Result<Vec<Operation>> {
    let description = client.get("/openapi.json").await?.expect(200)?;
    let mut operations = Vec::new();
    for (path, item) in description["paths"].as_object().context("no paths")? {
        for (method, operation) in item.as_object().context("no methods")? {
            operations.push(read(&description, path, method, operation)?);
        }
    }
    assert!(operations.len() > 25, "only {} routes are described", operations.len());
    Ok(operations)
}

fn read(description: &Value, path: &str, method: &str, operation: &Value) -> Result<Operation> {
    let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
    let bodies = operation["requestBody"]["content"].as_object();
    // What is JSON is what the tables change field by field.
    let content = bodies.and_then(|bodies| {
        bodies.iter().find(|(media_type, _)| *media_type == "application/json").or_else(|| bodies.iter().next())
    });
    let schema = content.map(|(_, content)| body_schema(description, &content["schema"]));
    Ok(Operation {
        id: operation["operationId"].as_str().context("no operationId")?.to_owned(),
        method: method.to_uppercase().parse()?,
        path: path.to_owned(),
        tag: operation["tags"][0].as_str().unwrap_or_default().to_owned(),
        query: parameters
            .iter()
            .filter(|parameter| parameter["in"] == "query")
            .filter_map(|parameter| parameter["name"].as_str().map(str::to_owned))
            .collect(),
        body: content.map(|(media_type, _)| media_type.clone()),
        bodies: bodies.map(|bodies| bodies.keys().cloned().collect()).unwrap_or_default(),
        fields: schema
            .and_then(|schema| Some(schema["properties"].as_object()?.keys().cloned().collect()))
            .unwrap_or_default(),
        body_is_required: operation["requestBody"]["required"] == true,
    })
}

fn body_schema(description: &Value, schema: &Value) -> Value {
    let choice =
        schema["oneOf"].as_array().and_then(|choices| choices.iter().find(|choice| choice["$ref"].is_string()));
    let reference = choice.unwrap_or(schema)["$ref"].as_str();
    match reference.and_then(|reference| reference.rsplit('/').next()) {
        Some(name) => description["components"]["schemas"][name].clone(),
        None => schema.clone(),
    }
}

/// Checks that an answer is a problem as RFC 9457 and the API's own rules have it, and gives its body.
pub fn problem(reply: &Reply, status: u16, code: &str) -> Value {
    let place = format!("{} {}", reply.status, reply.text());
    assert_eq!(reply.status, status, "{place}");
    assert_eq!(reply.content_type(), Some("application/problem+json"), "{place}");
    let body = reply.json().expect("a problem is JSON");
    assert_eq!(body["status"], status, "{place}");
    assert_eq!(body["code"], code, "{place}");
    assert_eq!(body["request_id"].as_str(), reply.header("x-request-id"), "{place}");
    assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{place}");
    body
}

/// Checks that an answer is a 422 that names this field.
pub fn invalid(reply: &Reply, field: &str) {
    let body = problem(reply, 422, "validation_failed");
    let errors = body["errors"].as_array().expect("a list of errors");
    assert!(errors.iter().any(|error| error["field"] == field), "{field} is not named in {body}");
    assert!(errors.iter().all(|error| error["message"].as_str().is_some_and(|text| !text.is_empty())), "{body}");
}
