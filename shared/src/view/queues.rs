use std::time::Duration;

use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::in_time;
use crate::{
    db::{jobs, queues as table},
    ids::JobId,
    jobs::{Priority, QUEUES, QueueName},
    ledger::HORIZON,
    queue::{QueueStats, Queues},
};

/// Ready jobs by priority.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, ToSchema)]
#[expect(missing_docs, reason = "the names are those of the priorities")]
pub struct ReadyView {
    pub critical: u64,
    pub high: u64,
    pub normal: u64,
    pub low: u64,
}

impl ReadyView {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.critical + self.high + self.normal + self.low
    }
}

impl From<[u64; 4]> for ReadyView {
    fn from([critical, high, normal, low]: [u64; 4]) -> Self {
        Self { critical, high, normal, low }
    }
}

/// How many jobs may run at once; nothing where there is no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, ToSchema)]
pub struct LimitsView {
    /// Of the whole queue, over all workers.
    pub concurrency: Option<u32>,
    /// Of each organisation.
    pub org_concurrency: Option<u32>,
}

/// A queue and its figures, over all organisations.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct QueueView {
    /// Its name.
    #[schema(value_type = String, example = "asset")]
    pub queue: QueueName,
    /// Jobs that could be claimed now.
    pub ready: ReadyView,
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
    /// Concurrency limits.
    pub limits: LimitsView,
    /// False where Redis is away and the figures are the ledger's alone: what runs then counts as ready.
    pub live: bool,
}

/// All queues, in the order of [`QUEUES`].
///
/// # Errors
/// Those of the database.
pub async fn queues(connection: &mut PgConnection, queues: &Queues) -> sqlx::Result<Vec<QueueView>> {
    let mut views = Vec::with_capacity(QUEUES.len());
    let mut redis = Some(queues);
    for queue in QUEUES {
        let live = match redis {
            Some(queues) => live_of(queues, queue).await,
            None => None,
        };
        if live.is_none() {
            // One that is away is not waited for once per queue.
            redis = None;
        }
        views.push(view(connection, queue, live).await?);
    }
    Ok(views)
}

/// A queue's figures and what runs in it; `None` where Redis is away.
async fn live_of(queues: &Queues, queue: QueueName) -> Option<(QueueStats, Vec<JobId>)> {
    let both = async { Ok::<_, redis::RedisError>((queues.stats(queue).await?, queues.running(queue).await?)) };
    in_time(both)
        .await
        .inspect_err(|error| {
            tracing::debug!(error = %error, "Redis is away; queues are shown as the ledger has them");
        })
        .ok()
}

async fn view(
    connection: &mut PgConnection,
    queue: QueueName,
    live: Option<(QueueStats, Vec<JobId>)>,
) -> sqlx::Result<QueueView> {
    let settings = table::settings(connection, queue).await?;
    let dead = table::dead_count(connection, queue).await?;
    let is_live = live.is_some();
    let (stats, running) = match live {
        Some((mut stats, running)) => {
            stats.delayed += unsigned(table::due_later_than(connection, queue, HORIZON).await?);
            (stats, running)
        }
        None => (ledger_stats(connection, queue).await?, Vec::new()),
    };
    let oldest = jobs::oldest_due(connection, queue, &running).await?;
    let age_ms = match oldest {
        Some(due) => Some(unsigned((jobs::now(connection).await? - due).num_milliseconds())),
        None => None,
    };
    Ok(QueueView {
        queue,
        ready: stats.ready.into(),
        delayed: stats.delayed,
        running: stats.running,
        dead: unsigned(dead),
        oldest_ready_age_ms: age_ms,
        paused: settings.paused,
        finished_last_minute: stats.finished_last_minute,
        limits: LimitsView { concurrency: settings.concurrency, org_concurrency: settings.org_concurrency },
        live: is_live,
    })
}

/// What the ledger alone can tell of a queue's depth.
async fn ledger_stats(connection: &mut PgConnection, queue: QueueName) -> sqlx::Result<QueueStats> {
    let mut stats = QueueStats::default();
    for (priority, count) in table::due_by_priority(connection, queue).await? {
        stats.ready[usize::from(Priority::from_level(priority).level())] += unsigned(count);
    }
    stats.delayed = unsigned(table::due_later_than(connection, queue, Duration::ZERO).await?);
    Ok(stats)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
