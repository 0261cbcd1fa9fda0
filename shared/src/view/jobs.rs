use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    db::jobs::JobState,
    ids::{JobId, OrgId},
    jobs::Priority,
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

    /// The ledger's state and, for what has not ended, whether it is due.
    pub(super) const fn in_ledger(self) -> (JobState, Option<bool>) {
        match self {
            Self::Queued => (JobState::Queued, Some(true)),
            Self::Delayed => (JobState::Queued, Some(false)),
            Self::Running => (JobState::Queued, None),
            Self::Succeeded => (JobState::Succeeded, None),
            Self::Dead => (JobState::Dead, None),
            Self::Cancelled => (JobState::Cancelled, None),
        }
    }

    /// Whether the job has ended.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Dead | Self::Cancelled)
    }
}

impl fmt::Display for ViewState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no state.
#[derive(Debug, thiserror::Error)]
#[error("unknown state `{0}`; known are queued, delayed, running, succeeded, dead and cancelled")]
pub struct UnknownState(String);

impl FromStr for ViewState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| UnknownState(text.to_owned()))
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
