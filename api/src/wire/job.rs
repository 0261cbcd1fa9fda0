use chrono::{DateTime, Utc};
use millrace_shared::db::attempts::AttemptRow;
use millrace_shared::db::jobs::JobState as LedgerState;
use millrace_shared::ids::JobId;
use millrace_shared::jobs::{JobRequest, Kind, OnConflict, Priority as SharedPriority};
use millrace_shared::views::{JobView, State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Timestamp;
use crate::extract::Object;

/// How urgent a job is. Higher levels are served first, lower ones are never starved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Before everything else.
    Critical,
    /// Before what is normal.
    High,
    /// The default.
    Normal,
    /// After everything else.
    Low,
}

impl From<Priority> for SharedPriority {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::Critical => Self::Critical,
            Priority::High => Self::High,
            Priority::Normal => Self::Normal,
            Priority::Low => Self::Low,
        }
    }
}

impl From<SharedPriority> for Priority {
    fn from(priority: SharedPriority) -> Self {
        match priority {
            SharedPriority::Critical => Self::Critical,
            SharedPriority::High => Self::High,
            SharedPriority::Normal => Self::Normal,
            SharedPriority::Low => Self::Low,
        }
    }
}

/// A job to be done.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "kind": "probe", "payload": { "sleep_ms": 50 }, "priority": "high" }))]
pub struct SubmitBody {
    /// One of `GET /v1/kinds`.
    pub kind: String,
    /// What the kind's schema asks for.
    #[serde(default = "empty_object")]
    #[schema(value_type = Object)]
    pub payload: Value,
    /// How urgent it is; `normal` unless told otherwise.
    #[serde(default)]
    pub priority: Option<Priority>,
    /// Not before this time, at most 366 days ahead. Excludes `delay_ms`.
    #[serde(default)]
    #[schema(value_type = Option<DateTime<Utc>>)]
    pub run_at: Option<Timestamp>,
    /// Not before so many milliseconds from now. Excludes `run_at`.
    #[serde(default)]
    #[schema(minimum = 0)]
    pub delay_ms: Option<u64>,
    /// Attempts before it becomes a dead letter; the kind's default otherwise.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 100)]
    pub max_attempts: Option<u16>,
    /// One attempt's time limit; the kind's default otherwise.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 86_400_000)]
    pub timeout_ms: Option<u64>,
    /// Only one job of this kind and key waits at a time; what a second one does is the kind's `on_conflict`.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 256)]
    pub unique_key: Option<String>,
}

fn empty_object() -> Value {
    Value::Object(serde_json::Map::new())
}

impl From<SubmitBody> for JobRequest {
    fn from(body: SubmitBody) -> Self {
        Self {
            kind: body.kind,
            payload: body.payload,
            priority: body.priority.map(Into::into).unwrap_or_default(),
            run_at: body.run_at.map(|time| time.0),
            delay_ms: body.delay_ms,
            max_attempts: body.max_attempts,
            timeout_ms: body.timeout_ms,
            unique_key: body.unique_key,
        }
    }
}

/// Jobs to be taken in together, all or none.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchBody {
    /// The jobs, in order.
    #[schema(value_type = Vec<SubmitBody>, min_items = 1, max_items = 1000)]
    pub jobs: Vec<Object<SubmitBody>>,
}

/// The jobs that were taken in, in the order of the request.
#[derive(Debug, Serialize, ToSchema)]
pub struct Accepted {
    /// The jobs.
    pub jobs: Vec<Job>,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It can run as soon as a worker is free.
    Queued,
    /// It waits for its time.
    Delayed,
    /// A worker has it.
    Running,
    /// It ended well.
    Succeeded,
    /// It was given up: see the dead letters.
    Dead,
    /// It was cancelled.
    Cancelled,
}

impl From<State> for JobState {
    fn from(state: State) -> Self {
        match state {
            State::Queued => Self::Queued,
            State::Delayed => Self::Delayed,
            State::Running => Self::Running,
            State::Succeeded => Self::Succeeded,
            State::Dead => Self::Dead,
            State::Cancelled => Self::Cancelled,
        }
    }
}

