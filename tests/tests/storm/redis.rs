//! Redis loses everything, loses its last second, or hangs, while clients submit and workers work.

use std::time::Duration;

use anyhow::{Result, ensure};
use millrace_harness::Stack;
use millrace_tests::{Line, Traffic, all_slots_are_free, audit, effect_probe, short_lease, submit_all};
use serde_json::json;

use crate::{CALM, mixed, progress, wait_ready};

const SLOTS: usize = 16;
const HANG_SECONDS: u64 = 5;
/// What the API allows Redis for a submission, and some for a busy machine.
const SLOWEST_ANSWER: Duration = Duration::from_secs(6);

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// `FLUSHALL`.
    Flush,
    /// `kill -9` and a new start. The file of its commands is synced every second.
    Kill,
    /// `DEBUG SLEEP`: connections stay open and nothing answers.
    Hang,
}

impl Fault {
    async fn strike(self, line: &mut Line) -> Result<()> {
        match self {
            Self::Flush => line.redis.flush_all().await,
            Self::Kill => {
                line.stack.redis.kill().await?;
                line.stack.redis.start_again().await
            }
            Self::Hang => {
                let mut redis = line.redis.connection().await?;
                Ok(redis::cmd("DEBUG").arg("SLEEP").arg(HANG_SECONDS).query_async(&mut redis).await?)
            }
        }
    }
}

async fn storm(faults: &[Fault], rounds: usize, backlog: usize) -> Result<()> {
    let builder = short_lease(Stack::builder()).workers(2).worker_env("MILLRACE_QUEUES", format!("probe={SLOTS}"));
    let mut line = Line::start(builder).await?;
    let mut bodies = mixed(backlog, 300);
    // One of each sort of waiting.
    bodies.push(json!({ "kind": "probe", "payload": { "effect": true }, "delay_ms": 4_000 }));
    bodies.push(json!({ "kind": "probe", "payload": { "effect": true, "snoozes": 3, "snooze_ms": 1_000 } }));
    let mut ids = submit_all(line.client(), &bodies).await?;
    let traffic =
        Traffic::varied(line.client(), 4, Duration::from_millis(40), |number| effect_probe(number * 37 % 150));
    let mut struck = 0;
    for fault in faults.repeat(rounds) {
        progress(&line, 40).await?;
        ensure!(line.ledger.count("queued").await? > 0, "{fault:?} does not strike under load");
        fault.strike(&mut line).await?;
        struck += 1;
    }
    progress(&line, 40).await?;
    wait_ready(&line).await?;
    let submitted = traffic.stop().await;
    println!("Redis struck {struck} times by {faults:?}; requests meanwhile: {submitted}");
    ensure!(submitted.refused.is_empty() && submitted.unanswered.is_empty(), "{submitted:?}");
    ensure!(submitted.slowest < SLOWEST_ANSWER, "an answer took {:?}", submitted.slowest);
    ids.extend(submitted.accepted);
    let audit = audit(&line, &ids, CALM).await?;
    println!("{audit}");
    audit.all_succeeded_at_once()?;
    all_slots_are_free(&line, SLOTS).await?;
    line.stack.drain().await
}

#[tokio::test]
async fn emptied_killed_and_hung_redis_costs_no_job_no_answer_and_no_attempt() -> Result<()> {
    storm(&[Fault::Flush, Fault::Kill, Fault::Hang], 1, 300).await
}

mod long {
    use super::*;

    #[tokio::test]
    #[ignore = "long: Redis emptied ten times"]
    async fn emptied_redis_costs_no_job_no_answer_and_no_attempt() -> Result<()> {
        storm(&[Fault::Flush], 10, 3_000).await
    }

    #[tokio::test]
    #[ignore = "long: Redis killed ten times"]
    async fn killed_redis_costs_no_job_no_answer_and_no_attempt() -> Result<()> {
        storm(&[Fault::Kill], 10, 3_000).await
    }

    #[tokio::test]
    #[ignore = "long: Redis hung for five seconds, six times"]
    async fn hung_redis_costs_no_job_no_answer_and_no_attempt() -> Result<()> {
        storm(&[Fault::Hang], 6, 3_000).await
    }
}
