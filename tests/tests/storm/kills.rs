//! A random worker is killed with -9 every second, and a new one takes its place.

use std::time::Duration;

use anyhow::{Context as _, Result};
use millrace_harness::{Stack, Until};
use millrace_tests::{Line, all_slots_are_free, audit, short_lease, submit_all};
use rand::seq::IteratorRandom as _;
use tokio::time::{MissedTickBehavior, interval};

use crate::{CALM, mixed, progress};

const SLOTS: usize = 16;
const EVERY: Duration = Duration::from_secs(1);

struct Scale {
    workers: usize,
    jobs: usize,
    kills: usize,
    /// How long the jobs take at most, in milliseconds.
    longest_ms: u64,
}

async fn storm(scale: Scale) -> Result<()> {
    let builder = short_lease(Stack::builder()).workers(scale.workers);
    let mut line = Line::start(builder.worker_env("MILLRACE_QUEUES", format!("probe={SLOTS}"))).await?;
    let ids = submit_all(line.client(), &mixed(scale.jobs, scale.longest_ms)).await?;
    progress(&line, 20).await?;
    let mut seconds = interval(EVERY);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..scale.kills {
        seconds.tick().await;
        let victim = line.live_workers().choose(&mut rand::rng()).context("no worker is left")?;
        victim.kill().await?;
        line.stack.add_worker_with(&[], Until::Listening).await?;
    }
    let left = line.ledger.count("queued").await?;
    println!("{} kills among {} workers; {left} of {} jobs left then", scale.kills, scale.workers, ids.len());
    let audit = audit(&line, &ids, CALM * 3).await?;
    println!("{audit}");
    assert_eq!(audit.jobs.len(), ids.len());
    audit.all_succeeded_at_once()?;
    all_slots_are_free(&line, SLOTS).await?;
    line.stack.drain().await
}

#[tokio::test]
async fn workers_killed_at_random_lose_no_job_double_no_effect_and_use_up_no_attempt() -> Result<()> {
    storm(Scale { workers: 3, jobs: 500, kills: 4, longest_ms: 300 }).await
}

mod long {
    use super::*;

    #[tokio::test]
    #[ignore = "long: 20,000 jobs under a kill a second for a minute"]
    async fn workers_killed_at_random_lose_no_job_double_no_effect_and_use_up_no_attempt() -> Result<()> {
        storm(Scale { workers: 4, jobs: 20_000, kills: 60, longest_ms: 300 }).await
    }
}