impl From<JobState> for State {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Queued => Self::Queued,
            JobState::Delayed => Self::Delayed,
            JobState::Running => Self::Running,
            JobState::Succeeded => Self::Succeeded,
            JobState::Dead => Self::Dead,
            JobState::Cancelled => Self::Cancelled,
        }
    }
}

/// A job.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({
    "id": "0193e4a8-6f4e-7c3a-9d55-0f6a3c1b2d7e", "kind": "probe", "queue": "probe", "state": "running", "priority": "high",
    "attempt": 2, "max_attempts": 5, "run_at": "2026-01-31T08:00:03Z", "created_at": "2026-01-31T08:00:00Z",
    "started_at": "2026-01-31T08:00:03Z", "finished_at": null, "progress": { "percent": 40, "message": "sleeping" },
    "result": null, "error": { "class": "probe", "message": "failed as told" },
    "attempts": [{
        "attempt": 1, "started_at": "2026-01-31T08:00:00Z", "ended_at": "2026-01-31T08:00:01Z", "outcome": "failed",
        "error": { "class": "probe", "message": "failed as told" }, "worker": "worker-1"
    }]
}))]
pub struct Job {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    pub id: JobId,
    /// Its kind.
    pub kind: String,
    /// The queue it is in.
    pub queue: String,
    /// Where it stands.
    pub state: JobState,
    /// How urgent it is.
    pub priority: Priority,
    /// The attempt that runs or ran last, from 1; 0 before the first.
    pub attempt: u32,
    /// Attempts before it becomes a dead letter.
    pub max_attempts: i32,
    /// When it is or was due.
    pub run_at: DateTime<Utc>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When the last run began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// How far the handler says it is.
    pub progress: Option<Progress>,
    /// What the handler gave back.
    #[schema(value_type = Option<Object>)]
    pub result: Option<Value>,
    /// Why the last attempt failed.
    pub error: Option<JobError>,
    /// Every attempt that ended, in order. Only where one job is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Vec<Attempt>>,
}

/// How far a job is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Progress {
    /// 0 to 100.
    pub percent: i16,
    /// What it is doing.
    pub message: String,
}

/// Why an attempt failed.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct JobError {
    /// A stable word for the sort of error, such as `timeout` or `encrypted`.
    pub class: String,
    /// The error and its causes.
    pub message: String,
}

/// An attempt that ended.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Attempt {
    /// From 1.
    pub attempt: i32,
    /// When it began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// `succeeded`, `failed`, `timed_out`, `panicked` or `crashed`.
    pub outcome: String,
    /// Why it failed.
    pub error: Option<JobError>,
    /// Which worker ran it.
    pub worker: Option<String>,
}

impl From<JobView> for Job {
    fn from(view: JobView) -> Self {
        let JobView { row, state, attempt, run_at, started_at, worker: _ } = view;
        let priority = row.priority().into();
        Self {
            id: row.id,
            kind: row.kind,
            queue: row.queue,
            state: state.into(),
            priority,
            attempt,
            max_attempts: row.max_attempts,
            run_at,
            created_at: row.created_at,
            started_at,
            finished_at: row.finished_at,
            progress: row
                .progress_percent
                .map(|percent| Progress { percent, message: row.progress_message.unwrap_or_default() }),
            result: row.result,
            error: error(row.error_class, row.error),
            attempts: None,
        }
    }
}

impl Job {
    /// The job with its history.
    #[must_use]
    pub fn with_attempts(view: JobView, failed: Vec<AttemptRow>) -> Self {
        let mut attempts: Vec<Attempt> = failed.into_iter().map(Attempt::from).collect();
        if view.row.state == LedgerState::Succeeded {
            attempts.push(Attempt {
                attempt: view.row.attempt,
                started_at: view.row.started_at,
                ended_at: view.row.finished_at,
                outcome: "succeeded".to_owned(),
                error: None,
                worker: view.row.worker.clone(),
            });
        }
        Self { attempts: Some(attempts), ..Self::from(view) }
    }
}

impl From<AttemptRow> for Attempt {
    fn from(row: AttemptRow) -> Self {
        Self {
            attempt: row.attempt,
            started_at: Some(row.started_at),
            ended_at: Some(row.ended_at),
            outcome: row.outcome,
            error: Some(JobError { class: row.error_class, message: row.error }),
            worker: Some(row.worker),
        }
    }
}

