//! Job kinds: what may be submitted, to which queue it goes, and how it is retried.
//!
//! A kind is a payload type with a policy ([`JobPayload`]). Everything else (validation, the published schema, `GET /v1/kinds`,
//! the CLI's listing, metric labels) follows from the [`Kinds`] registry, so that a new kind is one file here, one handler in
//! the worker, and one line in each registry.

mod asset;
mod crm;
mod policy;
mod probe;
mod rate;
mod registry;
mod submit;
mod webhook;

pub use asset::{AssetProcess, Fetch};
pub use crm::{CrmConnect, CrmPushRecord, CrmSync, CrmSyncRecord, FieldChange};
pub use policy::{Backoff, KindRate, OnConflict, Policy, RateScope};
pub use probe::{PacedProbe, Probe, ProbeLimit, ProbeOutcome};
pub use rate::{Rate, RateError};
pub use registry::{FieldError, JobPayload, Kind, KindSet, Kinds, SubmittedBy};
pub use submit::{JobRequest, MAX_DELAY, MAX_PAYLOAD_BYTES, NewJob, RunAt, SubmitError};
pub use webhook::WebhookDeliver;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The queues of this build, in the order in which they are listed.
pub const QUEUES: [QueueName; 4] = [QueueName("asset"), QueueName("crm"), QueueName("graph"), QueueName("probe")];

/// One of [`QUEUES`]; a name from outside becomes one only by parsing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(transparent)]
pub struct QueueName(&'static str);

impl QueueName {
    /// The name, as it stands in keys, rows and labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A name that is none of [`QUEUES`].
#[derive(Debug, thiserror::Error)]
#[error("unknown queue `{0}`; known are asset, crm, graph and probe")]
pub struct UnknownQueue(pub String);

impl FromStr for QueueName {
    type Err = UnknownQueue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        QUEUES.into_iter().find(|queue| queue.0 == text).ok_or_else(|| UnknownQueue(text.to_owned()))
    }
}

/// How urgent a job is. Within a queue a higher level is served first, but the lower ones keep a share of the claims.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    Default,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Priority {
    /// Before everything else.
    Critical = 0,
    /// Before what is normal.
    High = 1,
    /// The default.
    #[default]
    Normal = 2,
    /// After everything else, but never starved.
    Low = 3,
}

impl Priority {
    /// All levels, the most urgent first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Normal, Self::Low];

    /// The level's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// The level as the ledger and Redis keep it: 0 (critical) to 3 (low).
    #[must_use]
    pub const fn level(self) -> u8 {
        self as u8
    }

    /// The level of a stored number; whatever is out of range counts as `normal`, so that a row written by a later version still runs.
    #[must_use]
    pub const fn from_level(level: i16) -> Self {
        match level {
            0 => Self::Critical,
            1 => Self::High,
            3 => Self::Low,
            _ => Self::Normal,
        }
    }
}
