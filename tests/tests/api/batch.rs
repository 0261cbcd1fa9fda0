//! Many jobs at once: all or none.

use std::time::Duration;

use anyhow::{Context as _, Result};
use millrace_harness::Stack;
use serde_json::{Value, json};

use super::description::{invalid, problem};

#[tokio::test]
async fn a_batch_is_taken_in_whole_and_in_order_and_runs() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let client = stack.client();
    let jobs: Vec<Value> =
        (1..=1000).map(|number| json!({ "kind": "probe", "payload": { "bytes": number } })).collect();
    let taken = client.post("/v1/jobs/batch", &json!({ "jobs": jobs })).await?.expect(202)?;
    let taken = taken["jobs"].as_array().context("no jobs")?;
    assert_eq!(taken.len(), 1000);
    for (number, job) in taken.iter().enumerate().step_by(111) {
        let done = client.wait_job(job["id"].as_str().context("no id")?, Duration::from_secs(60)).await?;
        assert_eq!(done["state"], "succeeded");
        assert_eq!(
            done["result"]["data"].as_str().context("no data")?.len(),
            number + 1,
            "the order is that of the request"
        );
    }
    stack.drain().await
}

#[tokio::test]
async fn one_bad_job_keeps_the_whole_batch_out() -> Result<()> {
    let stack = Stack::builder().workers(0).start().await?;
    let client = stack.client();
    let body = json!({ "jobs": [
        { "kind": "probe" },
        { "kind": "nothing" },
        { "kind": "probe", "payload": { "colour": 1 }, "max_attempts": 0 },
    ] });
    let reply = client.post("/v1/jobs/batch", &body).await?;
    for field in ["jobs[1].kind", "jobs[2].payload.colour", "jobs[2].max_attempts"] {
        invalid(&reply, field);
    }
    invalid(
        &client
            .post("/v1/jobs/batch", &json!({ "jobs": [{ "kind": "probe" }, { "kind": "probe", "more": 1 }] }))
            .await?,
        "jobs[1].more",
    );
    invalid(&client.post("/v1/jobs/batch", &json!({ "jobs": [] })).await?, "jobs");
    let many: Vec<Value> = (0..1001).map(|_| json!({ "kind": "probe" })).collect();
    invalid(&client.post("/v1/jobs/batch", &json!({ "jobs": many })).await?, "jobs");

    let none = client.get("/v1/jobs").await?.expect(200)?;
    assert_eq!(none["items"], json!([]));
    stack.drain().await
}

#[tokio::test]
async fn a_batch_is_idempotent_as_a_whole() -> Result<()> {
    let stack = Stack::builder().workers(0).start().await?;
    let client = stack.client();
    let send = async |body: Value| {
        let request =
            client.request(reqwest::Method::POST, "/v1/jobs/batch").header("Idempotency-Key", "b1").json(&body);
        client.send(request).await
    };
    let body = json!({ "jobs": [{ "kind": "probe" }, { "kind": "probe", "unique_key": "u" }, { "kind": "probe", "unique_key": "u" }] });
    let first = send(body.clone()).await?.expect(202)?;
    let again = send(body).await?;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.expect(202)?, first);
    assert_eq!(first["jobs"][1]["id"], first["jobs"][2]["id"], "a unique key holds within a batch too");
    problem(&send(json!({ "jobs": [{ "kind": "probe" }] })).await?, 422, "idempotency_key_reused");
    stack.drain().await
}
