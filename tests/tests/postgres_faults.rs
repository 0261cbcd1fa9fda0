//! Without Postgres nothing is accepted and nothing is claimed; what was accepted is done after its return, once.

use std::time::Duration;

use anyhow::{Context as _, Result};
use millrace_harness::{PostgresOptions, Stack};
use millrace_tests::{Line, PATIENCE, Traffic, audit, effect_probe, probe, short_lease, submit, submit_all, until};
use serde_json::json;
use tokio::time::Instant;

const LONG: Duration = Duration::from_secs(90);

fn own_postgres() -> millrace_harness::StackBuilder {
    Stack::builder().own_postgres(PostgresOptions::default())
}

async fn wait_ready(line: &Line) -> Result<()> {
    for service in std::iter::once(&line.stack.api).chain(&line.stack.workers) {
        service.wait_ready(PATIENCE).await?;
    }
    Ok(())
}

#[tokio::test]
async fn stopped_postgres_is_told_as_503_and_costs_no_job_and_no_attempt() -> Result<()> {
    let mut line = Line::start(own_postgres().workers(2)).await?;
    let ids = submit_all(line.client(), &(0..60).map(|i| effect_probe(i * 97 % 2000)).collect::<Vec<_>>()).await?;
    line.ledger.wait_count("succeeded", 10, LONG).await?;
    line.stack.postgres.stop().await?;

    let start = Instant::now();
    let refused = line.client().post("/v1/jobs", &probe(&json!({}))).await?;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.header("retry-after").context("no Retry-After")?.parse::<u32>()? > 0);
    assert_eq!(refused.json()?["code"], "unavailable");
    assert!(start.elapsed() < Duration::from_secs(10), "told in {:?}", start.elapsed());
    let ready = line.client().get("/health/ready").await?.expect(503)?;
    assert_eq!((&ready["status"], &ready["postgres"]["ok"]), (&json!("unavailable"), &json!(false)));
    assert_eq!(line.client().get("/health/live").await?.status, 200);
    // Long enough for every running job to reach its end and wait for Postgres with it.
    until("what runs has ended, or keeps its lease", PATIENCE, async || Ok(start.elapsed().as_secs() >= 6)).await?;
    for worker in &line.stack.workers {
        assert!(worker.process().status().is_none(), "the workers live{}", worker.process().log_excerpt());
    }

    line.stack.postgres.start_again().await?;
    wait_ready(&line).await?;
    let audit = audit(&line, &ids, LONG).await?;
    assert_eq!(audit.jobs.len(), 60);
    audit.all_succeeded_at_once()?;
    line.stack.drain().await
}

#[tokio::test]
async fn every_answer_of_202_before_and_between_crashes_of_postgres_is_kept() -> Result<()> {
    let mut line = Line::start(own_postgres().workers(2)).await?;
    let traffic = Traffic::start(line.client(), 4, Duration::from_millis(10), &effect_probe(80));
    for round in 1..=2 {
        line.ledger.wait_count("succeeded", round * 80, LONG).await?;
        line.stack.postgres.kill().await?;
        line.stack.postgres.start_again().await?;
        wait_ready(&line).await?;
    }
    line.ledger.wait_count("succeeded", 240, LONG).await?;
    let submitted = traffic.stop().await;
    assert!(submitted.unanswered.is_empty(), "{:?}", submitted.unanswered);
    for (status, retry_after) in &submitted.refused {
        assert_eq!(*status, 503, "no other error for a server that is away");
        assert!(retry_after.is_some());
    }
    audit(&line, &submitted.accepted, LONG).await?.all_succeeded_at_once()?;
    line.stack.drain().await
}

#[tokio::test]
async fn worker_drains_in_time_while_postgres_is_away() -> Result<()> {
    let mut line = Line::start(own_postgres().worker_env("MILLRACE_DRAIN_TIMEOUT", "1s")).await?;
    let ids = submit_all(line.client(), &vec![effect_probe(500); 8]).await?;
    line.wait_running(8).await?;
    line.stack.postgres.stop().await?;
    let start = Instant::now();
    assert_eq!(line.stack.workers[0].terminate(PATIENCE).await?.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(line.redis.leased().await?, 0, "handed back and not left to their leases");
    line.stack.postgres.start_again().await?;
    line.stack.workers[0].start_again(millrace_harness::Until::Ready).await?;
    wait_ready(&line).await?;
    audit(&line, &ids, LONG).await?.all_succeeded_at_once()?;
    line.stack.drain().await
}

#[tokio::test]
async fn worker_claims_nothing_while_postgres_is_away() -> Result<()> {
    let mut line = Line::start(short_lease(own_postgres())).await?;
    line.client().post_empty("/v1/queues/probe/pause").await?.expect(200)?;
    let ids = submit_all(line.client(), &vec![effect_probe(0); 40]).await?;
    line.stack.postgres.stop().await?;
    // As if the queue had been resumed while Postgres went away: all jobs are there to be claimed.
    let mut redis = line.redis.connection().await?;
    let _: i64 = redis::cmd("HDEL").arg("mr:{probe}:ctl").arg("paused").query_async(&mut redis).await?;
    let _: i64 = redis::cmd("PUBLISH").arg("mr:{probe}:wake").arg("w").query_async(&mut redis).await?;
    let log = || line.stack.workers[0].process().log_tail(200);
    until("the worker has noticed", PATIENCE, async || Ok(log().contains("not claiming"))).await?;
    let start = Instant::now();
    let mut claimed = 0;
    until("some seconds pass", PATIENCE, async || {
        claimed = claimed.max(line.redis.leased().await?);
        Ok(start.elapsed().as_secs() >= 8)
    })
    .await?;
    let metas: Vec<String> = redis::cmd("HVALS").arg("mr:{probe}:meta").query_async(&mut redis).await?;
    assert!(metas.is_empty(), "no job was lost by a worker that held it in vain: {metas:?}");
    line.stack.postgres.start_again().await?;
    line.client().post_empty("/v1/queues/probe/resume").await?.expect(200)?;
    audit(&line, &ids, LONG).await?.all_succeeded_at_once()?;
    assert_eq!(claimed, 0, "while Postgres was away");
    line.stack.drain().await
}

#[tokio::test]
async fn api_and_worker_start_while_postgres_is_away() -> Result<()> {
    let mut line = Line::start(short_lease(own_postgres())).await?;
    let id = submit(line.client(), &json!({ "kind": "probe", "payload": { "effect": true }, "delay_ms": 500 })).await?;
    line.stack.postgres.stop().await?;
    line.stack.api.kill().await?;
    line.stack.api.start_again(millrace_harness::Until::Listening).await?;
    line.stack.workers[0].kill().await?;
    line.stack.workers[0].start_again(millrace_harness::Until::Listening).await?;
    assert_eq!(line.client().get(&format!("/v1/jobs/{id}")).await?.status, 503);
    line.stack.postgres.start_again().await?;
    wait_ready(&line).await?;
    audit(&line, &[id], LONG).await?.all_succeeded_at_once()?;
    line.stack.drain().await
}
