use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::{
    db::{
        attempts::{self, AttemptRow},
        jobs::{self as rows, JobFilter, JobRow, JobState},
    },
    ids::{JobId, OrgId},
    jobs::{Priority, QueueName},
    queue::{Live, LiveState, Queues},
};

/// A job's state, as it is told to the world.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ViewState {
    /// Ready, or waiting behind another job of its unique key.
    Queued,
    /// Waiting for its time.
    Delayed,
    /// A worker has it.
    Running,
    /// Ended well.
    Succeeded,
    /// A dead letter.
    Dead,
    /// Cancelled before it ended.
    Cancelled,
}

impl ViewState {
    /// All states, in the order of a job's life.
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

    /// Whether the job has ended.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Dead | Self::Cancelled)
    }
}

/// How far a job is, as its handler told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct ProgressView {
    /// 0 to 100.
    pub percent: i16,
    /// What it is doing.
    pub message: String,
}

/// An error, for people and for filters.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct ErrorView {
    /// A stable word for the sort of error.
    pub class: String,
    /// The error chain.
    pub message: String,
}

/// How an attempt ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// It goes on.
    Running,
    /// It ended well.
    Succeeded,
    /// `failed`, `timed_out`, `panicked` or `crashed`.
    #[serde(untagged)]
    Ended(String),
}

impl AttemptOutcome {
    /// The outcome's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Ended(outcome) => outcome,
        }
    }
}

/// One attempt.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct AttemptView {
    /// Counted from 1.
    pub attempt: u32,
    /// When it began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended; nothing while it goes on.
    pub ended_at: Option<DateTime<Utc>>,
    /// How it ended.
    #[schema(value_type = String, example = "failed")]
    pub outcome: AttemptOutcome,
    /// Why, where it failed.
    pub error: Option<ErrorView>,
    /// Which worker had it.
    pub worker: Option<String>,
}

/// A job.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct JobView {
    /// Its id.
    #[schema(value_type = Uuid)]
    pub id: JobId,
    /// Whose it is.
    #[schema(value_type = Uuid)]
    pub org_id: OrgId,
    /// Its kind.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// Where it is in its life.
    pub state: ViewState,
    /// How urgent it is.
    pub priority: Priority,
    /// The number of the current or last attempt; 0 before the first one.
    pub attempt: u32,
    /// Attempts before it becomes a dead letter.
    pub max_attempts: u32,
    /// Not before this time.
    pub run_at: DateTime<Utc>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When the current or last attempt began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// How far it is.
    pub progress: Option<ProgressView>,
    /// What its handler gave back.
    pub result: Option<Value>,
    /// The last error.
    pub error: Option<ErrorView>,
    /// Why it is a dead letter.
    pub dead_reason: Option<String>,
    /// Every attempt that used one up, then the one that goes on or succeeded.
    pub attempts: Vec<AttemptView>,
}

/// A job with what only its owner and operators want to see.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct JobDetail {
    /// The job.
    #[serde(flatten)]
    pub job: JobView,
    /// What it was submitted with, or what that was replaced by.
    pub payload: Value,
    /// One attempt's time limit.
    pub timeout_ms: i64,
    /// Only one job of its kind with this key waits at a time.
    pub unique_key: Option<String>,
    /// The job of the same key that must end first.
    #[schema(value_type = Option<Uuid>)]
    pub blocked_by: Option<JobId>,
    /// How often it was put off without using up an attempt.
    pub snoozes: i32,
    /// How often it came back from the dead letters.
    pub replays: i32,
}

/// The views of these rows, parallel to them. Where Redis is away, running jobs show as queued.
///
/// # Errors
/// Those of the database.
pub async fn jobs(connection: &mut PgConnection, queues: &Queues, rows: Vec<JobRow>) -> sqlx::Result<Vec<JobView>> {
    let merged = merge(connection, queues, rows).await?;
    Ok(merged.into_iter().map(|(row, live, attempts)| view(&row, live.as_ref(), attempts)).collect())
}

/// As [`jobs`], with payloads.
///
/// # Errors
/// Those of the database.
pub async fn details(
    connection: &mut PgConnection,
    queues: &Queues,
    rows: Vec<JobRow>,
) -> sqlx::Result<Vec<JobDetail>> {
    let merged = merge(connection, queues, rows).await?;
    let detail = |(row, live, attempts): (JobRow, Option<Live>, Vec<AttemptRow>)| JobDetail {
        job: view(&row, live.as_ref(), attempts),
        payload: row.payload,
        timeout_ms: row.timeout_ms,
        unique_key: row.unique_key,
        blocked_by: row.blocked_by,
        snoozes: row.snoozes,
        replays: row.replays,
    };
    Ok(merged.into_iter().map(detail).collect())
}

type Merged = (JobRow, Option<Live>, Vec<AttemptRow>);

