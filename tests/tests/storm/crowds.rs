//! Tens of thousands of jobs come due at the same moment: no script holds Redis up, and jobs go on ending all the while.
//!
//! A script's time is told by Redis' own slow log. A busy machine interrupts Redis too, and then the log blames whatever was on. So a script
//! of a fixed amount of work runs among the others: how often and how long that one is held up is what the machine does to all of them.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chrono::{DateTime, Utc};
use millrace_harness::{RedisOptions, Stack};
use millrace_tests::{Line, all_slots_are_free, audit, submit_all, until};
use serde_json::{Value, json};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::CALM;

const SLOTS: usize = 32;
/// The most that one script may take.
const SLOW: Duration = Duration::from_millis(5);
/// From where on the slow log tells.
const LOGGED: Duration = Duration::from_millis(1);
/// A tenth to a fifth of a millisecond of work, as much as a claim.
const FIXED_WORK: &str = "local sum = 0 for i = 1, 10000 do sum = sum + i end return sum";
/// How long nothing may end, on a machine with other things to do; a stalled queue would stand still for good.
const STALL: Duration = Duration::from_secs(20);
/// How far ahead the jobs are due for each of them: time enough to submit them all.
const AHEAD: Duration = Duration::from_micros(1_200);

/// Runs the fixed work again and again until it is stopped.
struct Bystander {
    stop: CancellationToken,
    running: JoinHandle<Result<()>>,
}

impl Bystander {
    fn watch(line: &Line) -> Self {
        let stop = CancellationToken::new();
        let (redis, stopped) = (line.redis.clone(), stop.clone());
        let running = tokio::spawn(async move {
            let mut redis = redis.connection().await?;
            while !stopped.is_cancelled() {
                redis::cmd("EVAL").arg(FIXED_WORK).arg(0).query_async::<i64>(&mut redis).await?;
                sleep(Duration::from_millis(2)).await;
            }
            Ok(())
        });
        Self { stop, running }
    }

    async fn stop(self) -> Result<()> {
        self.stop.cancel();
        self.running.await.context("the bystander panicked")?
    }
}

/// What Redis tells of all calls of one command.
#[derive(Debug)]
struct Calls {
    calls: u32,
    average: Duration,
    /// The times of those that took longer than a script may.
    slow: Vec<Duration>,
    /// At least as long as the longest.
    longest: Duration,
}

impl Calls {
    /// `command` in lower case; scripts of ours are called by their hash, the bystander's by its text.
    async fn of(line: &Line, command: &str) -> Result<Self> {
        let mut redis = line.redis.connection().await?;
        let info: String = redis::cmd("INFO").arg("commandstats").query_async(&mut redis).await?;
        let stats = info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:")));
        let number = |name: &str| -> Result<u32> {
            let field = stats.and_then(|stats| stats.split(',').find_map(|field| field.strip_prefix(name)));
            Ok(field.with_context(|| format!("no {name} of {command}"))?.parse()?)
        };
        let (calls, micros) = (number("calls=")?, number("usec=")?);
        let entries: Vec<redis::Value> = redis::cmd("SLOWLOG").arg("GET").arg(-1).query_async(&mut redis).await?;
        let mut times = Vec::new();
        for entry in entries {
            let redis::Value::Array(mut fields) = entry else { continue };
            fields.truncate(4);
            let (_, _, micros, words): (i64, i64, u64, Vec<Vec<u8>>) =
                redis::from_redis_value(redis::Value::Array(fields))?;
            if words.first().is_some_and(|word| word.eq_ignore_ascii_case(command.as_bytes())) {
                times.push(Duration::from_micros(micros));
            }
        }
        Ok(Self {
            calls,
            average: Duration::from_micros(u64::from(micros / calls.max(1))),
            longest: times.iter().max().copied().unwrap_or(LOGGED),
            slow: times.into_iter().filter(|time| *time > SLOW).collect(),
        })
    }

    /// Fails if these calls were slow more often, or for longer, than the machine can be blamed for by what it did to the bystander's: by an
    /// order of magnitude, because scripts come in bursts, and a busy process is interrupted more readily than one that is mostly idle. On a
    /// quiet machine that is next to nothing, and a script with unbounded work takes hundreds of times its share on any.
    fn hold_nobody_up(&self, bystander: &Self) -> Result<()> {
        let weight = self.average.as_secs_f64() / bystander.average.as_secs_f64();
        ensure!(weight < 10.0, "the average script took {:?}, the fixed work {:?}", self.average, bystander.average);
        let interrupted = bystander.slow.len() as f64 / f64::from(bystander.calls);
        let expected = f64::from(self.calls) * weight * interrupted;
        ensure!(
            self.slow.len() as f64 <= 10.0 * expected + 3.0,
            "{} scripts took longer than {SLOW:?}; the machine accounts for {expected:.1}",
            self.slow.len()
        );
        let bound = SLOW + bystander.longest * 4;
        ensure!(self.longest <= bound, "a script took {:?}; the machine accounts for {bound:?}", self.longest);
        Ok(())
    }
}

