//! apalis-redis' own storage. Its backlog must stay below 8,000: beyond, its fetch script fails for good.

use std::{ops::Range, time::Duration};

use anyhow::{Result, anyhow};
use apalis_core::{
    backend::{TaskSink as _, ext::BackendExt as _},
    error::BoxDynError,
    worker::{builder::WorkerBuilder, ext::parallelize::ParallelizeExt as _},
};
use apalis_redis::{Config, ConnectionManager, RedisStorage};

use crate::{
    measure::{Payload, Peer},
    starts, variable,
};

const QUEUE: &str = "peer";
const POLL: Duration = Duration::from_millis(5);

#[derive(Clone)]
pub(crate) struct ApalisRedis {
    storage: RedisStorage<Payload>,
    connection: ConnectionManager,
    enqueued: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

async fn storage() -> Result<(RedisStorage<Payload>, ConnectionManager)> {
    let connection = apalis_redis::connect(variable("REDIS_URL")?).await?;
    let config = Config::default().queue(QUEUE).batch_size(100);
    Ok((RedisStorage::new(connection.clone()).with_config(config), connection))
}

impl Peer for ApalisRedis {
    const NAME: &'static str = "apalis-redis";
    const SETTINGS: &'static str = "1.0.0, batch 100, spawned tasks, poll 5 ms";
    const LONGEST_BACKLOG: usize = 6_700;

    async fn prepare() -> Result<Self> {
        let (storage, connection) = storage().await?;
        Ok(Self { storage, connection, enqueued: std::sync::Arc::default() })
    }

    async fn enqueue(&mut self, numbers: Range<u64>) -> Result<()> {
        self.enqueued.fetch_add(numbers.end - numbers.start, std::sync::atomic::Ordering::Relaxed);
        self.storage.push_bulk(numbers.map(Payload::new).collect()).await.map_err(|error| anyhow!("{error}"))
    }

    async fn enqueue_one(&mut self, number: u64) -> Result<()> {
        self.enqueued.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.storage.push(Payload::new(number)).await.map_err(|error| anyhow!("{error}"))
    }

    async fn unfinished(&mut self) -> Result<u64> {
        let done: u64 = redis::cmd("SCARD").arg(format!("{QUEUE}:done")).query_async(&mut self.connection).await?;
        Ok(self.enqueued.load(std::sync::atomic::Ordering::Relaxed).saturating_sub(done))
    }
}

async fn handle(job: Payload) -> Result<(), BoxDynError> {
    starts::started(job.number);
    Ok(())
}

pub(crate) async fn work() -> Result<()> {
    let (storage, _) = storage().await?;
    let worker = WorkerBuilder::new(format!("peer-{}", std::process::id()))
        .backend(storage.poll_with_interval(POLL))
        .parallelize(tokio::spawn)
        .build(handle);
    worker.run().await.map_err(|error| anyhow!("{error}"))
}
