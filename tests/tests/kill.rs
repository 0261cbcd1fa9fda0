//! kill -9: what ran in a worker runs again elsewhere, and counts once.

use std::time::Duration;

use anyhow::Result;
use millrace_harness::{Stack, Until};
use millrace_tests::{Line, Traffic, audit, effect_probe, short_lease, submit_all};
use serde_json::Value;

const SLOTS: &str = "probe=16";
const LONG: Duration = Duration::from_secs(90);

/// Probes of 0 to 300 ms.
fn mixed(count: u64) -> Vec<Value> {
    (0..count).map(|i| effect_probe(i * 37 % 300)).collect()
}

#[tokio::test]
async fn killed_worker_loses_no_job_and_doubles_no_effect() -> Result<()> {
    let builder = short_lease(Stack::builder()).workers(2).worker_env("MILLRACE_QUEUES", SLOTS);
    let line = Line::start(builder).await?;
    let ids = submit_all(line.client(), &mixed(400)).await?;
    line.ledger.wait_count("succeeded", 60, LONG).await?;
    line.stack.workers[0].kill().await?;
    let audit = audit(&line, &ids, LONG).await?;
    assert_eq!(audit.jobs.len(), 400);
    audit.all_succeeded_at_once()?;
    line.stack.drain().await
}

#[tokio::test]
async fn workers_killed_again_and_again_get_everything_done_in_the_end() -> Result<()> {
    let builder = short_lease(Stack::builder()).workers(2).worker_env("MILLRACE_QUEUES", SLOTS);
    let mut line = Line::start(builder).await?;
    let traffic = Traffic::start(line.client(), 4, Duration::from_millis(25), &effect_probe(100));
    let mut done = 0;
    for round in 0..5 {
        // Progress between the kills, or it would be no load.
        done += 40;
        line.ledger.wait_count("succeeded", done, LONG).await?;
        let worker = &mut line.stack.workers[round % 2];
        worker.kill().await?;
        worker.start_again(Until::Ready).await?;
    }
    let submitted = traffic.stop().await;
    assert!(submitted.refused.is_empty() && submitted.unanswered.is_empty(), "workers are not the API: {submitted:?}");
    let audit = audit(&line, &submitted.accepted, LONG).await?;
    assert_eq!(audit.jobs.len(), submitted.accepted.len());
    audit.all_succeeded_at_once()?;
    line.stack.drain().await
}

#[tokio::test]
#[ignore = "long: forty kills of three workers"]
async fn workers_killed_for_minutes_get_everything_done_in_the_end() -> Result<()> {
    let builder = short_lease(Stack::builder()).workers(3).worker_env("MILLRACE_QUEUES", SLOTS);
    let mut line = Line::start(builder).await?;
    let traffic = Traffic::start(line.client(), 8, Duration::from_millis(20), &effect_probe(150));
    let mut done = 0;
    for round in 0..40 {
        done += 60;
        line.ledger.wait_count("succeeded", done, LONG).await?;
        let worker = &mut line.stack.workers[round % 3];
        worker.kill().await?;
        worker.start_again(Until::Ready).await?;
    }
    let submitted = traffic.stop().await;
    let audit = audit(&line, &submitted.accepted, LONG * 3).await?;
    audit.all_succeeded_at_once()?;
    line.stack.drain().await
}

#[tokio::test]
async fn killed_api_has_kept_every_job_that_it_accepted() -> Result<()> {
    let mut line = Line::start(Stack::builder()).await?;
    let traffic = Traffic::start(line.client(), 4, Duration::from_millis(5), &effect_probe(0));
    line.ledger.wait_count("succeeded", 50, LONG).await?;
    line.stack.api.kill().await?;
    line.stack.api.start_again(Until::Ready).await?;
    let before = line.ledger.count("succeeded").await?;
    line.ledger.wait_count("succeeded", before + 50, LONG).await?;
    let submitted = traffic.stop().await;
    assert!(submitted.refused.is_empty(), "{:?}", submitted.refused);
    audit(&line, &submitted.accepted, LONG).await?.all_succeeded_at_once()?;
    line.stack.drain().await
}
