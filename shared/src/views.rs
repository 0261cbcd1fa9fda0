//! What people see: the ledger's rows merged with Redis' live view.
//!
//! The ledger knows whether a job has ended; Redis knows whether it runs or waits. While Redis is away a view falls back to what the
//! ledger alone can tell, so that looking at a job works as long as Postgres does.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::db::jobs::{self, JobFilter, JobRow, JobState};
use crate::db::{self, Cursor, Page, PageRequest};
use crate::ids::JobId;
use crate::jobs::{Priority, QUEUES, QueueName};
use crate::ledger::HORIZON;
use crate::queue::{Live, LiveState, QueueStats, Queues, Settings};

/// Longest wait for Redis before a view does without it.
const LIVE_TIMEOUT: Duration = Duration::from_millis(800);

/// A job's state, as people see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It can run as soon as a worker is free.
    Queued,
    /// It waits for its time.
    Delayed,
    /// A worker has it.
    Running,
    /// It ended well.
    Succeeded,
    /// It is a dead letter.
    Dead,
    /// It was cancelled.
    Cancelled,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Delayed, Self::Running, Self::Succeeded, Self::Dead, Self::Cancelled];

    /// The state's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Delayed => "delayed",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more will happen to the job by itself.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Dead | Self::Cancelled)
    }
}

/// A name that is no state.
#[derive(Debug, thiserror::Error)]
#[error("unknown state `{0}`; known are queued, delayed, running, succeeded, dead and cancelled")]
pub struct UnknownState(String);

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| UnknownState(text.to_owned()))
    }
}

/// A job with its live state.
#[derive(Debug, Clone)]
pub struct JobView {
    /// The ledger's row.
    pub row: JobRow,
    /// Its state now.
    pub state: State,
    /// The attempt that runs or ran last, from 1; 0 before the first.
    pub attempt: u32,
    /// When it is or was due.
    pub run_at: DateTime<Utc>,
    /// When the last run began.
    pub started_at: Option<DateTime<Utc>>,
    /// Which worker has it or had it last.
    pub worker: Option<String>,
}

impl JobView {
    /// The view that the ledger alone gives.
    #[must_use]
    pub fn from_ledger(row: JobRow) -> Self {
        let state = match row.state {
            JobState::Queued if row.delay_ms > 0 => State::Delayed,
            JobState::Queued => State::Queued,
            JobState::Succeeded => State::Succeeded,
            JobState::Dead => State::Dead,
            JobState::Cancelled => State::Cancelled,
        };
        Self {
            state,
            attempt: u32::try_from(row.attempt).unwrap_or(0),
            run_at: row.run_at,
            started_at: if state.is_final() { row.started_at } else { None },
            worker: row.worker.clone(),
            row,
        }
    }

    fn with_live(row: JobRow, live: Live) -> Self {
        let mut view = Self::from_ledger(row);
        match live.state {
            LiveState::Running { since, worker } => {
                view.state = State::Running;
                view.attempt = view.attempt.max(live.meta.attempt) + 1;
                view.started_at = Some(since);
                view.worker = Some(worker);
            }
            LiveState::Delayed { until } => {
                view.state = State::Delayed;
                view.attempt = view.attempt.max(live.meta.attempt);
                view.run_at = until;
            }
            LiveState::Ready => {
                view.state = State::Queued;
                view.attempt = view.attempt.max(live.meta.attempt);
            }
            LiveState::Unknown => {}
        }
        view
    }
}

/// Merges rows with what Redis knows of them, in their order.
pub async fn with_live(queues: &Queues, rows: Vec<JobRow>) -> Vec<JobView> {
    let live = live_of(queues, &rows).await;
    merge(rows, live)
}

