//! Redis may lag, hang, stop, lose its last second, or everything: no accepted job is lost and no effect is doubled.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use millrace_harness::{Stack, Until};
use millrace_tests::{Line, PATIENCE, Traffic, audit, effect_probe, short_lease, submit, submit_all, until};
use serde_json::{Value, json};
use tokio::time::Instant;

const LONG: Duration = Duration::from_secs(90);
/// What the API allows Redis for one call, and some for a busy machine.
const API_PATIENCE: Duration = Duration::from_secs(6);

async fn wait_degraded(line: &Line) -> Result<()> {
    until("readiness tells that Redis is away", PATIENCE, async || {
        let ready = line.client().get("/health/ready").await?.expect(200)?;
        Ok(ready["status"] == "degraded" && ready["redis"]["ok"] == false && ready["postgres"]["ok"] == true)
    })
    .await
}

async fn wait_ready(line: &Line) -> Result<()> {
    for service in std::iter::once(&line.stack.api).chain(&line.stack.workers) {
        service.wait_ready(PATIENCE).await?;
    }
    Ok(())
}

#[tokio::test]
async fn emptied_redis_is_rebuilt_from_the_ledger_while_work_goes_on() -> Result<()> {
    let builder = short_lease(Stack::builder()).workers(2).worker_env("MILLRACE_QUEUES", "probe=16");
    let line = Line::start(builder).await?;
    let mut bodies: Vec<Value> = (0..600).map(|i| effect_probe(i * 37 % 300)).collect();
    // One of each sort of waiting.
    bodies.push(json!({ "kind": "probe", "payload": { "effect": true }, "delay_ms": 4_000 }));
    bodies.push(json!({ "kind": "probe", "payload": { "effect": true, "snoozes": 3, "snooze_ms": 1_000 } }));
    let mut ids = submit_all(line.client(), &bodies).await?;
    let traffic = Traffic::start(line.client(), 2, Duration::from_millis(20), &effect_probe(50));
    for round in 1..=3 {
        line.ledger.wait_count("succeeded", round * 100, LONG).await?;
        ensure!(line.ledger.count("queued").await? > 0, "it breaks under load");
        line.redis.flush_all().await?;
    }
    let submitted = traffic.stop().await;
    assert!(submitted.refused.is_empty() && submitted.unanswered.is_empty(), "{submitted:?}");
    ids.extend(submitted.accepted);
    audit(&line, &ids, LONG).await?.all_succeeded_at_once()?;
    line.stack.drain().await
}

#[tokio::test]
async fn used_up_attempts_survive_the_loss_of_redis() -> Result<()> {
    let line = Line::start(Stack::builder()).await?;
    let body = json!({ "kind": "probe", "payload": { "outcome": "retry" }, "max_attempts": 6 });
    let ids = submit_all(line.client(), &vec![body; 10]).await?;
    until("all have failed twice", PATIENCE, async || {
        Ok(line.ledger.jobs().await?.iter().all(|job| job.failed_attempts >= 2))
    })
    .await?;
    line.redis.flush_all().await?;
    let audit = audit(&line, &ids, LONG).await?;
    for job in audit.jobs.values() {
        assert_eq!((job.state.as_str(), job.attempt, job.failed_attempts), ("dead", 6, 6), "{job:?}");
    }
    line.stack.drain().await
}

#[tokio::test]
async fn paused_queue_and_its_limits_outlive_the_loss_of_redis() -> Result<()> {
    let line = Line::start(Stack::builder()).await?;
    line.client().post_empty("/v1/queues/probe/pause").await?.expect(200)?;
    let limits = json!({ "concurrency": 3, "org_concurrency": 2, "rate": null, "org_rate": null });
    let put = line.client().request(reqwest::Method::PUT, "/v1/queues/probe/limits").json(&limits);
    line.client().send(put).await?.expect(200)?;
    let ids = submit_all(line.client(), &vec![effect_probe(0); 20]).await?;
    line.redis.flush_all().await?;
    until("the queue is rebuilt", PATIENCE, async || Ok(line.redis.known().await? == 20)).await?;
    let queues = line.client().get("/v1/queues").await?.expect(200)?;
    let queue = queues["items"].as_array().into_iter().flatten().find(|queue| queue["queue"] == "probe");
    let queue = queue.context("no queue of probes")?;
    assert_eq!((&queue["paused"], &queue["limits"]), (&json!(true), &limits));
    let ctl: Vec<Option<String>> = redis::cmd("HMGET")
        .arg("mr:{probe}:ctl")
        .arg(&["paused", "limit", "org_limit"])
        .query_async(&mut line.redis.connection().await?)
        .await?;
    assert_eq!(ctl, [Some("1".into()), Some("3".into()), Some("2".into())], "Redis has what the ledger says");
    assert_eq!(line.ledger.count("queued").await?, 20, "none has run");
    line.client().post_empty("/v1/queues/probe/resume").await?.expect(200)?;
    audit(&line, &ids, PATIENCE).await?.all_succeeded_at_once()?;
    line.stack.drain().await
}

