//! Webhooks that come as a GET, and what becomes of a query.

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;
use millrace_harness::{Client, Reply, Stack};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use super::description::problem;
use super::webhooks::{PUBLIC, builder, jobs_of, only_job_of};

/// Computed from Kommo's rule by another program.
const SECRET: &str = "kommo-test-secret";
const QUERY: &str = "client_uuid=01d01160-d7a0-4087-b4af-6a1bb83fcd1d&account_id=32720107\
                     &signature=7ea2f8550421668a402cff407d7322774518fc98b45f30d94bf37309840c1d72";

async fn source(client: &Client, scheme: &str) -> Result<(String, String)> {
    let body = json!({ "name": "Weir", "scheme": { "type": scheme }, "kind": "probe", "secret": SECRET });
    let made = client.post("/v1/webhook-sources", &body).await?.expect(201)?;
    let url = made["url"].as_str().and_then(|url| url.strip_prefix(PUBLIC)).context("no url")?;
    Ok((made["id"].as_str().context("no id")?.to_owned(), url.to_owned()))
}

async fn call(stack: &Stack, method: Method, path: &str) -> Result<Reply> {
    let sender = Client::anonymous(stack.client().base())?;
    sender.send(sender.request(method, path)).await
}

#[tokio::test]
async fn a_query_that_is_signed_becomes_the_payload_of_a_job_once() -> Result<()> {
    let mut stack = builder().workers(0).start().await?;
    let (_, path) = source(stack.client(), "kommo_disabled").await?;
    let path = format!("{path}?{QUERY}");
    let replies = try_join_all((0..20).map(|_| call(&stack, Method::GET, &path))).await?;
    assert!(replies.iter().all(|reply| reply.status == 200), "{replies:?}");
    assert_eq!(call(&stack, Method::GET, &format!("{path}&more=1")).await?.status, 200, "the same, and more");

    let mut database = PgConnection::connect(stack.database_url()).await?;
    let said: Vec<(Option<String>, Vec<u8>)> =
        sqlx::query_as("SELECT content_type, body FROM webhook_events").fetch_all(&mut database).await?;
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0].0.as_deref(), Some("application/json"));
    let expected = json!({ "client_uuid": "01d01160-d7a0-4087-b4af-6a1bb83fcd1d", "account_id": "32720107" });
    assert_eq!(serde_json::from_slice::<Value>(&said[0].1)?, expected);
    assert_eq!(jobs_of(stack.client(), "webhook.deliver").await?.len(), 1);

    // A probe takes neither of the two fields: the job says so by their names, so they were its payload.
    stack.add_worker().await?;
    let job = only_job_of(stack.client(), "webhook.deliver").await?;
    assert_eq!(job["error"]["class"], "webhook_payload", "{job}");
    for field in ["payload.client_uuid", "payload.account_id"] {
        assert!(job["error"]["message"].as_str().is_some_and(|text| text.contains(field)), "{field} in {job}");
    }
    assert!(!job.to_string().contains("signature"), "{job}");
    stack.drain().await
}

#[tokio::test]
async fn whatever_is_wrong_with_a_query_or_its_method_is_refused_alike() -> Result<()> {
    let stack = builder().workers(0).start().await?;
    let (id, path) = source(stack.client(), "kommo_disabled").await?;
    let (github, of_github) = source(stack.client(), "github").await?;
    let unknown = format!("/v1/webhooks/{}", uuid::Uuid::now_v7());
    let mut answers = Vec::new();
    for (method, path) in [
        (Method::GET, format!("{path}?{}", QUERY.replace("32720107", "32720108"))),
        (Method::GET, format!("{path}?{}", QUERY.replace("account_id", "account"))),
        (Method::GET, format!("{path}?{QUERY}&signature=1")),
        (Method::GET, path.clone()),
        (Method::POST, format!("{path}?{QUERY}")),
        (Method::GET, format!("{of_github}?{QUERY}")),
        (Method::GET, format!("{unknown}?{QUERY}")),
        (Method::GET, format!("/v1/webhooks/no-id?{QUERY}")),
    ] {
        let reply = call(&stack, method, &path).await?;
        let mut answer = problem(&reply, 401, "unauthenticated");
        answer.as_object_mut().context("no object")?.remove("request_id");
        answers.push(answer);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    assert_eq!(call(&stack, Method::HEAD, &format!("{path}?{QUERY}")).await?.status, 401, "a HEAD is no GET");
    for method in [Method::PUT, Method::DELETE, Method::PATCH] {
        problem(&call(&stack, method, &format!("{path}?{QUERY}")).await?, 405, "method_not_allowed");
    }
    assert!(jobs_of(stack.client(), "webhook.deliver").await?.is_empty());
    let metrics = call(&stack, Method::GET, "/metrics").await?.text();
    for (source, outcome, count) in [
        (id.as_str(), "wrong_signature", 1),
        (&id, "missing_parameter", 2),
        (&id, "malformed_header", 1),
        (&id, "wrong_method", 2),
        (&github, "wrong_method", 1),
        ("unknown", "unknown_source", 2),
    ] {
        let line = metrics.lines().find(|line| {
            line.starts_with("millrace_webhooks_total") && line.contains(source) && line.contains(outcome)
        });
        assert!(line.is_some_and(|line| line.ends_with(&format!(" {count}"))), "{source} {outcome}: {line:?}");
    }

    // What a test says of it.
    let at = format!("/v1/webhook-sources/{id}/test");
    for (path, accepted) in [(format!("?{QUERY}"), true), (String::new(), false)] {
        let body = json!({ "headers": {}, "body": "", "path": path });
        assert_eq!(stack.client().post(&at, &body).await?.expect(200)?["accepted"], accepted, "{path}");
    }
    stack.drain().await
}
