//! A job that takes its whole worker down is convicted, and whatever ran beside it goes free.

use anyhow::{Context, Result};
use millrace_harness::{Stack, Until};
use millrace_tests::{Line, PATIENCE, audit, effect_probe, metric, probe, short_lease, submit, submit_all, until};
use serde_json::json;

#[tokio::test]
async fn poison_pill_is_convicted_and_its_neighbours_lose_no_attempt() -> Result<()> {
    let mut line = Line::start(short_lease(Stack::builder()).worker_env("MILLRACE_QUEUES", "probe=8")).await?;
    let mut ids = submit_all(line.client(), &vec![effect_probe(3000); 7]).await?;
    until("the innocent run", PATIENCE, async || Ok(line.redis.leased().await? == 7)).await?;
    let poison = submit(line.client(), &probe(&json!({ "sleep_ms": 100, "outcome": "exit", "effect": true }))).await?;

    // As an orchestrator would, however often it takes.
    let mut deaths = 0;
    let job = loop {
        let job = line.client().get(&format!("/v1/jobs/{poison}?wait=500ms")).await?.expect(200)?;
        if job["state"] == "dead" {
            break job;
        }
        assert_ne!(job["state"], "succeeded", "{job:#}");
        if line.stack.workers[0].process().status().is_some() {
            deaths += 1;
            assert!(deaths <= 3, "it took more than three workers with it");
            line.stack.workers[0].start_again(Until::Ready).await?;
            // Its workers serve others meanwhile.
            let other = submit(line.client(), &probe(&json!({}))).await?;
            assert_eq!(line.wait_end(&other).await?["state"], "succeeded");
        }
    };
    assert!(deaths >= 1, "the pill was swallowed at least once");
    let error = job["error"]["message"].as_str().context("no error")?;
    assert!(error.contains("signal 6"), "{error}");
    let attempts = job["attempts"].as_array().context("no attempts")?;
    assert_eq!(attempts.len(), 1, "{job:#}");
    assert_eq!(attempts[0]["outcome"], "crashed");
    let dead = line.client().get(&format!("/v1/dead-letters/{poison}")).await?.expect(200)?;
    assert_eq!(dead["reason"], "poison");

    ids.push(poison.clone());
    let audit = audit(&line, &ids, PATIENCE).await?;
    assert_eq!(audit.states["dead"], 1);
    for id in &ids[..7] {
        let innocent = &audit.jobs[&id.parse()?];
        assert_eq!((innocent.state.as_str(), innocent.failed_attempts, innocent.attempt), ("succeeded", 0, 1));
    }
    assert!(line.stack.workers[0].process().status().is_none(), "the convicted job's last death was not the worker's");
    line.stack.drain().await
}

#[tokio::test]
async fn job_lost_with_its_worker_shows_as_running_in_its_first_attempt() -> Result<()> {
    let mut line = Line::start(short_lease(Stack::builder())).await?;
    let id = submit(line.client(), &effect_probe(2500)).await?;
    line.wait_state(&id, "running").await?;
    line.stack.workers[0].kill().await?;
    line.stack.workers[0].start_again(Until::Ready).await?;
    until("it was counted as lost", PATIENCE, async || Ok(line.redis.meta(&id).await?.as_deref() == Some("0,1,0")))
        .await?;
    let running = line.wait_state(&id, "running").await?;
    assert_eq!(running["attempt"], 1);
    let job = line.wait_end(&id).await?;
    assert_eq!(job["state"], "succeeded");
    audit(&line, &[id], PATIENCE).await?.all_succeeded_at_once()?;
    line.stack.drain().await
}

#[tokio::test]
async fn many_jobs_lost_at_once_share_a_few_processes() -> Result<()> {
    const SLOTS: usize = 64;
    let builder = short_lease(Stack::builder()).worker_env("MILLRACE_QUEUES", format!("probe={SLOTS}"));
    let mut line = Line::start(builder).await?;
    let ids = submit_all(line.client(), &vec![effect_probe(800); SLOTS]).await?;
    until("all run", PATIENCE, async || Ok(line.redis.leased().await? == SLOTS)).await?;
    line.stack.workers[0].kill().await?;
    line.stack.workers[0].start_again(Until::Ready).await?;
    audit(&line, &ids, PATIENCE * 2).await?.all_succeeded_at_once()?;
    let worker = line.stack.workers[0].url();
    let runs = metric(&worker, "millrace_isolated_runs_total").await?;
    let processes = metric(&worker, "millrace_isolation_processes_total").await?;
    assert!(runs >= 32.0, "only {runs} were lost");
    assert!((1.0..=8.0).contains(&processes), "{processes} processes for {runs} runs");
    line.stack.drain().await
}
