use chrono::{DateTime, Utc};
use redis::RedisError;
use sqlx::PgConnection;

use super::{JobView, ViewState, in_time, jobs};
use crate::{
    db::jobs::{self as rows, JobFilter},
    ids::{JobId, OrgId},
    jobs::{QUEUES, QueueName},
    queue::Queues,
};

/// What a list of jobs shows. Absent fields do not filter.
#[derive(Clone, Debug, Default)]
pub struct JobQuery {
    /// Only this organisation's; `None` only for the operator's command line.
    pub org: Option<OrgId>,
    /// Only this kind.
    pub kind: Option<String>,
    /// Only this queue.
    pub queue: Option<QueueName>,
    /// Only this state.
    pub state: Option<ViewState>,
    /// Only jobs accepted at or after this time.
    pub since: Option<DateTime<Utc>>,
}

/// A list that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// Only Redis knows what runs, and it is away.
    #[error("Redis, which alone knows what runs, is away")]
    LiveViewAway(#[source] RedisError),
    /// The database.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Jobs, the newest first, after (that is: older than) `before`. Jobs move while this reads: one may show a later state than the one
/// that was asked for.
///
/// # Errors
/// See [`ListError`]; only a list of what runs needs Redis.
pub async fn list(
    connection: &mut PgConnection,
    queues: &Queues,
    query: &JobQuery,
    before: Option<JobId>,
    limit: u32,
) -> Result<Vec<JobView>, ListError> {
    let mut filter = JobFilter {
        org: query.org,
        kind: query.kind.clone(),
        queue: query.queue,
        since: query.since,
        ..JobFilter::default()
    };
    if let Some(state) = query.state {
        let (in_ledger, due) = state.in_ledger();
        (filter.state, filter.due) = (Some(in_ledger), due);
        if !state.is_final() {
            match (state, running(queues, query.queue).await) {
                (ViewState::Running, running) => filter.among = Some(running.map_err(ListError::LiveViewAway)?),
                (_, running) => filter.without = running.unwrap_or_default(),
            }
        }
    }
    let rows = rows::list(connection, &filter, before, limit).await?;
    Ok(jobs(connection, queues, rows).await?)
}

async fn running(queues: &Queues, only: Option<QueueName>) -> redis::RedisResult<Vec<JobId>> {
    let mut ids = Vec::new();
    for queue in QUEUES.into_iter().filter(|queue| only.is_none_or(|only| only == *queue)) {
        ids.extend(in_time(queues.running(queue)).await?);
    }
    Ok(ids)
}