#[tokio::test]
async fn stopped_redis_keeps_nobody_from_submitting_and_everything_runs_after_its_return() -> Result<()> {
    let mut line = Line::start(Stack::builder()).await?;
    let running = submit(line.client(), &effect_probe(2_000)).await?;
    line.wait_state(&running, "running").await?;
    line.stack.redis.stop().await?;
    wait_degraded(&line).await?;
    let worker = millrace_harness::Client::anonymous(&line.stack.workers[0].url())?;
    assert_eq!(worker.get("/health/ready").await?.status, 503, "the worker cannot claim");
    assert_eq!(worker.get("/health/live").await?.status, 200, "but it lives");

    let mut ids = vec![running.clone()];
    for _ in 0..5 {
        let start = Instant::now();
        ids.push(submit(line.client(), &effect_probe(0)).await?);
        assert!(start.elapsed() < API_PATIENCE, "an answer took {:?}", start.elapsed());
    }
    ids.extend(submit_all(line.client(), &vec![effect_probe(0); 200]).await?);
    assert_eq!(line.job(&ids[1]).await?["state"], "queued", "the ledger answers for Redis");
    assert_eq!(line.wait_end(&running).await?["state"], "succeeded", "what runs needs no Redis to end");

    line.stack.redis.start_again().await?;
    wait_ready(&line).await?;
    let audit = audit(&line, &ids, PATIENCE).await?;
    audit.all_succeeded_at_once()?;
    assert_eq!(audit.jobs.len(), 206);
    line.stack.drain().await
}

#[tokio::test]
async fn killed_redis_may_lose_its_last_second_and_nothing_else_is_lost() -> Result<()> {
    let mut line = Line::start(short_lease(Stack::builder()).workers(2)).await?;
    let traffic = Traffic::start(line.client(), 4, Duration::from_millis(10), &effect_probe(60));
    for round in 1..=2 {
        line.ledger.wait_count("succeeded", round * 100, LONG).await?;
        line.stack.redis.kill().await?;
        line.stack.redis.start_again().await?;
    }
    wait_ready(&line).await?;
    let submitted = traffic.stop().await;
    assert!(submitted.refused.is_empty() && submitted.unanswered.is_empty(), "{submitted:?}");
    assert!(submitted.slowest < API_PATIENCE, "an answer took {:?}", submitted.slowest);
    audit(&line, &submitted.accepted, LONG).await?.all_succeeded_at_once()?;
    line.stack.drain().await
}

#[tokio::test]
async fn hung_redis_holds_no_request_longer_than_its_time() -> Result<()> {
    let mut line = Line::start(Stack::builder()).await?;
    let before = submit(line.client(), &effect_probe(0)).await?;
    line.wait_end(&before).await?;
    line.stack.redis.freeze()?;
    let mut ids = vec![before];
    for _ in 0..3 {
        let start = Instant::now();
        let id = submit(line.client(), &effect_probe(0)).await?;
        let accepted = start.elapsed();
        assert_eq!(line.job(&id).await?["state"], "queued");
        assert!(accepted < API_PATIENCE, "accepting took {accepted:?}");
        assert!(start.elapsed() < API_PATIENCE * 2, "accepting and showing took {:?}", start.elapsed());
        ids.push(id);
    }
    wait_degraded(&line).await?;
    line.stack.redis.thaw()?;
    wait_ready(&line).await?;
    audit(&line, &ids, PATIENCE).await?.all_succeeded_at_once()?;
    line.stack.drain().await
}

#[tokio::test]
async fn api_and_worker_start_while_redis_is_away() -> Result<()> {
    let mut line = Line::start(Stack::builder().workers(0)).await?;
    line.stack.redis.stop().await?;
    line.stack.api.kill().await?;
    line.stack.api.start_again(Until::Listening).await?;
    let id = submit(line.client(), &effect_probe(0)).await?;
    line.stack.add_worker_with(&[], Until::Listening).await?;
    line.stack.redis.start_again().await?;
    wait_ready(&line).await?;
    audit(&line, &[id], PATIENCE).await?.all_succeeded_at_once()?;
    line.stack.drain().await
}

#[tokio::test]
async fn worker_drains_in_time_while_redis_is_away() -> Result<()> {
    let mut line = Line::start(short_lease(Stack::builder()).worker_env("MILLRACE_DRAIN_TIMEOUT", "1s")).await?;
    let ids = submit_all(line.client(), &vec![effect_probe(4_000); 8]).await?;
    line.wait_running(8).await?;
    line.stack.redis.stop().await?;
    let start = Instant::now();
    assert_eq!(line.stack.workers[0].terminate(PATIENCE).await?.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    line.stack.redis.start_again().await?;
    line.stack.workers[0].start_again(Until::Ready).await?;
    audit(&line, &ids, LONG).await?.all_succeeded_at_once()?;
    line.stack.drain().await
}
