//! Postgres is stopped for a while, and comes back, while clients submit all the time.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use millrace_harness::{PostgresOptions, Stack};
use millrace_tests::{Line, Traffic, all_slots_are_free, audit, effect_probe, submit_all};
use tokio::time::sleep;

use crate::{CALM, mixed, progress, wait_ready};

const SLOTS: usize = 16;

struct Scale {
    outages: usize,
    /// How long each lasts; less than the workers' leases.
    outage: Duration,
    backlog: usize,
    clients: usize,
}

async fn storm(scale: Scale) -> Result<()> {
    let builder = Stack::builder().own_postgres(PostgresOptions::default()).workers(2);
    let mut line = Line::start(builder.worker_env("MILLRACE_QUEUES", format!("probe={SLOTS}"))).await?;
    let mut ids = submit_all(line.client(), &mixed(scale.backlog, 1_500)).await?;
    let traffic = Traffic::varied(line.client(), scale.clients, Duration::from_millis(20), |number| {
        effect_probe(number * 37 % 150)
    });
    for _ in 0..scale.outages {
        progress(&line, 40).await?;
        line.stack.postgres.stop().await?;
        sleep(scale.outage).await;
        line.stack.postgres.start_again().await?;
        wait_ready(&line).await?;
    }
    progress(&line, 40).await?;
    let submitted = traffic.stop().await;
    println!("Postgres stopped {} times for {:?}; requests meanwhile: {submitted}", scale.outages, scale.outage);
    ensure!(submitted.unanswered.is_empty(), "{:?}", submitted.unanswered);
    ensure!(!submitted.refused.is_empty(), "nobody noticed that Postgres was away");
    for (status, retry_after) in &submitted.refused {
        ensure!(*status == 503, "no other error for a server that is away: {status}");
        let seconds: u32 = retry_after.as_deref().context("no Retry-After")?.parse()?;
        ensure!((1..=60).contains(&seconds), "Retry-After: {seconds}");
    }
    ids.extend(submitted.accepted);
    let audit = audit(&line, &ids, CALM).await?;
    println!("{audit}");
    audit.all_succeeded_at_once()?;
    all_slots_are_free(&line, SLOTS).await?;
    line.stack.drain().await
}

#[tokio::test]
async fn every_202_around_a_stop_of_postgres_is_kept_and_every_refusal_says_when_to_come_back() -> Result<()> {
    storm(Scale { outages: 1, outage: Duration::from_secs(4), backlog: 200, clients: 4 }).await
}

mod long {
    use super::*;

    #[tokio::test]
    #[ignore = "long: three outages of ten seconds"]
    async fn every_202_around_a_stop_of_postgres_is_kept_and_every_refusal_says_when_to_come_back() -> Result<()> {
        storm(Scale { outages: 3, outage: Duration::from_secs(10), backlog: 2_000, clients: 16 }).await
    }
}