/// Lets the line work until `jobs` have succeeded. Gives the longest time in which none did.
async fn longest_stall(line: &Line, jobs: usize) -> Result<Duration> {
    let (jobs, mut before) = (i64::try_from(jobs)?, 0);
    let (mut longest, mut since) = (Duration::ZERO, Instant::now());
    loop {
        let succeeded = line.ledger.count("succeeded").await?;
        if succeeded > before {
            (before, since) = (succeeded, Instant::now());
        }
        longest = longest.max(since.elapsed());
        ensure!(longest < STALL, "{succeeded} of {jobs} have succeeded, and none for {longest:?}");
        if succeeded >= jobs {
            return Ok(longest);
        }
        sleep(Duration::from_millis(250)).await;
    }
}

async fn storm(jobs: usize, body: impl Fn(DateTime<Utc>) -> Value, retried: bool) -> Result<()> {
    let directives =
        [("slowlog-log-slower-than", LOGGED.as_micros().to_string()), ("slowlog-max-len", "100000".into())];
    let directives = directives.map(|(name, value)| (name.to_owned(), value)).into();
    let builder = Stack::builder().redis(RedisOptions { directives, ..RedisOptions::default() }).workers(2);
    let line = Line::start(builder.worker_env("MILLRACE_QUEUES", format!("probe={SLOTS}"))).await?;
    let bystander = Bystander::watch(&line);
    line.client().post_empty("/v1/queues/probe/pause").await?.expect(200)?;
    let due = Utc::now() + AHEAD * u32::try_from(jobs)?;
    let ids = submit_all(line.client(), &vec![body(due); jobs]).await?;
    if retried {
        // As after an outage of what the handlers need: all have failed once, and wait.
        line.client().post_empty("/v1/queues/probe/resume").await?.expect(200)?;
        until("all have failed once", CALM * 4, async || {
            let asked = sqlx::query_scalar("SELECT count(*) = $1 FROM jobs WHERE snoozes = 1");
            sleep(Duration::from_millis(200)).await;
            Ok(asked.bind(i64::try_from(jobs)?).fetch_one(line.ledger.pool()).await?)
        })
        .await?;
        line.client().post_empty("/v1/queues/probe/pause").await?.expect(200)?;
    }
    until("all are due", CALM * 4, async || {
        sleep(Duration::from_millis(200)).await;
        let asked =
            sqlx::query_scalar("SELECT NOT EXISTS (SELECT FROM jobs WHERE finished_at IS NULL AND run_at > now())");
        Ok(asked.fetch_one(line.ledger.pool()).await?)
    })
    .await?;
    let delayed: usize =
        redis::cmd("ZCARD").arg("mr:{probe}:delayed").query_async(&mut line.redis.connection().await?).await?;
    ensure!(delayed > jobs / 2, "only {delayed} of {jobs} came due at once");
    line.client().post_empty("/v1/queues/probe/resume").await?.expect(200)?;
    let stall = longest_stall(&line, jobs).await?;

    bystander.stop().await?;
    let (scripts, fixed) = (Calls::of(&line, "evalsha").await?, Calls::of(&line, "eval").await?);
    let told = |calls: &Calls| {
        format!(
            "{} of {:?}, {} over {SLOW:?}, {:?} at most",
            calls.calls,
            calls.average,
            calls.slow.len(),
            calls.longest
        )
    };
    println!(
        "{delayed} jobs due at once, no stall of {stall:.1?}; scripts: {}; fixed work: {}",
        told(&scripts),
        told(&fixed)
    );
    let audit = audit(&line, &ids, CALM).await?;
    println!("{audit}");
    audit.all_succeeded_at_once()?;
    scripts.hold_nobody_up(&fixed)?;
    all_slots_are_free(&line, SLOTS).await?;
    line.stack.drain().await
}

fn delayed(due: DateTime<Utc>) -> Value {
    json!({ "kind": "probe", "payload": {}, "run_at": due.to_rfc3339() })
}

#[tokio::test]
async fn jobs_due_at_the_same_second_hold_nobody_up() -> Result<()> {
    storm(5_000, delayed, false).await
}

mod long {
    use super::*;

    /// How long the jobs wait that have failed: longer than it takes them all to do so.
    const BACKOFF_MS: u64 = 240_000;

    #[tokio::test]
    #[ignore = "long: 50,000 jobs due at once"]
    async fn jobs_due_at_the_same_second_hold_nobody_up() -> Result<()> {
        storm(50_000, delayed, false).await
    }

    #[tokio::test]
    #[ignore = "long: 100,000 jobs due again at once"]
    async fn jobs_due_again_at_once_after_an_outage_hold_nobody_up() -> Result<()> {
        let failing = |_| json!({ "kind": "probe", "payload": { "snoozes": 1, "snooze_ms": BACKOFF_MS } });
        storm(100_000, failing, true).await
    }
}