/// As [`with_live`], but rows of jobs that Redis does not know (any more) are read again: one that ended after its row was read would
/// otherwise seem to go back from `running` to `queued`. The caller was allowed to read the rows.
///
/// # Errors
/// When Postgres is away.
pub async fn current(
    connection: &mut PgConnection,
    queues: &Queues,
    mut rows: Vec<JobRow>,
) -> Result<Vec<JobView>, sqlx::Error> {
    let live = live_of(queues, &rows).await;
    let is_gone = |row: &&JobRow| {
        row.to_queue().is_some() && live.get(&row.id).is_some_and(|live| live.state == LiveState::Unknown)
    };
    let gone: Vec<JobId> = rows.iter().filter(is_gone).map(|row| row.id).collect();
    if !gone.is_empty() {
        let limit = u32::try_from(gone.len()).unwrap_or(u32::MAX);
        let filter = JobFilter { among: Some(gone), ..JobFilter::default() };
        let again = jobs::list(connection, &filter, None, limit).await?;
        let mut again: HashMap<JobId, JobRow> = again.into_iter().map(|row| (row.id, row)).collect();
        for row in &mut rows {
            if let Some(newer) = again.remove(&row.id) {
                *row = newer;
            }
        }
    }
    Ok(merge(rows, live))
}

/// What Redis knows of those that have not ended; nothing where it is away.
async fn live_of(queues: &Queues, rows: &[JobRow]) -> HashMap<JobId, Live> {
    let mut waiting: HashMap<QueueName, Vec<JobId>> = HashMap::new();
    for row in rows.iter().filter(|row| row.state == JobState::Queued) {
        if let Ok(queue) = row.queue.parse() {
            waiting.entry(queue).or_default().push(row.id);
        }
    }
    let mut live: HashMap<JobId, Live> = HashMap::new();
    for (queue, ids) in waiting {
        match tokio::time::timeout(LIVE_TIMEOUT, queues.live(queue, &ids)).await {
            Ok(Ok(views)) => live.extend(ids.into_iter().zip(views)),
            Ok(Err(error)) => {
                tracing::debug!(error = %error, "Redis is away; jobs are shown as the ledger has them");
                break;
            }
            Err(_) => break,
        }
    }
    live
}

fn merge(rows: Vec<JobRow>, mut live: HashMap<JobId, Live>) -> Vec<JobView> {
    rows.into_iter()
        .map(|row| match live.remove(&row.id) {
            Some(live) if row.state == JobState::Queued => JobView::with_live(row, live),
            _ => JobView::from_ledger(row),
        })
        .collect()
}