fn error(class: Option<String>, message: Option<String>) -> Option<JobError> {
    message.map(|message| JobError { class: class.unwrap_or_default(), message })
}

/// A job that was given up.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({
    "job_id": "0193e4a8-6f4e-7c3a-9d55-0f6a3c1b2d7e", "kind": "probe", "queue": "probe", "reason": "attempts_used_up",
    "error": { "class": "timeout", "message": "the attempt took longer than 60 s" }, "attempt": 5, "replays": 0,
    "created_at": "2026-01-31T08:00:00Z", "died_at": "2026-01-31T08:06:12Z", "payload": { "outcome": "hang" },
    "attempts": [{
        "attempt": 5, "started_at": "2026-01-31T08:05:12Z", "ended_at": "2026-01-31T08:06:12Z", "outcome": "timed_out",
        "error": { "class": "timeout", "message": "the attempt took longer than 60 s" }, "worker": "worker-1"
    }]
}))]
pub struct DeadLetter {
    /// The job's id; a replay keeps it.
    #[schema(value_type = uuid::Uuid)]
    pub job_id: JobId,
    /// Its kind.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// Why it was given up: attempts used up, a failure that no attempt can mend, a crash.
    pub reason: Option<String>,
    /// Why the last attempt failed.
    pub error: Option<JobError>,
    /// Attempts that were used up.
    pub attempt: i32,
    /// How often it was replayed before.
    pub replays: i32,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When it was given up.
    pub died_at: Option<DateTime<Utc>>,
    /// What it was to do. Only where one dead letter is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub payload: Option<Value>,
    /// Every attempt. Only where one dead letter is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Vec<Attempt>>,
}

impl From<millrace_shared::db::jobs::JobRow> for DeadLetter {
    fn from(row: millrace_shared::db::jobs::JobRow) -> Self {
        Self {
            job_id: row.id,
            kind: row.kind,
            queue: row.queue,
            reason: row.dead_reason,
            error: error(row.error_class, row.error),
            attempt: row.attempt,
            replays: row.replays,
            created_at: row.created_at,
            died_at: row.finished_at,
            payload: None,
            attempts: None,
        }
    }
}

/// A job kind.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "kind": "asset.process", "description": "Extracts an uploaded document's text and cuts it into chunks.", "queue": "asset",
    "policy": {
        "timeout_ms": 300_000, "max_attempts": 5, "backoff_base_ms": 1000, "backoff_cap_ms": 600_000, "on_conflict": "keep"
    },
    "schema": { "type": "object", "properties": { "asset_id": { "type": "string", "format": "uuid" } }, "required": ["asset_id"] }
}))]
pub struct KindInfo {
    /// The name to submit.
    pub kind: &'static str,
    /// What it does.
    pub description: &'static str,
    /// The queue its jobs go to.
    pub queue: &'static str,
    /// Its defaults.
    pub policy: KindPolicy,
    /// The JSON Schema (draft 2020-12) of its payload.
    #[schema(value_type = Object)]
    pub schema: Value,
}

/// A kind's defaults.
#[derive(Debug, Serialize, ToSchema)]
pub struct KindPolicy {
    /// One attempt's time limit.
    pub timeout_ms: u64,
    /// Attempts before a job becomes a dead letter.
    pub max_attempts: u16,
    /// The longest wait after the first failure; it doubles with each further one.
    pub backoff_base_ms: u64,
    /// The longest wait ever.
    pub backoff_cap_ms: u64,
    /// What a second job with the same unique key does: `keep` the waiting one, or `replace` its payload.
    pub on_conflict: &'static str,
}

impl From<&Kind> for KindInfo {
    fn from(kind: &Kind) -> Self {
        let millis = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            kind: kind.name,
            description: kind.description,
            queue: kind.queue.as_str(),
            policy: KindPolicy {
                timeout_ms: millis(kind.policy.timeout),
                max_attempts: kind.policy.max_attempts,
                backoff_base_ms: millis(kind.policy.backoff.base),
                backoff_cap_ms: millis(kind.policy.backoff.cap),
                on_conflict: match kind.policy.on_conflict {
                    OnConflict::Keep => "keep",
                    OnConflict::Replace => "replace",
                },
            },
            schema: kind.schema.clone(),
        }
    }
}
