//! Tens of thousands of jobs come due at the same moment: no script holds Redis up, and jobs go on ending all the while.
//!
//! A script's time is told by Redis' own slow log. On a busy machine Redis also waits for a processor, and then the log blames whatever was on.
//! How long it waited in all is told by the kernel, and that much is forgiven.

use std::{fmt, fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use chrono::{DateTime, Utc};
use millrace_harness::{RedisOptions, Stack};
use millrace_tests::{Line, all_slots_are_free, audit, submit_all, until};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::CALM;

const SLOTS: usize = 32;
/// The most that one script may take.
const SLOW: Duration = Duration::from_millis(5);
/// How many times its share of the waiting a single script may have had.
const BAD_LUCK: f64 = 3.0;
/// From where on the slow log tells.
const LOGGED: Duration = Duration::from_millis(1);
/// How long nothing may end, on a machine with other things to do; a stalled queue would stand still for good.
const STALL: Duration = Duration::from_secs(20);
/// How far ahead the jobs are due for each of them: time enough to submit them all.
const AHEAD: Duration = Duration::from_micros(1_200);

/// Counts what Redis does from now on.
struct Watch {
    pid: u32,
    before: Scheduled,
}

impl Watch {
    async fn start(line: &Line) -> Result<Self> {
        let mut redis = line.redis.connection().await?;
        redis::cmd("CONFIG").arg("RESETSTAT").exec_async(&mut redis).await?;
        redis::cmd("SLOWLOG").arg("RESET").exec_async(&mut redis).await?;
        let pid = line.stack.redis.pid().context("Redis is not ours")?;
        Ok(Self { pid, before: Scheduled::of(pid)? })
    }

    /// Fails if scripts held Redis up since, for longer than it had to wait for a processor.
    async fn judge(self, line: &Line, when: &str) -> Result<()> {
        let (now, scripts) = (Scheduled::of(self.pid)?, Scripts::of(line).await?);
        let (ran, waited) = (now.ran - self.before.ran, now.waited - self.before.waited);
        println!("{when}: {scripts}; Redis ran for {ran:.0?} and waited for {waited:.0?}");
        let beyond: Duration = scripts.slow.iter().map(|time| *time - SLOW).sum();
        ensure!(beyond <= waited, "{when}: scripts were on for {beyond:?} beyond {SLOW:?} each");
        let most = SLOW.mul_f64(BAD_LUCK * (ran + waited).as_secs_f64() / ran.as_secs_f64());
        ensure!(
            scripts.longest <= most,
            "{when}: one script took {:?}, and {most:?} is accounted for",
            scripts.longest
        );
        Ok(())
    }
}

/// What a process had of the processors, and how long it stood in line for them; its main thread.
struct Scheduled {
    ran: Duration,
    waited: Duration,
}

impl Scheduled {
    fn of(pid: u32) -> Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
        let mut numbers = text.split(' ').map(|number| number.parse().map(Duration::from_nanos));
        let mut next = || numbers.next().context("schedstat has fewer numbers")?.context("schedstat is no number");
        Ok(Self { ran: next()?, waited: next()? + stolen()? })
    }
}

/// What the hypervisor gave to others, of all processors.
fn stolen() -> Result<Duration> {
    /// Linux counts in these for programs, whatever its own are.
    const TICK: Duration = Duration::from_millis(10);
    let text = fs::read_to_string("/proc/stat")?;
    let ticks = text.split_whitespace().nth(8).context("no steal in /proc/stat")?;
    Ok(TICK * ticks.parse()?)
}

/// What Redis tells of its scripts.
#[derive(Debug)]
struct Scripts {
    calls: u32,
    average: Duration,
    /// The times of those that took longer than a script may.
    slow: Vec<Duration>,
    /// At least as long as the longest.
    longest: Duration,
}

impl Scripts {
    async fn of(line: &Line) -> Result<Self> {
        let mut redis = line.redis.connection().await?;
        let info: String = redis::cmd("INFO").arg("commandstats").query_async(&mut redis).await?;
        let stats = info.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:"));
        let number = |name: &str| -> Result<u32> {
            let field = stats.and_then(|stats| stats.split(',').find_map(|field| field.strip_prefix(name)));
            Ok(field.with_context(|| format!("no {name} of scripts"))?.parse()?)
        };
        let (calls, micros) = (number("calls=")?, number("usec=")?);
        let entries: Vec<redis::Value> = redis::cmd("SLOWLOG").arg("GET").arg(-1).query_async(&mut redis).await?;
        let mut times = Vec::new();
        for entry in entries {
            let redis::Value::Array(mut fields) = entry else { continue };
            fields.truncate(4);
            let (_, _, micros, words): (i64, i64, u64, Vec<Vec<u8>>) =
                redis::from_redis_value(redis::Value::Array(fields))?;
            if words.first().is_some_and(|word| word.eq_ignore_ascii_case(b"evalsha")) {
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
}

impl fmt::Display for Scripts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, average, slow, longest } = self;
        write!(f, "{calls} scripts of {average:?}, {} over {SLOW:?}, {longest:?} at most", slow.len())
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
    let watch = Watch::start(&line).await?;
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
    watch.judge(&line, "while they came in").await?;
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
    let watch = Watch::start(&line).await?;
    line.client().post_empty("/v1/queues/probe/resume").await?.expect(200)?;
    let stall = longest_stall(&line, jobs).await?;

    println!("{delayed} jobs due at once, no stall of {stall:.1?}");
    watch.judge(&line, "while they came due").await?;
    let audit = audit(&line, &ids, CALM).await?;
    println!("{audit}");
    audit.all_succeeded_at_once()?;
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
