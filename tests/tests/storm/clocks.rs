//! The wall clocks of the API and of the workers jump by an hour, forwards and back, each by itself and again and again. Due times are
//! Postgres' and Redis' business, so nothing comes early, nothing late, and nothing twice.

#![cfg(target_os = "linux")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use chrono::Utc;
use millrace_harness::{Binaries, RunDir, Stack, Until};
use millrace_tests::{Line, Traffic, all_slots_are_free, audit, effect_probe, submit};
use rand::seq::IndexedRandom as _;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use crate::CALM;

const SLOTS: usize = 16;
const HOUR_SECONDS: i64 = 3_600;
const WORKERS: usize = 2;
/// Far below a jump, and far above what a busy machine adds.
const LATE: Duration = Duration::from_secs(30);
/// A delay is told to Redis in whole milliseconds, and Redis' and Postgres' clocks are read one after the other.
const EARLY: Duration = Duration::from_millis(5);

/// The clock of one process.
struct Clock(PathBuf);

impl Clock {
    fn new(dir: &Path, name: &str) -> Result<Self> {
        let clock = Self(dir.join(name));
        clock.shift(0)?;
        Ok(clock)
    }

    /// Sets how far it is off. The file is written in place, because processes have it mapped.
    fn shift(&self, seconds: i64) -> Result<()> {
        let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&self.0)?;
        std::os::unix::fs::FileExt::write_all_at(&file, &seconds.to_ne_bytes(), 0)?;
        Ok(())
    }

    fn path(&self) -> Result<&str> {
        self.0.to_str().context("a path that is not UTF-8")
    }
}

/// Jobs that wait in every way there is.
fn waiting(number: u64) -> Value {
    let delay_ms = 500 + number * 611 % 4_000;
    let payload = json!({ "effect": true, "sleep_ms": number % 50 });
    match number % 4 {
        0 => json!({ "kind": "probe", "payload": payload, "delay_ms": delay_ms }),
        1 => {
            let due = Utc::now() + Duration::from_millis(delay_ms);
            json!({ "kind": "probe", "payload": payload, "run_at": due.to_rfc3339() })
        }
        2 => json!({ "kind": "probe", "payload": { "effect": true, "fail_attempts": 2 } }),
        _ => json!({ "kind": "probe", "payload": { "effect": true, "snoozes": 2, "snooze_ms": 1_000 } }),
    }
}

/// By how much the worst jobs began before they were due and after it, in milliseconds of Postgres' clock: those that came in with a time,
/// and each next attempt against the end of the last one.
async fn worst(line: &Line) -> Result<(i64, i64)> {
    let sql = "WITH waits AS ( \
                 SELECT started_at - run_at AS late FROM jobs \
                 WHERE payload->>'fail_attempts' IS NULL AND payload->>'snoozes' IS NULL \
                 UNION ALL SELECT started_at - lag(ended_at, 1, started_at) OVER (PARTITION BY job_id ORDER BY attempt) FROM ( \
                   SELECT job_id, attempt, started_at, ended_at FROM job_attempts \
                   UNION ALL SELECT id, attempt, started_at, finished_at FROM jobs WHERE attempt > 1) AS attempts) \
               SELECT (extract(epoch FROM -min(late)) * 1000)::bigint, (extract(epoch FROM max(late)) * 1000)::bigint \
               FROM waits";
    sqlx::query_as(sql).fetch_one(line.ledger.pool()).await.context("cannot read the ledger")
}

async fn storm(jumps: usize, every: Duration) -> Result<()> {
    let dir = RunDir::create()?;
    let library = Binaries::for_tests().await?.clock_shift().await?;
    let library = library.to_str().context("a path that is not UTF-8")?;
    let clocks = ["api", "worker-0", "worker-1"].map(|name| Clock::new(dir.path(), name));
    let clocks = clocks.into_iter().collect::<Result<Vec<_>>>()?;
    let builder = Stack::builder().workers(0).worker_env("MILLRACE_QUEUES", format!("probe={SLOTS}"));
    let builder = builder.api_env("LD_PRELOAD", library).api_env("MILLRACE_TEST_CLOCK_SHIFT", clocks[0].path()?);
    let mut line = Line::start(builder).await?;
    for clock in &clocks[1..=WORKERS] {
        let variables = [("LD_PRELOAD", library), ("MILLRACE_TEST_CLOCK_SHIFT", clock.path()?)];
        line.stack.add_worker_with(&variables, Until::Ready).await?;
    }

    let traffic = Traffic::varied(line.client(), 4, Duration::from_millis(40), waiting);
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..jumps {
        ticks.tick().await;
        let clock = clocks.choose(&mut rand::rng()).context("no clock")?;
        clock.shift(*[-HOUR_SECONDS, 0, HOUR_SECONDS].choose(&mut rand::rng()).context("no shift")?)?;
    }
    let submitted = traffic.stop().await;
    ensure!(submitted.unanswered.is_empty(), "{:?}", submitted.unanswered);
    let audit = audit(&line, &submitted.accepted, CALM).await?;
    let (early_ms, late_ms) = worst(&line).await?;
    println!(
        "{jumps} jumps of three clocks; the earliest job {early_ms} ms before its time, the latest {late_ms} ms after; {audit}"
    );
    ensure!(audit.states["succeeded"] == audit.jobs.len(), "{:?}", audit.states);
    ensure!(u128::try_from(early_ms).unwrap_or(0) <= EARLY.as_millis(), "{early_ms} ms early");
    ensure!(u128::try_from(late_ms)? <= LATE.as_millis(), "{late_ms} ms late");
    for job in audit.jobs.values() {
        ensure!(job.attempt == 1 || job.attempt == 3, "an attempt was used up or left out: {job:?}");
    }

    // That the library works at all: the log's clock is the process's.
    clocks[1].shift(HOUR_SECONDS)?;
    let id = submit(line.client(), &effect_probe(0)).await?;
    line.wait_end(&id).await?;
    all_slots_are_free(&line, SLOTS).await?;
    line.stack.drain().await?;
    let log = line.stack.workers[0].process().log_tail(1);
    let logged: chrono::DateTime<Utc> =
        log.split(' ').next().unwrap_or_default().parse().context("no time in the log")?;
    let off = (logged - Utc::now()).num_seconds();
    ensure!((HOUR_SECONDS - 60..=HOUR_SECONDS).contains(&off), "the worker's clock is off by {off} s: {log}");
    Ok(())
}

#[tokio::test]
async fn jumping_clocks_make_nothing_early_late_or_double() -> Result<()> {
    storm(20, Duration::from_millis(250)).await
}

mod long {
    use super::*;

    #[tokio::test]
    #[ignore = "long: clocks that jump for a minute"]
    async fn jumping_clocks_make_nothing_early_late_or_double() -> Result<()> {
        storm(200, Duration::from_millis(300)).await
    }
}
