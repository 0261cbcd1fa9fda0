//! awa with its queue storage, set up as its authors' own benchmarks do it: COPY for many jobs at once, no deadlines.

use std::{ops::Range, sync::Arc, time::Duration};

use anyhow::{Result, anyhow};
use awa::{Client, InsertOpts, InsertParams, JobResult, QueueConfig, QueueStorage, QueueStorageConfig};
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, postgres::PgPoolOptions};

use crate::{
    measure::{Payload, Peer},
    starts, variable,
};

const QUEUE: &str = "peer";

#[derive(Debug, Serialize, Deserialize, awa::JobArgs)]
struct Job {
    payload: Payload,
}

#[derive(Clone)]
pub(crate) struct Awa {
    pool: PgPool,
    storage: Arc<QueueStorage>,
}

async fn pool() -> Result<PgPool> {
    Ok(PgPoolOptions::new().max_connections(20).connect(&variable("DATABASE_URL")?).await?)
}

fn to_insert() -> InsertOpts {
    InsertOpts { queue: QUEUE.into(), ..InsertOpts::default() }
}

impl Peer for Awa {
    const NAME: &'static str = "awa";
    const SETTINGS: &'static str =
        "0.6.9, queue storage, COPY, max_workers 200, no deadline, poll 50 ms, 20 connections";
    const LONGEST_BACKLOG: usize = usize::MAX;

    async fn prepare() -> Result<Self> {
        let pool = pool().await?;
        awa::migrations::run(&pool).await.map_err(|error| anyhow!("{error}"))?;
        let storage = QueueStorage::new(QueueStorageConfig::default()).map_err(|error| anyhow!("{error}"))?;
        Ok(Self { pool, storage: Arc::new(storage) })
    }

    async fn enqueue(&mut self, numbers: Range<u64>) -> Result<()> {
        let jobs = numbers.map(|number| {
            let job = Job { payload: Payload::new(number) };
            awa::model::insert::params_with(&job, to_insert()).map_err(|error| anyhow!("{error}"))
        });
        let jobs: Vec<InsertParams> = jobs.collect::<Result<_>>()?;
        self.storage.enqueue_params_copy(&self.pool, &jobs).await.map_err(|error| anyhow!("{error}"))?;
        Ok(())
    }

    async fn enqueue_one(&mut self, number: u64) -> Result<()> {
        let job = Job { payload: Payload::new(number) };
        awa::insert_with(&self.pool, &job, to_insert()).await.map_err(|error| anyhow!("{error}"))?;
        Ok(())
    }

    async fn unfinished(&mut self) -> Result<u64> {
        let counts = self.storage.queue_counts(&self.pool, QUEUE).await.map_err(|error| anyhow!("{error}"))?;
        Ok((counts.available + counts.running).unsigned_abs())
    }
}

pub(crate) async fn work() -> Result<()> {
    let queue = QueueConfig {
        max_workers: 200,
        poll_interval: Duration::from_millis(50),
        deadline_duration: Duration::ZERO,
        ..QueueConfig::default()
    };
    let client = Client::builder(pool().await?)
        .queue(QUEUE, queue)
        .register::<Job, _, _>(|job, _| async move {
            starts::started(job.payload.number);
            Ok(JobResult::Completed)
        })
        .build()
        .map_err(|error| anyhow!("{error}"))?;
    client.start().await.map_err(|error| anyhow!("{error}"))?;
    std::future::pending().await
}
