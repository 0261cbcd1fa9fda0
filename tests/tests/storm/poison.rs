//! Jobs that take their whole process down, among jobs that do not: each is convicted, and its neighbours never notice.

use std::{collections::HashSet, fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use millrace_harness::{Service, Stack, Until};
use millrace_tests::{Line, Traffic, all_slots_are_free, audit, effect_probe, short_lease, submit_all};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{CALM, mixed};

const SLOTS: usize = 8;
/// What each dies of; all three end in an abort, because Rust makes one of an overflown stack and of memory that is refused.
const DEATHS: [&str; 3] = ["exit", "stack_overflow", "out_of_memory"];
const SIGNAL: &str = "signal 6 (SIGABRT)";
/// What a worker may take beyond what it has when it is ready. Its children inherit the limit.
const MORE_MEMORY_BYTES: u64 = 512 << 20;
const PAGE_BYTES: u64 = 4096;
const MOST_LOSSES: u32 = 3;

/// Limits a worker's address space, so that its memory ends before the machine's.
fn limit_memory(worker: &Service) -> Result<()> {
    let pid = worker.process().pid();
    let pages = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages: u64 = pages.split(' ').next().context("no size in statm")?.parse()?;
    let limit = Some(pages * PAGE_BYTES + MORE_MEMORY_BYTES);
    let pid = Pid::from_raw(i32::try_from(pid)?).context("no pid")?;
    prlimit(Some(pid), Resource::As, Rlimit { current: limit, maximum: limit }).context("prlimit")?;
    Ok(())
}

/// Restarts every worker that has died, as an orchestrator would. Gives how many had.
async fn revive(line: &mut Line) -> Result<usize> {
    let mut deaths = 0;
    for worker in &mut line.stack.workers {
        if worker.process().status().is_some() {
            deaths += 1;
            worker.start_again(Until::Ready).await?;
            limit_memory(worker)?;
        }
    }
    Ok(deaths)
}

/// How often a job was lost until now.
async fn losses(line: &Line, id: &str) -> Result<u32> {
    let meta = line.redis.meta(id).await?;
    let lost = |meta: &str| meta.split(',').nth(1)?.parse().ok();
    Ok(meta.as_deref().and_then(lost).unwrap_or(0))
}

struct Scale {
    workers: usize,
    pills_of_each: usize,
    innocent: usize,
}

async fn storm(scale: Scale) -> Result<()> {
    let builder = short_lease(Stack::builder()).workers(scale.workers);
    let mut line = Line::start(builder.worker_env("MILLRACE_QUEUES", format!("probe={SLOTS}"))).await?;
    line.stack.workers.iter().try_for_each(limit_memory)?;
    let mut ids = submit_all(line.client(), &mixed(scale.innocent, 2_000)).await?;
    let traffic = Traffic::start(line.client(), 1, Duration::from_millis(100), &effect_probe(0));
    let mut pills = HashSet::new();
    let (mut deaths, mut lost) = (0, 0);
    for outcome in DEATHS.repeat(scale.pills_of_each) {
        let pill = json!({ "kind": "probe", "priority": "high", "payload": { "outcome": outcome, "effect": true } });
        let pill = submit_all(line.client(), &[pill]).await?.remove(0);
        let (swallowed, served) = (Instant::now(), line.ledger.count("succeeded").await?);
        while line.job(&pill).await?["state"] != "dead" {
            ensure!(swallowed.elapsed() < CALM, "{outcome} is not convicted: {:#}", line.job(&pill).await?);
            lost = lost.max(losses(&line, &pill).await?);
            deaths += revive(&mut line).await?;
            sleep(Duration::from_millis(50)).await;
        }
        let served = line.ledger.count("succeeded").await? - served;
        println!("{outcome}: convicted after {:.1?}, while {served} others were served", swallowed.elapsed());
        ensure!(served > 0, "nobody was served while {outcome} was about");
        pills.insert(pill);
    }
    revive(&mut line).await?;
    let submitted = traffic.stop().await;
    ensure!(submitted.unanswered.is_empty(), "{:?}", submitted.unanswered);
    ids.extend(submitted.accepted);
    ids.extend(pills.iter().cloned());
    let audit = audit(&line, &ids, CALM).await?;
    println!("{} pills, {deaths} deaths of workers, at most {lost} losses of a pill; {audit}", pills.len());
    ensure!(deaths >= 1 && deaths <= pills.len(), "each pill takes one worker down at most");
    ensure!(lost <= MOST_LOSSES, "a pill was lost {lost} times");
    for job in audit.jobs.values() {
        if pills.contains(&job.id.to_string()) {
            let error = job.error.as_deref().unwrap_or_default();
            ensure!(job.state == "dead" && error.contains(SIGNAL), "not convicted with its signal: {job:?}");
            ensure!(job.failed_attempts == 1, "convicted in one attempt: {job:?}");
        } else {
            ensure!(job.state == "succeeded" && job.attempt == 1 && job.failed_attempts == 0, "innocent: {job:?}");
        }
    }
    all_slots_are_free(&line, SLOTS).await?;
    line.stack.drain().await
}

#[tokio::test]
async fn abort_overflow_and_exhaustion_are_convicted_while_others_are_served_and_lose_no_attempt() -> Result<()> {
    storm(Scale { workers: 2, pills_of_each: 1, innocent: 60 }).await
}

mod long {
    use super::*;

    #[tokio::test]
    #[ignore = "long: a dozen poison pills among two thousand jobs"]
    async fn abort_overflow_and_exhaustion_are_convicted_while_others_are_served_and_lose_no_attempt() -> Result<()> {
        storm(Scale { workers: 3, pills_of_each: 4, innocent: 2_000 }).await
    }
}
