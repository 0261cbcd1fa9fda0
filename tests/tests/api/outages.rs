//! The API while a server that it depends on is away.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use millrace_harness::{PostgresOptions, Stack};
use serde_json::json;

use super::description::problem;

#[tokio::test]
async fn jobs_are_accepted_while_redis_is_away_and_run_when_it_is_back() -> Result<()> {
    let mut stack = Stack::builder().start().await?;
    stack.redis.kill().await?;
    let begun = Instant::now();
    let job = stack.client().submit("probe", &json!({})).await?;
    let uploaded = stack.client().upload("a.txt", "Words while Redis is away.").await?.expect(202)?;
    assert!(begun.elapsed() < Duration::from_secs(5), "clients waited {:?} for a Redis that is away", begun.elapsed());

    let path = format!("/v1/jobs/{}", job["id"].as_str().context("no id")?);
    assert_eq!(stack.client().get(&path).await?.expect(200)?["state"], "queued");
    let ready = stack.client().get("/health/ready").await?.expect(200)?;
    assert_eq!((&ready["status"], &ready["redis"]["ok"]), (&json!("degraded"), &json!(false)));
    let queues = stack.client().get("/v1/queues").await?.expect(200)?;
    assert_eq!(queues["items"][0]["live"], false, "figures of the ledger alone say so: {queues}");

    stack.redis.start_again().await?;
    for id in [&job["id"], &uploaded["job"]["id"]] {
        let done = stack.client().wait_job(id.as_str().context("no id")?, Duration::from_secs(60)).await?;
        assert_eq!(done["state"], "succeeded", "{done}");
    }
    stack.drain().await
}

#[tokio::test]
async fn without_postgres_every_answer_is_a_503_that_says_when_to_come_back() -> Result<()> {
    let mut stack = Stack::builder().workers(0).own_postgres(PostgresOptions::default()).start().await?;
    let job = stack.client().submit("probe", &json!({})).await?;
    stack.postgres.kill().await?;
    for path in ["/v1/jobs", "/v1/assets", "/v1/queues"] {
        let reply = stack.client().get(path).await?;
        problem(&reply, 503, "unavailable");
        assert!(reply.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "{path}");
    }
    let reply = stack.client().post("/v1/jobs", &json!({ "kind": "probe" })).await?;
    problem(&reply, 503, "unavailable");
    let ready = stack.client().get("/health/ready").await?;
    assert_eq!((ready.status, &ready.json()?["status"]), (503, &json!("unavailable")));
    assert_eq!(stack.client().get("/health/live").await?.status, 200);

    stack.postgres.start_again().await?;
    let path = format!("/v1/jobs/{}", job["id"].as_str().context("no id")?);
    let begun = Instant::now();
    while stack.client().get(&path).await?.status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(30), "the API does not find Postgres again");
    }
    stack.drain().await
}
