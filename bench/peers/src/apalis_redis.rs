//! apalis-redis' own storage. Its backlog must stay below 8,000: beyond, its fetch script fails for good.

use std::{
    ops::Range,
    task::{Context, Poll},
    time::Duration,
};

use anyhow::{Result, anyhow};
use apalis_core::{
    backend::{
        TaskSink as _,
        ext::{
            BackendExt as _,
            poll_strategy::{PollSnapshot, PollStrategy},
        },
    },
    error::BoxDynError,
    worker::{builder::WorkerBuilder, ext::parallelize::ParallelizeExt as _},
};
use apalis_redis::{Config, ConnectionManager, RedisStorage};
use tokio::time::{Interval, MissedTickBehavior};

use crate::{
    measure::{Payload, Peer},
    starts, variable,
};

const QUEUE: &str = "peer";
const POLL: Duration = Duration::from_millis(5);

/// Polls at a steady pace. Its own strategy of that name arms its timer only when it is asked again, and so falls asleep.
struct Ticks(Interval);

impl PollStrategy for Ticks {
    fn poll_drive(&mut self, context: &mut Context<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        let mut ticked = Poll::Pending;
        while self.0.poll_tick(context).is_ready() {
            ticked = Poll::Ready(Some(()));
        }
        ticked
    }
}

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
    const SETTINGS: &'static str = "1.0.0, batch 100, spawned tasks, poll 5 ms (a strategy of ours: its own falls asleep)";
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
    let mut ticks = tokio::time::interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let worker = WorkerBuilder::new(format!("peer-{}", std::process::id()))
        .backend(storage.poll_with_strategy(Ticks(ticks)))
        .parallelize(tokio::spawn)
        .build(handle);
    worker.run().await.map_err(|error| anyhow!("{error}"))
}