/// A view could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// Postgres.
    #[error("the database gave no answer")]
    Database(#[from] sqlx::Error),
    /// Redis, where the question makes no sense without it.
    #[error("Redis gave no answer")]
    Redis(#[from] redis::RedisError),
}

/// Jobs, newest first. `filter.state` and `filter.due` are set from `state`.
///
/// # Errors
/// When Postgres is away; and for `queued` and `running`, when Redis is.
pub async fn list_jobs(
    connection: &mut PgConnection,
    queues: &Queues,
    mut filter: JobFilter,
    state: Option<State>,
    page: &PageRequest,
) -> Result<Page<JobView>, ViewError> {
    match state {
        None => {}
        Some(State::Succeeded) => filter.state = Some(JobState::Succeeded),
        Some(State::Dead) => filter.state = Some(JobState::Dead),
        Some(State::Cancelled) => filter.state = Some(JobState::Cancelled),
        Some(State::Delayed) => {
            filter.state = Some(JobState::Queued);
            filter.due = Some(false);
        }
        Some(State::Queued) => {
            filter.state = Some(JobState::Queued);
            filter.due = Some(true);
            filter.without = running(queues, filter.queue).await?;
        }
        Some(State::Running) => {
            filter.state = Some(JobState::Queued);
            filter.among = Some(running(queues, filter.queue).await?);
        }
    }
    let before = page.after.map(|cursor: Cursor| JobId(cursor.id()));
    let rows = jobs::list(connection, &filter, before, u32::from(page.limit) + 1).await?;
    let Page { items, next } = page.page(rows, |row| row.id.0);
    Ok(Page { items: current(connection, queues, items).await?, next })
}

async fn running(queues: &Queues, queue: Option<QueueName>) -> Result<Vec<JobId>, redis::RedisError> {
    let mut ids = HashSet::new();
    for queue in queue.map_or_else(|| QUEUES.to_vec(), |queue| vec![queue]) {
        ids.extend(queues.running(queue).await?);
    }
    Ok(ids.into_iter().collect())
}

/// A queue's figures and settings.
#[derive(Debug, Clone)]
pub struct QueueView {
    /// The queue.
    pub queue: QueueName,
    /// Redis' figures, and in `delayed` also the jobs that wait in the ledger alone.
    pub stats: QueueStats,
    /// What was set, in the ledger.
    pub settings: Settings,
    /// Dead letters of all organisations.
    pub dead: u64,
    /// How long the oldest ready job has been due.
    pub oldest_ready_age: Option<Duration>,
}

/// As [`queue`], from the ledger alone, for while Redis is away: what runs counts as ready, and what ended lately is not known.
///
/// # Errors
/// When Postgres is away.
pub async fn queue_from_ledger(connection: &mut PgConnection, queue: QueueName) -> Result<QueueView, sqlx::Error> {
    let mut stats = QueueStats::default();
    for (priority, count) in db::queues::due_by_priority(connection, queue).await? {
        stats.ready[usize::from(Priority::from_level(priority).level())] += u64::try_from(count).unwrap_or(0);
    }
    let later = db::queues::due_later_than(connection, queue, Duration::ZERO).await?;
    stats.delayed = u64::try_from(later).unwrap_or(0);
    view_of_queue(connection, queue, stats, &[]).await
}

/// A queue's figures and settings.
///
/// # Errors
/// When Postgres or Redis is away.
pub async fn queue(connection: &mut PgConnection, queues: &Queues, queue: QueueName) -> Result<QueueView, ViewError> {
    let mut stats = queues.stats(queue).await?;
    let running = queues.running(queue).await?;
    // Those that are due later wait in the ledger alone.
    let later = db::queues::due_later_than(connection, queue, HORIZON).await?;
    stats.delayed += u64::try_from(later).unwrap_or(0);
    Ok(view_of_queue(connection, queue, stats, &running).await?)
}

async fn view_of_queue(
    connection: &mut PgConnection,
    queue: QueueName,
    stats: QueueStats,
    running: &[JobId],
) -> Result<QueueView, sqlx::Error> {
    let oldest = jobs::oldest_due(connection, queue, running).await?;
    let now = jobs::now(connection).await?;
    Ok(QueueView {
        queue,
        stats,
        settings: db::queues::settings(connection, queue).await?,
        dead: u64::try_from(db::queues::dead_count(connection, queue).await?).unwrap_or(0),
        oldest_ready_age: oldest.map(|due| (now - due).to_std().unwrap_or_default()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ids::OrgId;
    use crate::queue::Meta;

    fn row(state: JobState, delay_ms: i64) -> JobRow {
        JobRow {
            id: JobId::new(),
            org_id: OrgId::new(),
            kind: "probe".to_owned(),
            queue: "probe".to_owned(),
            priority: 2,
            state,
            payload: json!({}),
            revision: 0,
            attempt: 2,
            max_attempts: 5,
            snoozes: 0,
            timeout_ms: 1000,
            run_at: Utc::now(),
            delay_ms,
            created_at: Utc::now(),
            started_at: None,
            finished_at: None,
            unique_key: None,
            blocked_by: None,
            trace_context: None,
            worker: None,
            progress_percent: None,
            progress_message: None,
            result: None,
            error: None,
            error_class: None,
            dead_reason: None,
            replays: 0,
        }
    }

    #[test]
    fn the_ledger_alone_tells_queued_from_delayed() {
        assert_eq!(JobView::from_ledger(row(JobState::Queued, 0)).state, State::Queued);
        assert_eq!(JobView::from_ledger(row(JobState::Queued, 1)).state, State::Delayed);
        assert_eq!(JobView::from_ledger(row(JobState::Dead, 1)).state, State::Dead);
    }

    #[test]
    fn a_running_job_shows_the_attempt_that_runs() {
        let since = Utc::now();
        let state = LiveState::Running { since, worker: "w1".to_owned() };
        let view = JobView::with_live(row(JobState::Queued, 0), Live { state, meta: Meta::default() });
        assert_eq!((view.state, view.attempt, view.started_at), (State::Running, 3, Some(since)));
        assert_eq!(view.worker.as_deref(), Some("w1"));
    }

    #[test]
    fn what_redis_does_not_know_is_shown_as_the_ledger_has_it() {
        let live = Live { state: LiveState::Unknown, meta: Meta::default() };
        assert_eq!(JobView::with_live(row(JobState::Queued, 5), live).state, State::Delayed);
    }
}
