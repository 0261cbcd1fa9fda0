//! How a job can end, as its owner sees it.

use anyhow::{Context, Result};
use millrace_harness::Stack;
use millrace_tests::{Line, PATIENCE, audit, probe, submit, submit_all, until};
use serde_json::{Value, json};

fn outcomes(job: &Value) -> Vec<(i64, &str)> {
    let attempts = job["attempts"].as_array().map(Vec::as_slice).unwrap_or_default();
    attempts.iter().map(|row| (row["attempt"].as_i64().unwrap_or(0), row["outcome"].as_str().unwrap_or(""))).collect()
}

fn text<'a>(value: &'a Value, pointer: &str) -> Result<&'a str> {
    value.pointer(pointer).and_then(Value::as_str).with_context(|| format!("no text at {pointer} of {value:#}"))
}

#[tokio::test]
async fn success_shows_its_result_its_attempt_and_its_times() -> Result<()> {
    let line = Line::start(Stack::builder()).await?;
    let id = submit(line.client(), &probe(&json!({ "sleep_ms": 30, "effect": true, "bytes": 3 }))).await?;
    let job = line.wait_end(&id).await?;
    assert_eq!(text(&job, "/state")?, "succeeded");
    assert_eq!(text(&job, "/result/data")?, "xxx");
    assert_eq!(job["attempt"], 1);
    assert_eq!(outcomes(&job), [(1, "succeeded")]);
    assert!(text(&job, "/attempts/0/worker")?.contains('-'), "it names the worker");
    assert_eq!(job["error"], Value::Null);
    let times: Vec<chrono::DateTime<chrono::Utc>> = ["/created_at", "/started_at", "/finished_at"]
        .iter()
        .map(|pointer| Ok(text(&job, pointer)?.parse()?))
        .collect::<Result<_>>()?;
    assert!(times.is_sorted(), "accepted, begun, ended: {times:?}");
    assert!((times[2] - times[1]).num_milliseconds() >= 30, "it ran as long as it slept: {times:?}");
    audit(&line, &[id], PATIENCE).await?;
    line.stack.drain().await
}

#[tokio::test]
async fn failed_attempt_is_kept_and_the_job_waits_for_the_next_one() -> Result<()> {
    let line = Line::start(Stack::builder()).await?;
    let body = json!({ "kind": "probe", "payload": { "fail_attempts": 2, "effect": true }, "max_attempts": 3 });
    // The wait is drawn from zero to 200 ms: among twenty jobs some wait long enough to be seen.
    let ids = submit_all(line.client(), &vec![body; 20]).await?;
    let mut delayed = None;
    until("a job waits for its next attempt", PATIENCE, async || {
        let seen = line.client().get("/v1/jobs?state=delayed").await?.expect(200)?;
        // Its time may come while the list is made.
        delayed = seen["items"].as_array().into_iter().flatten().find(|job| job["state"] == "delayed").cloned();
        Ok(delayed.is_some())
    })
    .await?;
    let delayed = delayed.context("seen")?;
    assert!(delayed["attempt"].as_i64() >= Some(1), "{delayed:#}");
    assert_eq!(text(&delayed, "/error/class")?, "probe");
    for id in &ids {
        let job = line.wait_end(id).await?;
        assert_eq!(text(&job, "/state")?, "succeeded", "{job:#}");
        assert_eq!(outcomes(&job), [(1, "failed"), (2, "failed"), (3, "succeeded")]);
        assert_eq!(job["attempt"], 3);
        assert_eq!(text(&job, "/attempts/0/error/message")?, "failed as told, attempt 1 of 2");
        assert_eq!(job["error"], Value::Null, "a success has no error");
    }
    audit(&line, &ids, PATIENCE).await?;
    line.stack.drain().await
}

#[tokio::test]
async fn used_up_attempts_make_a_dead_letter_with_all_of_them() -> Result<()> {
    let line = Line::start(Stack::builder()).await?;
    let body = json!({ "kind": "probe", "payload": { "outcome": "retry", "effect": true }, "max_attempts": 3 });
    let id = submit(line.client(), &body).await?;
    let job = line.wait_end(&id).await?;
    assert_eq!(text(&job, "/state")?, "dead");
    assert_eq!(outcomes(&job), [(1, "failed"), (2, "failed"), (3, "failed")]);
    let dead = line.client().get(&format!("/v1/dead-letters/{id}")).await?.expect(200)?;
    assert_eq!(text(&dead, "/reason")?, "attempts_exhausted");
    assert_eq!(outcomes(&dead).len(), 3);
    audit(&line, &[id], PATIENCE).await?;
    line.stack.drain().await
}

