//! Cancelling a job in each of its states.

use std::time::Duration;

use anyhow::Result;
use millrace_harness::Stack;
use millrace_tests::{Line, PATIENCE, audit, probe, submit, until};
use serde_json::{Value, json};
use tokio::time::Instant;

async fn cancel(line: &Line, id: &str) -> Result<Value> {
    line.client().post_empty(&format!("/v1/jobs/{id}/cancel")).await?.expect(200)
}

#[tokio::test]
async fn queued_job_that_is_cancelled_never_runs() -> Result<()> {
    let line = Line::start(Stack::builder()).await?;
    line.client().post_empty("/v1/queues/probe/pause").await?.expect(200)?;
    let id = submit(line.client(), &probe(&json!({ "effect": true }))).await?;
    let after = submit(line.client(), &probe(&json!({ "effect": true }))).await?;
    assert_eq!(line.job(&id).await?["state"], "queued");
    let job = cancel(&line, &id).await?;
    assert_eq!(job["state"], "cancelled");
    assert!(job["finished_at"].is_string());
    line.client().post_empty("/v1/queues/probe/resume").await?.expect(200)?;
    // It stood before this one in the same lane.
    assert_eq!(line.wait_end(&after).await?["state"], "succeeded");
    let audit = audit(&line, &[id.clone(), after], PATIENCE).await?;
    assert_eq!(audit.states["cancelled"], 1);
    assert_eq!(line.job(&id).await?["attempts"], json!([]));
    line.stack.drain().await
}

#[tokio::test]
async fn delayed_job_that_is_cancelled_never_runs() -> Result<()> {
    let line = Line::start(Stack::builder()).await?;
    let id = submit(line.client(), &json!({ "kind": "probe", "payload": { "effect": true }, "delay_ms": 700 })).await?;
    let after =
        submit(line.client(), &json!({ "kind": "probe", "payload": { "effect": true }, "delay_ms": 900 })).await?;
    assert_eq!(line.job(&id).await?["state"], "delayed");
    assert_eq!(cancel(&line, &id).await?["state"], "cancelled");
    assert_eq!(line.wait_end(&after).await?["state"], "succeeded", "the time of both has come");
    let audit = audit(&line, &[id, after], PATIENCE).await?;
    assert_eq!(audit.states["cancelled"], 1);
    line.stack.drain().await
}

#[tokio::test]
async fn running_job_that_is_cancelled_stops_within_a_second_and_frees_its_slot() -> Result<()> {
    let line = Line::start(Stack::builder().worker_env("MILLRACE_QUEUES", "probe=1")).await?;
    let id = submit(line.client(), &probe(&json!({ "outcome": "hang", "effect": true }))).await?;
    let running = line.wait_state(&id, "running").await?;
    assert_eq!(running["attempt"], 1);
    let next = submit(line.client(), &probe(&json!({ "effect": true }))).await?;
    let start = Instant::now();
    assert_eq!(cancel(&line, &id).await?["state"], "cancelled");
    assert_eq!(line.wait_end(&next).await?["state"], "succeeded", "the only slot is free again");
    let took = start.elapsed();
    assert!(took < Duration::from_secs(3), "one second, and some for a busy machine: {took:?}");
    assert_eq!(line.job(&id).await?["state"], "cancelled");
    let audit = audit(&line, &[id.clone(), next], PATIENCE).await?;
    assert_eq!(audit.states["cancelled"], 1);
    assert_eq!(line.job(&id).await?["attempts"], json!([]), "being cancelled is no failure");
    line.stack.drain().await
}

#[tokio::test]
async fn cancelling_twice_is_fine_and_cancelling_what_has_ended_is_a_conflict() -> Result<()> {
    let line = Line::start(Stack::builder()).await?;
    let waiting = submit(line.client(), &json!({ "kind": "probe", "delay_ms": 60_000 })).await?;
    assert_eq!(cancel(&line, &waiting).await?["state"], "cancelled");
    assert_eq!(cancel(&line, &waiting).await?["state"], "cancelled");
    for (outcome, state) in [("succeed", "succeeded"), ("fail", "dead")] {
        let id = submit(line.client(), &probe(&json!({ "outcome": outcome }))).await?;
        assert_eq!(line.wait_end(&id).await?["state"], state);
        let refused = line.client().post_empty(&format!("/v1/jobs/{id}/cancel")).await?.expect(409)?;
        assert_eq!(refused["code"], "job_ended");
        assert_eq!(line.job(&id).await?["state"], state);
    }
    audit(&line, &[waiting], PATIENCE).await?;
    line.stack.drain().await
}

#[tokio::test]
async fn job_cancelled_while_it_waits_for_its_next_attempt_gets_none() -> Result<()> {
    let line = Line::start(Stack::builder()).await?;
    let body = json!({ "kind": "probe", "payload": { "snoozes": 1, "snooze_ms": 600, "effect": true } });
    let id = submit(line.client(), &body).await?;
    line.wait_state(&id, "delayed").await?;
    cancel(&line, &id).await?;
    until("Redis has forgotten it", PATIENCE, async || Ok(line.redis.known().await? == 0)).await?;
    let audit = audit(&line, &[id], PATIENCE).await?;
    assert_eq!(audit.states["cancelled"], 1);
    line.stack.drain().await
}
