//! Redis is at `maxmemory` and evicts nothing: submissions are accepted, the operator is told, and the line works itself out of it.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use millrace_harness::Stack;
use millrace_tests::{Line, Traffic, all_slots_are_free, audit, effect_probe, metric, probe, submit_all, until};
use serde_json::json;
use tokio::time::Instant;

use crate::CALM;

const SLOTS: usize = 16;
const TOLD: &str = "Redis is out of memory";
const TOLD_AGAIN: &str = "Redis takes jobs again";
/// What the API allows Redis for a submission, and some for a busy machine.
const SLOWEST_ANSWER: Duration = Duration::from_secs(6);

struct Scale {
    /// What Redis may take beyond what it has at the beginning. Its buffers for connections need some hundred kilobytes of it.
    room_bytes: u64,
    backlog: usize,
}

/// How many jobs Redis has room for, about.
async fn limit_memory(line: &Line, room_bytes: u64) -> Result<()> {
    let mut redis = line.redis.connection().await?;
    let info: String = redis::cmd("INFO").arg("memory").query_async(&mut redis).await?;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).context("no used_memory")?;
    let limit = used.trim().parse::<u64>()? + room_bytes;
    Ok(redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(limit).query_async(&mut redis).await?)
}

fn logged(line: &Line, text: &str) -> Result<usize> {
    Ok(fs::read_to_string(line.stack.api.process().log())?.matches(text).count())
}

async fn storm(scale: Scale) -> Result<()> {
    let builder = Stack::builder().workers(2).worker_env("MILLRACE_QUEUES", format!("probe={SLOTS}"));
    let line = Line::start(builder).await?;
    limit_memory(&line, scale.room_bytes).await?;
    let began = Instant::now();
    line.client().post_empty("/v1/queues/probe/pause").await?.expect(200)?;
    let mut ids = submit_all(line.client(), &vec![probe(&json!({})); scale.backlog]).await?;
    let traffic = Traffic::start(line.client(), 2, Duration::from_millis(20), &effect_probe(0));
    let mut ready = line.client().get("/health/ready").await?.expect(200)?;
    until("readiness tells of it", CALM, async || {
        ready = line.client().get("/health/ready").await?.expect(200)?;
        Ok(ready["redis"]["problem"] == "is out of memory")
    })
    .await?;
    let known = line.redis.known().await?;
    ensure!(known < ids.len(), "Redis took all {known} jobs");
    ensure!(ready["status"] == "degraded" && ready["redis"]["ok"] == false, "{ready:#}");
    ensure!(metric(&line.stack.api.url(), "millrace_redis_takes_writes").await? == 0.0);
    let failures = metric(&line.stack.api.url(), "millrace_push_failures_total").await?;
    ensure!(failures > 0.0);
    for worker in line.live_workers() {
        let worker = millrace_harness::Client::anonymous(&worker.url())?;
        until("a worker tells of it and stays ready", CALM, async || {
            Ok(worker.get("/health/ready").await?.expect(200)?["checks"]["redis"] == "is out of memory")
        })
        .await?;
    }

    line.client().post_empty("/v1/queues/probe/resume").await?.expect(200)?;
    line.ledger.wait_count("succeeded", i64::try_from(scale.backlog)? / 2, CALM * 3).await?;
    let submitted = traffic.stop().await;
    ensure!(submitted.refused.is_empty() && submitted.unanswered.is_empty(), "{submitted:?}");
    ensure!(submitted.slowest < SLOWEST_ANSWER, "an answer took {:?}", submitted.slowest);
    ids.extend(submitted.accepted.iter().cloned());
    let audit = audit(&line, &ids, CALM * 3).await?;
    println!("Redis had room for {known} of {} jobs; {failures} pushes failed; {submitted}; {audit}", scale.backlog);
    audit.all_succeeded_at_once()?;
    until("readiness and the log tell that it is over", CALM, async || {
        let ready = line.client().get("/health/ready").await?.expect(200)?;
        Ok(ready["status"] == "ready" && logged(&line, TOLD_AGAIN)? > 0)
    })
    .await?;
    ensure!(metric(&line.stack.api.url(), "millrace_redis_takes_writes").await? == 1.0);
    let told = (logged(&line, TOLD)?, logged(&line, TOLD_AGAIN)?);
    // Over a long time Redis may fill up more than once; each time lasts ten seconds at least.
    let most = 1 + usize::try_from(began.elapsed().as_secs())? / 10;
    ensure!(told.0 == told.1 && told.0 <= most, "told {} times, and {} times that it is over", told.0, told.1);
    all_slots_are_free(&line, SLOTS).await?;
    line.stack.drain().await
}

#[tokio::test]
async fn full_redis_refuses_no_client_and_is_worked_empty() -> Result<()> {
    storm(Scale { room_bytes: 1 << 20, backlog: 5_000 }).await
}

mod long {
    use super::*;

    #[tokio::test]
    #[ignore = "long: sixty thousand jobs where ten megabytes are left"]
    async fn full_redis_refuses_no_client_and_is_worked_empty() -> Result<()> {
        storm(Scale { room_bytes: 10 << 20, backlog: 60_000 }).await
    }
}
