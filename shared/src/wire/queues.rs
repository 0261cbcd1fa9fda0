use std::time::Duration;

use serde::Serialize;
use sqlx::PgConnection;
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::{
    jobs::{Priority, QUEUES, QueueName, Rate},
    queue::{Queues, Settings},
    views::{self, QueueView, ViewError},
};

/// The longest wait for Redis before a queue is told without it.
const LIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Ready jobs by priority.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, ToSchema)]
#[expect(missing_docs, reason = "the names are those of the priorities")]
pub struct Ready {
    pub critical: u64,
    pub high: u64,
    pub normal: u64,
    pub low: u64,
}

impl Ready {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.critical + self.high + self.normal + self.low
    }
}

/// How many jobs may run at once, and begin in how long; nothing where there is no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, ToSchema)]
pub struct Limits {
    /// Of the whole queue, over all workers.
    pub concurrency: Option<u32>,
    /// Of each organisation.
    pub org_concurrency: Option<u32>,
    /// How many may begin in how long, of the whole queue.
    pub rate: Option<Rate>,
    /// Of each organisation.
    pub org_rate: Option<Rate>,
}

/// A queue and its figures, over all organisations.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "queue": "asset", "ready": { "critical": 0, "high": 3, "normal": 120, "low": 0 }, "delayed": 7, "running": 4, "dead": 1,
    "oldest_ready_age_ms": 840, "paused": false, "finished_last_minute": 96,
    "limits": { "concurrency": null, "org_concurrency": 8, "rate": null, "org_rate": { "count": 100, "period_ms": 1000 } }, "live": true
}))]
pub struct Queue {
    /// Its name.
    #[schema(value_type = String, example = "asset")]
    pub queue: QueueName,
    /// Jobs that could be claimed now.
    pub ready: Ready,
    /// Jobs that wait for their time.
    pub delayed: u64,
    /// Jobs that workers have; 0 where Redis is away.
    pub running: u64,
    /// Dead letters.
    pub dead: u64,
    /// For how long the oldest ready job has been due.
    pub oldest_ready_age_ms: Option<u64>,
    /// Whether nothing is claimed.
    pub paused: bool,
    /// Runs that ended in the last minute; 0 where Redis is away.
    pub finished_last_minute: u64,
    /// Limits and rates.
    pub limits: Limits,
    /// False where Redis is away and the figures are the ledger's alone: what runs then counts as ready.
    pub live: bool,
}

/// All queues, in the order of [`QUEUES`]; from the ledger alone where Redis is away.
///
/// # Errors
/// Those of the database.
pub async fn queues(connection: &mut PgConnection, queues: &Queues) -> sqlx::Result<Vec<Queue>> {
    let mut told = Vec::with_capacity(QUEUES.len());
    let mut is_live = true;
    for queue in QUEUES {
        let mut live = None;
        // A Redis that is away is waited for once, and not once per queue.
        if is_live {
            live = match timeout(LIVE_TIMEOUT, views::queue(connection, queues, queue)).await {
                Ok(Ok(view)) => Some(view),
                Ok(Err(ViewError::Database(error))) => return Err(error),
                Ok(Err(ViewError::Redis(_))) | Err(_) => None,
            };
            is_live = live.is_some();
        }
        let view = match live {
            Some(view) => view,
            None => views::queue_from_ledger(connection, queue).await?,
        };
        told.push(tell(&view, is_live));
    }
    Ok(told)
}

fn tell(view: &QueueView, is_live: bool) -> Queue {
    let ready = |priority| view.stats.ready_at(priority);
    Queue {
        queue: view.queue,
        ready: Ready {
            critical: ready(Priority::Critical),
            high: ready(Priority::High),
            normal: ready(Priority::Normal),
            low: ready(Priority::Low),
        },
        delayed: view.stats.delayed,
        running: view.stats.running,
        dead: view.dead,
        oldest_ready_age_ms: view.oldest_ready_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        paused: view.settings.paused,
        finished_last_minute: view.stats.finished_last_minute,
        limits: view.settings.into(),
        live: is_live,
    }
}

impl From<Settings> for Limits {
    fn from(settings: Settings) -> Self {
        let Settings { concurrency, org_concurrency, rate, org_rate, .. } = settings;
        Self { concurrency, org_concurrency, rate, org_rate }
    }
}
