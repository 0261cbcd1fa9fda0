//! The live view: what Redis knows of jobs and queues right now, for people and for metrics.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use redis::RedisResult;
use uuid::Uuid;

use super::{
    Meta, Queues,
    client::{key, on},
};
use crate::{
    ids::JobId,
    jobs::{Priority, QueueName, Rate},
};

/// How many organisations of a priority one call of the settings' script brings back.
const UNPARK_BATCH: usize = 200;
/// The most running jobs that [`Queues::running`] tells.
const MAX_RUNNING: isize = 5_000;

/// Where a job that has not ended is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LiveState {
    /// Ready to be claimed.
    Ready,
    /// Waiting for its time.
    Delayed {
        /// When it is due.
        until: DateTime<Utc>,
    },
    /// A worker has it.
    Running {
        /// Since when, on Redis' clock.
        since: DateTime<Utc>,
        /// Which worker.
        worker: String,
    },
    /// Redis does not know it (yet, or any more).
    Unknown,
}

/// A job's live view.
#[derive(Clone, Debug)]
pub struct Live {
    /// Where it is.
    pub state: LiveState,
    /// What it has been through.
    pub meta: Meta,
}

/// A queue's settings, kept in the ledger and copied to Redis.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    /// Nothing is claimed while it is paused.
    pub paused: bool,
    /// How many jobs of the queue may run at once, over all workers.
    pub concurrency: Option<u32>,
    /// How many of each organisation may.
    pub org_concurrency: Option<u32>,
    /// How many jobs of the queue may begin in how long.
    pub rate: Option<Rate>,
    /// How many of each organisation may.
    pub org_rate: Option<Rate>,
}

/// A queue's figures.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QueueStats {
    /// Ready jobs by priority, the most urgent first.
    pub ready: [u64; 4],
    /// Jobs that wait for their time (those due within the hour; later ones wait in the ledger).
    pub delayed: u64,
    /// Leased jobs.
    pub running: u64,
    /// Jobs that ended in the last minute.
    pub finished_last_minute: u64,
    /// Whether claims are refused.
    pub paused: bool,
    /// Marks the data as whole; it changes when Redis lost its data.
    pub epoch: Option<String>,
}

impl QueueStats {
    /// Ready jobs of a priority.
    #[must_use]
    pub fn ready_at(&self, priority: Priority) -> u64 {
        self.ready[usize::from(priority.level())]
    }
}

impl Queues {
    /// The live view of jobs of one queue, parallel to `ids`.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn live(&self, queue: QueueName, ids: &[JobId]) -> RedisResult<Vec<Live>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipe = redis::pipe();
        for id in ids {
            let id = id.as_bytes();
            pipe.hget(key(queue, "meta"), id).hget(key(queue, "live"), id).zscore(key(queue, "delayed"), id);
            pipe.hexists(key(queue, "job"), id);
        }
        type Row = (Option<Vec<u8>>, Option<String>, Option<f64>, bool);
        let values: Vec<redis::Value> = pipe.query_async(&mut self.connection.clone()).await?;
        let mut views = Vec::with_capacity(ids.len());
        for chunk in values.chunks_exact(4) {
            let row: Row = redis::from_redis_value(redis::Value::Array(chunk.to_vec()))?;
            views.push(view(row));
        }
        Ok(views)
    }

    /// The running jobs of a queue, at most a few thousand.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn running(&self, queue: QueueName) -> RedisResult<Vec<JobId>> {
        let mut command = redis::cmd("ZRANGE");
        command.arg(key(queue, "leases")).arg(0).arg(MAX_RUNNING - 1);
        let ids: Vec<Vec<u8>> = command.query_async(&mut self.connection.clone()).await?;
        Ok(ids.iter().filter_map(|id| JobId::try_from(id.as_slice()).ok()).collect())
    }

    /// A queue's figures, at one moment.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn stats(&self, queue: QueueName) -> RedisResult<QueueStats> {
        type Reply = (u64, u64, u64, u64, u64, u64, u64, u8, String, String, String);
        let reply: Reply = self.run(&on(&self.scripts.stats, queue)).await?;
        let (critical, high, normal, low, delayed, running, finished_last_minute, paused, _, _, epoch) = reply;
        Ok(QueueStats {
            ready: [critical, high, normal, low],
            delayed,
            running,
            finished_last_minute,
            paused: paused == 1,
            epoch: Some(epoch).filter(|epoch| !epoch.is_empty()),
        })
    }

    /// The epoch of a queue's data, or `None` where Redis lost it.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn epoch(&self, queue: QueueName) -> RedisResult<Option<String>> {
        let mut command = redis::cmd("HGET");
        command.arg(key(queue, "ctl")).arg("epoch");
        command.query_async(&mut self.connection.clone()).await
    }

    /// Brings the ledger's settings of a queue to Redis, and starts an epoch where there is none.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn apply_settings(&self, queue: QueueName, settings: Settings) -> RedisResult<()> {
        let epoch = Uuid::now_v7().to_string();
        let optional = |limit: Option<u32>| limit.map_or_else(String::new, |limit| limit.to_string());
        // Claims may park organisations again meanwhile, so only those that were parked at the beginning are waited for.
        let mut calls = None;
        loop {
            let mut call = on(&self.scripts.settings, queue);
            call.arg(&epoch).arg(if settings.paused { "1" } else { "" });
            call.arg(optional(settings.concurrency)).arg(optional(settings.org_concurrency));
            call.arg(encoded(settings.rate)).arg(encoded(settings.org_rate)).arg(UNPARK_BATCH);
            let left: usize = self.run(&call).await?;
            let calls = calls.get_or_insert(left.div_ceil(UNPARK_BATCH));
            if left == 0 || *calls == 0 {
                return Ok(());
            }
            *calls -= 1;
        }
    }

    /// Asks Redis for life. Gives the round trip's time.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn ping(&self) -> RedisResult<Duration> {
        let start = std::time::Instant::now();
        redis::cmd("PING").query_async::<String>(&mut self.connection.clone()).await?;
        Ok(start.elapsed())
    }

    /// The server's `INFO`, as name → value.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn info(&self) -> RedisResult<HashMap<String, String>> {
        let text: String = redis::cmd("INFO").query_async(&mut self.connection.clone()).await?;
        let pairs = text.lines().filter_map(|line| line.trim_end().split_once(':'));
        Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

/// A rate as the scripts read it: interval and tolerance in µs.
fn encoded(rate: Option<Rate>) -> String {
    rate.map_or_else(String::new, |rate| format!("{},{}", rate.interval_us(), rate.tolerance_us()))
}

fn view((meta, live, due, known): (Option<Vec<u8>>, Option<String>, Option<f64>, bool)) -> Live {
    let running = live.and_then(|text| {
        let (since, worker) = text.split_once(' ')?;
        let since = DateTime::from_timestamp_micros(since.parse().ok()?)?;
        Some(LiveState::Running { since, worker: worker.to_owned() })
    });
    #[expect(clippy::cast_possible_truncation, reason = "a score in ms is far below 2^53")]
    let delayed =
        due.and_then(|ms| DateTime::from_timestamp_millis(ms as i64)).map(|until| LiveState::Delayed { until });
    let waiting = if known { LiveState::Ready } else { LiveState::Unknown };
    Live { state: running.or(delayed).unwrap_or(waiting), meta: meta.as_deref().map(Meta::decode).unwrap_or_default() }
}
