//! When jobs run: delays, priorities, uniqueness, long polls; and what is kept of their progress.

use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use millrace_harness::{Signal, Stack, Until};
use millrace_tests::{Line, PATIENCE, audit, probe, submit, submit_all};
use serde_json::{Value, json};
use tokio::time::Instant;

fn time(job: &Value, field: &str) -> Result<DateTime<Utc>> {
    job[field].as_str().with_context(|| format!("no {field} in {job:#}"))?.parse().context("no time")
}

#[tokio::test]
async fn delayed_job_waits_for_its_time_and_then_runs_at_once() -> Result<()> {
    let line = Line::start(Stack::builder()).await?;
    let after = json!({ "kind": "probe", "delay_ms": 1200 });
    let at = json!({ "kind": "probe", "run_at": (Utc::now() + Duration::from_millis(1200)).to_rfc3339() });
    let ids = [submit(line.client(), &after).await?, submit(line.client(), &at).await?];
    for id in &ids {
        assert_eq!(line.job(id).await?["state"], "delayed");
    }
    for id in &ids {
        let job = line.wait_end(id).await?;
        assert_eq!(job["state"], "succeeded");
        let (due, started) = (time(&job, "run_at")?, time(&job, "started_at")?);
        // `started_at` is told by Postgres, the due time is kept by Redis, in whole milliseconds.
        assert!(started >= due - Duration::from_millis(20), "not before its time: due {due}, started {started}");
        let late = started - due;
        assert!(late.num_milliseconds() < 3_000, "woken by its time and not by the fallback: {late} late");
    }
    audit(&line, &ids, PATIENCE).await?.all_succeeded_at_once()?;
    line.stack.drain().await
}

#[tokio::test]
async fn urgent_jobs_go_first_and_low_ones_are_not_starved() -> Result<()> {
    let line = Line::start(Stack::builder().workers(0).worker_env("MILLRACE_QUEUES", "probe=1")).await?;
    let mut ids = Vec::new();
    for priority in ["low", "normal", "high", "critical"] {
        // Long enough for each end to be written by itself: ends that are written together have one time.
        let body = json!({ "kind": "probe", "priority": priority, "payload": { "sleep_ms": 10 } });
        ids.extend(submit_all(line.client(), &vec![body; 40]).await?);
    }
    let mut line = line;
    line.stack.add_worker().await?;
    audit(&line, &ids, PATIENCE).await?.all_succeeded_at_once()?;
    // One slot, so that the ends are in the order of the claims.
    let order: Vec<i16> =
        sqlx::query_scalar("SELECT priority FROM jobs ORDER BY finished_at").fetch_all(line.ledger.pool()).await?;
    let mean = |level: i16| {
        let places: Vec<usize> = order.iter().enumerate().filter(|(_, own)| **own == level).map(|(i, _)| i).collect();
        places.iter().sum::<usize>() as f64 / places.len() as f64
    };
    let means = [0, 1, 2, 3].map(mean);
    assert!(means.is_sorted(), "critical, high, normal, low by mean place: {means:?}");
    let first_low = order.iter().position(|level| *level == 3).context("a low job ran")?;
    assert!(first_low < 40, "a low job ran while critical ones waited, at place {first_low}");
    line.stack.drain().await
}

#[tokio::test]
async fn unique_key_keeps_the_job_that_is_there_and_is_free_again_after_its_end() -> Result<()> {
    let line = Line::start(Stack::builder()).await?;
    let body = |sleep_ms: u64| json!({ "kind": "probe", "payload": { "sleep_ms": sleep_ms, "effect": true }, "unique_key": "one" });
    let first = submit(line.client(), &body(400)).await?;
    let clients = (0..8).map(|_| {
        let client = line.client().clone();
        tokio::spawn(async move { submit(&client, &body(0)).await })
    });
    for client in clients.collect::<Vec<_>>() {
        assert_eq!(client.await??, first, "the waiting or running job stands for it");
    }
    let other = line.stack.client_of_other_org().await?;
    let theirs = submit(&other, &body(0)).await?;
    assert_ne!(theirs, first, "another organisation's key is another key");
    assert_eq!(line.wait_end(&first).await?["state"], "succeeded");
    let second = submit(line.client(), &body(0)).await?;
    assert_ne!(second, first);
    let audit = audit(&line, &[first, second, theirs], PATIENCE).await?;
    audit.all_succeeded_at_once()?;
    assert_eq!(audit.jobs.len(), 3);
    line.stack.drain().await
}

#[tokio::test]
async fn long_poll_answers_at_the_end_of_the_job_and_at_its_own() -> Result<()> {
    let line = Line::start(Stack::builder()).await?;
    let id = submit(line.client(), &probe(&json!({ "sleep_ms": 700 }))).await?;
    let short = line.client().get(&format!("/v1/jobs/{id}?wait=100ms")).await?.expect(200)?;
    assert!(["queued", "running"].contains(&short["state"].as_str().unwrap_or("")), "{short:#}");
    let start = Instant::now();
    let job = line.client().get(&format!("/v1/jobs/{id}?wait=30s")).await?.expect(200)?;
    assert_eq!(job["state"], "succeeded");
    assert!(start.elapsed() < Duration::from_secs(15), "it does not wait for its own end");
    line.stack.drain().await
}

#[tokio::test]
async fn progress_shows_and_a_checkpoint_survives_a_hand_back() -> Result<()> {
    let mut line = Line::start(Stack::builder()).await?;
    let id = submit(line.client(), &probe(&json!({ "sleep_ms": 5000, "effect": true }))).await?;
    let mut percent = 0;
    millrace_tests::until("its progress shows", PATIENCE, async || {
        let job = line.job(&id).await?;
        percent = job["progress"]["percent"].as_i64().unwrap_or(0);
        Ok(percent >= 20)
    })
    .await?;
    assert!(percent < 100, "seen on its way");
    // Two signals: hand back at once.
    let worker = line.stack.workers[0].process();
    worker.signal(Signal::TERM)?;
    millrace_tests::until("the drain has begun", PATIENCE, async || Ok(worker.log_tail(50).contains("draining")))
        .await?;
    worker.signal(Signal::TERM)?;
    assert!(worker.wait_within(PATIENCE).await?.success());
    let waiting = line.job(&id).await?;
    assert_eq!(waiting["state"], "queued", "handed back and not yet taken: {waiting:#}");
    line.stack.workers[0].start_again(Until::Ready).await?;
    let job = line.wait_end(&id).await?;
    assert_eq!((&job["state"], &job["attempt"]), (&json!("succeeded"), &json!(1)));
    assert!(job["result"]["resumed_at_ms"].as_i64() >= Some(1000), "{job:#}");
    audit(&line, &[id], PATIENCE).await?.all_succeeded_at_once()?;
    line.stack.drain().await
}
