use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::{
    db::{
        attempts::{self, AttemptRow},
        jobs::JobRow,
    },
    ids::{JobId, OrgId},
    jobs::Priority,
    views::{JobView, State},
};

/// How far a job is, as its handler told.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Progress {
    /// 0 to 100.
    pub percent: i16,
    /// What it is doing.
    pub message: String,
}

/// An error, for people and for filters.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct ErrorText {
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
pub struct Attempt {
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
    pub error: Option<ErrorText>,
    /// Which worker had it.
    pub worker: Option<String>,
}

/// A job.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "0193e4a8-6f4e-7c3a-9d55-0f6a3c1b2d7e", "org_id": "0193e4a8-1c2d-7b3a-8e4f-5a6b7c8d9e0f", "kind": "probe",
    "queue": "probe", "state": "running", "priority": "high", "attempt": 2, "max_attempts": 5,
    "run_at": "2026-01-31T08:00:03Z", "created_at": "2026-01-31T08:00:00Z", "started_at": "2026-01-31T08:00:03Z",
    "finished_at": null, "progress": { "percent": 40, "message": "sleeping" }, "result": null,
    "error": { "class": "probe", "message": "failed as told" }, "dead_reason": null,
    "attempts": [
        {
            "attempt": 1, "started_at": "2026-01-31T08:00:00Z", "ended_at": "2026-01-31T08:00:01Z", "outcome": "failed",
            "error": { "class": "probe", "message": "failed as told" }, "worker": "worker-1"
        },
        {
            "attempt": 2, "started_at": "2026-01-31T08:00:03Z", "ended_at": null, "outcome": "running", "error": null,
            "worker": "worker-2"
        }
    ]
}))]
pub struct Job {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    pub id: JobId,
    /// Whose it is.
    #[schema(value_type = uuid::Uuid)]
    pub org_id: OrgId,
    /// Its kind.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// Where it is in its life.
    pub state: State,
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
    pub progress: Option<Progress>,
    /// What its handler gave back.
    pub result: Option<Value>,
    /// The last error.
    pub error: Option<ErrorText>,
    /// Why it is a dead letter.
    pub dead_reason: Option<String>,
    /// Every attempt that used one up, then the one that goes on or succeeded.
    pub attempts: Vec<Attempt>,
}

/// A job with what only its owner and operators want to see.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct JobDetail {
    /// The job.
    #[serde(flatten)]
    pub job: Job,
    /// What it was submitted with, or what that was replaced by.
    pub payload: Value,
    /// One attempt's time limit.
    pub timeout_ms: i64,
    /// Only one job of its kind with this key waits at a time.
    pub unique_key: Option<String>,
    /// The job of the same key that must end first.
    #[schema(value_type = Option<uuid::Uuid>)]
    pub blocked_by: Option<JobId>,
    /// How often it was put off without using up an attempt.
    pub snoozes: i32,
    /// How often it came back from the dead letters.
    pub replays: i32,
}

/// These views with their histories, in their order.
///
/// # Errors
/// Those of the database.
pub async fn jobs(connection: &mut PgConnection, views: Vec<JobView>) -> sqlx::Result<Vec<Job>> {
    let mut histories = histories(connection, &views).await?;
    Ok(views.iter().map(|view| job(view, histories.remove(&view.row.id).unwrap_or_default())).collect())
}

/// As [`jobs`], with payloads.
///
/// # Errors
/// Those of the database.
pub async fn details(connection: &mut PgConnection, views: Vec<JobView>) -> sqlx::Result<Vec<JobDetail>> {
    let mut histories = histories(connection, &views).await?;
    let detail = |view: JobView| JobDetail {
        job: job(&view, histories.remove(&view.row.id).unwrap_or_default()),
        payload: view.row.payload,
        timeout_ms: view.row.timeout_ms,
        unique_key: view.row.unique_key,
        blocked_by: view.row.blocked_by,
        snoozes: view.row.snoozes,
        replays: view.row.replays,
    };
    Ok(views.into_iter().map(detail).collect())
}

async fn histories(connection: &mut PgConnection, views: &[JobView]) -> sqlx::Result<HashMap<JobId, Vec<AttemptRow>>> {
    let ids: Vec<JobId> = views.iter().map(|view| view.row.id).collect();
    let mut histories: HashMap<JobId, Vec<AttemptRow>> = HashMap::new();
    for attempt in attempts::of_jobs(connection, &ids).await? {
        histories.entry(attempt.job_id).or_default().push(attempt);
    }
    Ok(histories)
}

/// A job that was accepted a moment ago and has no history.
#[must_use]
pub fn accepted(row: JobRow) -> Job {
    job(&JobView::from_ledger(row), Vec::new())
}

fn job(view: &JobView, history: Vec<AttemptRow>) -> Job {
    let row = &view.row;
    let mut attempts: Vec<Attempt> = history.into_iter().map(Attempt::from).collect();
    // The ledger keeps those that failed; this one is known from the job itself.
    let outcome = match view.state {
        State::Running => Some(AttemptOutcome::Running),
        State::Succeeded => Some(AttemptOutcome::Succeeded),
        State::Queued | State::Delayed | State::Dead | State::Cancelled => None,
    };
    attempts.extend(outcome.map(|outcome| Attempt {
        attempt: view.attempt,
        started_at: view.started_at,
        ended_at: row.finished_at,
        outcome,
        error: None,
        worker: view.worker.clone(),
    }));
    let progress = |percent| Progress { percent, message: row.progress_message.clone().unwrap_or_default() };
    Job {
        id: row.id,
        org_id: row.org_id,
        kind: row.kind.clone(),
        queue: row.queue.clone(),
        state: view.state,
        priority: row.priority(),
        attempt: view.attempt,
        max_attempts: count(row.max_attempts),
        run_at: view.run_at,
        created_at: row.created_at,
        started_at: view.started_at.or(attempts.last().and_then(|attempt| attempt.started_at)),
        finished_at: row.finished_at,
        progress: row.progress_percent.map(progress),
        result: row.result.clone(),
        error: error_of(row),
        dead_reason: row.dead_reason.clone(),
        attempts,
    }
}

impl From<AttemptRow> for Attempt {
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

fn error(class: Option<&str>, message: Option<&str>) -> Option<ErrorText> {
    let class = class?;
    Some(ErrorText { class: class.to_owned(), message: message.unwrap_or_default().to_owned() })
}

/// Why a row's last attempt failed.
#[must_use]
pub fn error_of(row: &JobRow) -> Option<ErrorText> {
    error(row.error_class.as_deref(), row.error.as_deref())
}

fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_plain_words_in_json() {
        for outcome in [AttemptOutcome::Running, AttemptOutcome::Succeeded, AttemptOutcome::Ended("failed".to_owned())]
        {
            assert_eq!(serde_json::to_value(&outcome).expect("a word"), outcome.as_str());
        }
    }
}