#[tokio::test]
async fn failure_for_good_is_dead_at_once() -> Result<()> {
    let line = Line::start(Stack::builder()).await?;
    let id = submit(line.client(), &probe(&json!({ "outcome": "fail", "effect": true }))).await?;
    let job = line.wait_end(&id).await?;
    assert_eq!(text(&job, "/state")?, "dead");
    assert_eq!(outcomes(&job), [(1, "failed")]);
    assert_eq!(text(&job, "/error/message")?, "failed for good as told");
    let dead = line.client().get(&format!("/v1/dead-letters/{id}")).await?.expect(200)?;
    assert_eq!(text(&dead, "/reason")?, "failed");
    audit(&line, &[id], PATIENCE).await?;
    line.stack.drain().await
}

#[tokio::test]
async fn putting_itself_off_uses_no_attempt() -> Result<()> {
    let line = Line::start(Stack::builder()).await?;
    let body =
        json!({ "kind": "probe", "payload": { "snoozes": 4, "snooze_ms": 200, "effect": true }, "max_attempts": 1 });
    let id = submit(line.client(), &body).await?;
    let waiting = line.wait_state(&id, "delayed").await?;
    assert_eq!(waiting["attempt"], 0, "{waiting:#}");
    let job = line.wait_end(&id).await?;
    assert_eq!(text(&job, "/state")?, "succeeded");
    assert_eq!(outcomes(&job), [(1, "succeeded")]);
    audit(&line, &[id], PATIENCE).await?.all_succeeded_at_once()?;
    line.stack.drain().await
}

#[tokio::test]
async fn time_limit_ends_an_attempt_and_blocks_no_other_slot() -> Result<()> {
    let line = Line::start(Stack::builder().worker_env("MILLRACE_QUEUES", "probe=2")).await?;
    let hang = json!({ "kind": "probe", "payload": { "outcome": "hang" }, "timeout_ms": 1500, "max_attempts": 1 });
    let hanging = submit(line.client(), &hang).await?;
    line.wait_state(&hanging, "running").await?;
    let others = submit_all(line.client(), &vec![probe(&json!({ "sleep_ms": 10 })); 20]).await?;
    for id in &others {
        assert_eq!(line.wait_end(id).await?["state"], "succeeded");
    }
    let job = line.job(&hanging).await?;
    assert_eq!(text(&job, "/state")?, "running", "twenty jobs went past it: {job:#}");
    let job = line.wait_end(&hanging).await?;
    assert_eq!(text(&job, "/state")?, "dead");
    assert_eq!(outcomes(&job), [(1, "timed_out")]);
    assert_eq!(text(&job, "/error/class")?, "timeout");
    assert!(line.stack.workers[0].process().status().is_none(), "the worker lives");
    audit(&line, &others, PATIENCE).await?;
    line.stack.drain().await
}

#[tokio::test]
async fn panic_is_an_attempt_and_the_worker_lives() -> Result<()> {
    let line = Line::start(Stack::builder()).await?;
    let body = json!({ "kind": "probe", "payload": { "outcome": "panic" }, "max_attempts": 2 });
    let panicking = submit_all(line.client(), &vec![body; 5]).await?;
    for id in &panicking {
        let job = line.wait_end(id).await?;
        assert_eq!(text(&job, "/state")?, "dead");
        assert_eq!(outcomes(&job), [(1, "panicked"), (2, "panicked")]);
        assert_eq!(text(&job, "/error/message")?, "panicked: panicked as told");
    }
    let after = submit(line.client(), &probe(&json!({}))).await?;
    assert_eq!(line.wait_end(&after).await?["state"], "succeeded");
    assert!(line.stack.workers[0].process().status().is_none(), "the worker lives");
    audit(&line, &panicking, PATIENCE).await?;
    line.stack.drain().await
}
