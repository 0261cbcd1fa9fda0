//! A rolling deploy, again and again: each worker in turn gets SIGTERM and is replaced, while jobs of up to three seconds come in.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use millrace_harness::{Stack, Until};
use millrace_tests::{Line, Noise, Traffic, all_slots_are_free, audit, effect_probe};
use serde_json::Value;

use crate::{CALM, progress};

const WORKERS: usize = 4;
const SLOTS: usize = 32;
/// Below the longest job, so that some are cut off and handed back.
const DRAIN: Duration = Duration::from_secs(2);
const LONGEST_MS: u64 = 3_000;
/// From this length on a probe keeps checkpoints, and ten of them in all.
const SHORTEST_STEPPED_MS: i64 = 1_000;
const STEPS: i64 = 10;

/// How the runs of one job went, by the ledger's clock.
#[derive(Debug, sqlx::FromRow)]
struct Run {
    sleep_ms: i64,
    /// How often it was put off, as happens where Postgres is too busy to take a checkpoint in time: that is no hand-back.
    snoozes: i32,
    /// How much longer than its sleep it took from acceptance to end.
    delay_ms: i64,
    result: Value,
}

impl Run {
    async fn all(line: &Line) -> Result<Vec<Self>> {
        let runs = sqlx::query_as(
            "SELECT snoozes, (payload->>'sleep_ms')::bigint AS sleep_ms, result, \
             (extract(epoch FROM finished_at - created_at) * 1000)::bigint - (payload->>'sleep_ms')::bigint AS delay_ms \
             FROM jobs",
        );
        runs.fetch_all(line.ledger.pool()).await.context("cannot read the ledger")
    }

    /// How many steps each of its runs did.
    fn steps(&self) -> Vec<i64> {
        self.result["steps"].as_array().into_iter().flatten().filter_map(Value::as_i64).collect()
    }
}

/// How often `text` stands in the logs of all workers.
fn logged(line: &Line, text: &str) -> Result<usize> {
    let logs = line.stack.workers.iter().map(|worker| Ok(fs::read_to_string(worker.process().log())?));
    Ok(logs.collect::<Result<Vec<String>>>()?.iter().map(|log| log.matches(text).count()).sum())
}

async fn storm(rounds: usize) -> Result<()> {
    let builder = Stack::builder()
        .workers(WORKERS)
        .worker_env("MILLRACE_DRAIN_TIMEOUT", format!("{}ms", DRAIN.as_millis()))
        .worker_env("MILLRACE_QUEUES", format!("probe={SLOTS}"));
    let mut line = Line::start(builder).await?;
    let traffic =
        Traffic::varied(line.client(), 4, Duration::from_millis(150), |number| effect_probe(number * 611 % LONGEST_MS));
    progress(&line, 10).await?;
    let noise = Noise::watch(&line);
    for _ in 0..rounds {
        for worker in &mut line.stack.workers {
            let status = worker.terminate(CALM).await?;
            ensure!(status.code() == Some(0), "drained with {status}");
            worker.start_again(Until::Ready).await?;
        }
    }
    let submitted = traffic.stop().await;
    let noise = noise.longest().await?;
    ensure!(submitted.unanswered.is_empty(), "{:?}", submitted.unanswered);
    let audit = audit(&line, &submitted.accepted, CALM).await?;
    audit.all_succeeded_at_once()?;

    let runs = Run::all(&line).await?;
    let longest = runs.iter().max_by_key(|run| run.delay_ms).context("no job ran")?;
    let resumed = runs.iter().filter(|run| run.snoozes == 0 && run.steps().len() > 1).count();
    let lost = logged(&line, "was lost with a worker before")?;
    println!(
        "{} drains; {resumed} jobs resumed, {lost} lost, the longest delay {} ms beside noise of {noise:?}; {audit}",
        rounds * WORKERS,
        longest.delay_ms
    );
    ensure!(resumed > 0, "no job was cut off and handed back");
    ensure!(lost == 0, "{lost} jobs counted as lost");
    // A job waits for checkpoint and progress of every step, and each may be held up. What goes wrong waits for a lease: half a minute.
    let bound = DRAIN + noise * u32::try_from(2 * STEPS)?;
    ensure!(u128::try_from(longest.delay_ms)? <= bound.as_millis(), "delayed by a deploy: {longest:?}");
    for run in runs.iter().filter(|run| run.sleep_ms >= SHORTEST_STEPPED_MS) {
        let done: i64 = run.steps().iter().sum();
        // Ten equal steps, and one for what the division leaves.
        ensure!((STEPS..=STEPS + 1).contains(&done), "a step was done twice or never: {run:?}");
    }
    all_slots_are_free(&line, SLOTS).await?;
    line.stack.drain().await
}

#[tokio::test]
async fn deploys_use_up_no_attempt_lose_no_checkpoint_and_delay_no_job_beyond_the_drain() -> Result<()> {
    storm(1).await
}

mod long {
    use super::*;

    #[tokio::test]
    #[ignore = "long: eighty drains"]
    async fn deploys_use_up_no_attempt_lose_no_checkpoint_and_delay_no_job_beyond_the_drain() -> Result<()> {
        storm(20).await
    }
}