async fn merge(connection: &mut PgConnection, queues: &Queues, mut rows: Vec<JobRow>) -> sqlx::Result<Vec<Merged>> {
    let mut live = live_of(queues, &rows).await;
    // A job that ended after its row was read is gone from Redis; shown as queued it would seem to go backwards.
    let is_gone = |row: &&JobRow| {
        row.to_queue().is_some() && live.get(&row.id).is_some_and(|live| live.state == LiveState::Unknown)
    };
    let gone: Vec<JobId> = rows.iter().filter(is_gone).map(|row| row.id).collect();
    if !gone.is_empty() {
        let limit = u32::try_from(gone.len()).unwrap_or(u32::MAX);
        let filter = JobFilter { among: Some(gone), ..JobFilter::default() };
        let again = rows::list(connection, &filter, None, limit).await?;
        let mut again: HashMap<JobId, JobRow> = again.into_iter().map(|row| (row.id, row)).collect();
        for row in &mut rows {
            if let Some(newer) = again.remove(&row.id) {
                *row = newer;
            }
        }
    }
    let ids: Vec<JobId> = rows.iter().map(|row| row.id).collect();
    let mut history: HashMap<JobId, Vec<AttemptRow>> = HashMap::new();
    for attempt in attempts::of_jobs(connection, &ids).await? {
        history.entry(attempt.job_id).or_default().push(attempt);
    }
    Ok(rows
        .into_iter()
        .map(|row| {
            let (live, attempts) = (live.remove(&row.id), history.remove(&row.id).unwrap_or_default());
            (row, live, attempts)
        })
        .collect())
}

/// The live view of those that have not ended; empty where Redis is away.
async fn live_of(queues: &Queues, rows: &[JobRow]) -> HashMap<JobId, Live> {
    let mut by_queue: HashMap<QueueName, Vec<JobId>> = HashMap::new();
    for row in rows.iter().filter(|row| row.state == JobState::Queued) {
        if let Ok(queue) = row.queue.parse() {
            by_queue.entry(queue).or_default().push(row.id);
        }
    }
    let mut found = HashMap::new();
    for (queue, ids) in by_queue {
        match queues.live(queue, &ids).await {
            Ok(live) => found.extend(ids.into_iter().zip(live)),
            Err(error) => {
                tracing::debug!(error = %error, "Redis is away; jobs are shown as the ledger has them");
                break;
            }
        }
    }
    found
}

fn view(row: &JobRow, live: Option<&Live>, history: Vec<AttemptRow>) -> JobView {
    let used = count(row.attempt);
    let running = live.and_then(|live| match &live.state {
        // The ledger knows of the attempt's end before Redis does.
        LiveState::Running { since, worker } if row.state == JobState::Queued && live.meta.attempt >= used => {
            Some((live.meta.attempt + 1, *since, worker.clone()))
        }
        _ => None,
    });
    let state = match row.state {
        JobState::Succeeded => ViewState::Succeeded,
        JobState::Dead => ViewState::Dead,
        JobState::Cancelled => ViewState::Cancelled,
        JobState::Queued if running.is_some() => ViewState::Running,
        JobState::Queued if live.is_some_and(|live| live.state == LiveState::Ready) => ViewState::Queued,
        JobState::Queued if row.delay_ms > 0 => ViewState::Delayed,
        JobState::Queued => ViewState::Queued,
    };
    let mut attempts: Vec<AttemptView> = history.into_iter().map(AttemptView::from).collect();
    if let Some((attempt, since, worker)) = &running {
        attempts.push(AttemptView {
            attempt: *attempt,
            started_at: Some(*since),
            ended_at: None,
            outcome: AttemptOutcome::Running,
            error: None,
            worker: Some(worker.clone()),
        });
    } else if row.state == JobState::Succeeded {
        attempts.push(AttemptView {
            attempt: used,
            started_at: row.started_at,
            ended_at: row.finished_at,
            outcome: AttemptOutcome::Succeeded,
            error: None,
            worker: row.worker.clone(),
        });
    }
    let last_start = attempts.last().and_then(|attempt| attempt.started_at);
    JobView {
        id: row.id,
        org_id: row.org_id,
        kind: row.kind.clone(),
        queue: row.queue.clone(),
        state,
        priority: row.priority(),
        attempt: running.map_or(used, |(attempt, _, _)| attempt),
        max_attempts: count(row.max_attempts),
        run_at: row.run_at,
        created_at: row.created_at,
        started_at: last_start.or(row.started_at.filter(|_| state.is_final())),
        finished_at: row.finished_at,
        progress: row
            .progress_percent
            .map(|percent| ProgressView { percent, message: row.progress_message.clone().unwrap_or_default() }),
        result: row.result.clone(),
        error: error(row.error_class.as_deref(), row.error.as_deref()),
        dead_reason: row.dead_reason.clone(),
        attempts,
    }
}

impl From<AttemptRow> for AttemptView {
    fn from(row: AttemptRow) -> Self {
        Self {
            attempt: count(row.attempt),
            started_at: Some(row.started_at),
            ended_at: Some(row.ended_at),
            outcome: AttemptOutcome::Ended(row.outcome),
            error: error(Some(&row.error_class), Some(&row.error)),
            worker: Some(row.worker),
        }
    }
}

fn error(class: Option<&str>, message: Option<&str>) -> Option<ErrorView> {
    let class = class?;
    Some(ErrorView { class: class.to_owned(), message: message.unwrap_or_default().to_owned() })
}

fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}
