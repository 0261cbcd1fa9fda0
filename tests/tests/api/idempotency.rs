//! The same request twice is one job.

use std::collections::HashSet;

use anyhow::{Context as _, Result};
use millrace_harness::{Client, Reply, Stack};
use reqwest::Method;
use serde_json::{Value, json};

use super::description::problem;

async fn submit(client: &Client, key: &str, body: &Value) -> Result<Reply> {
    client.send(client.request(Method::POST, "/v1/jobs").header("Idempotency-Key", key).json(body)).await
}

#[tokio::test]
async fn the_same_key_and_body_give_the_first_answer() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let client = stack.client();
    let body = json!({ "kind": "probe", "payload": { "bytes": 3 } });
    let first = submit(client, "k1", &body).await?;
    let location = first.header("location").context("no location")?.to_owned();
    assert_eq!(first.header("idempotency-replayed"), None);
    let first = first.expect(202)?;
    assert_eq!(location, format!("/v1/jobs/{}", first["id"].as_str().context("no id")?));
    client.wait_job(first["id"].as_str().context("no id")?, std::time::Duration::from_secs(30)).await?;

    let again = submit(client, "k1", &json!({ "payload": { "bytes": 3 }, "kind": "probe" })).await?;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.header("location"), Some(location.as_str()));
    assert_eq!(again.expect(202)?, first, "the answer is the first one, though the job has ended since");

    problem(&submit(client, "k1", &json!({ "kind": "probe" })).await?, 422, "idempotency_key_reused");
    let other = submit(client, "k2", &body).await?.expect(202)?;
    assert_ne!(other["id"], first["id"]);
    stack.drain().await
}

#[tokio::test]
async fn twenty_at_once_with_one_key_are_one_job() -> Result<()> {
    let stack = Stack::builder().workers(0).start().await?;
    let requests: Vec<_> = (0..20)
        .map(|_| {
            let client = stack.client().clone();
            tokio::spawn(async move { submit(&client, "race", &json!({ "kind": "probe" })).await?.expect(202) })
        })
        .collect();
    let mut ids = HashSet::new();
    for request in requests {
        ids.insert(request.await??["id"].to_string());
    }
    assert_eq!(ids.len(), 1);
    let list = stack.client().get("/v1/jobs").await?.expect(200)?;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    stack.drain().await
}

#[tokio::test]
async fn a_refused_request_does_not_use_up_its_key() -> Result<()> {
    let stack = Stack::builder().workers(0).start().await?;
    let client = stack.client();
    assert_eq!(submit(client, "k", &json!({ "kind": "nothing" })).await?.status, 422);
    submit(client, "k", &json!({ "kind": "probe" })).await?.expect(202)?;
    stack.drain().await
}
