use chrono::{DateTime, Utc};
use millrace_shared::db::jobs::JobRow;
use millrace_shared::ids::JobId;
use millrace_shared::jobs::{JobRequest, Kind, OnConflict, Priority, RateScope};
use millrace_shared::wire::{self, Attempt, ErrorText, Job};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Timestamp;
use crate::extract::Object;

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
            priority: body.priority.unwrap_or_default(),
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

/// A job that was given up.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({
    "job_id": "0193e4a8-6f4e-7c3a-9d55-0f6a3c1b2d7e", "kind": "probe", "queue": "probe", "reason": "attempts_exhausted",
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
    pub error: Option<ErrorText>,
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

impl From<JobRow> for DeadLetter {
    fn from(row: JobRow) -> Self {
        Self {
            job_id: row.id,
            error: wire::error_of(&row),
            kind: row.kind,
            queue: row.queue,
            reason: row.dead_reason,
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
        "timeout_ms": 300_000, "max_attempts": 5, "backoff_base_ms": 1000, "backoff_cap_ms": 600_000, "on_conflict": "keep", "rate": null
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
    /// How many of its jobs may begin in how long; null: as many as can.
    pub rate: Option<KindRate>,
}

/// A kind's rate. Jobs over it wait for their place, which uses up no attempt.
#[derive(Debug, Serialize, ToSchema)]
pub struct KindRate {
    /// How many.
    pub count: u32,
    /// In how long, in milliseconds.
    pub period_ms: u64,
    /// Whose are counted together: each `organisation`'s, or all of the `kind`.
    pub scope: &'static str,
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
                rate: kind.policy.rate.map(|limit| KindRate {
                    count: limit.rate.count,
                    period_ms: limit.rate.period_ms,
                    scope: match limit.scope {
                        RateScope::Organisation => "organisation",
                        RateScope::Kind => "kind",
                    },
                }),
            },
            schema: kind.schema.clone(),
        }
    }
}
