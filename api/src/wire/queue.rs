use millrace_shared::jobs::{FieldError, Rate, RateError};
use millrace_shared::queue::Settings;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The largest limit; more is no limit.
pub(super) const MAX_CONCURRENCY: u32 = 1_000_000;

/// What is wrong with a limit.
pub(super) fn concurrency(field: &str, limit: Option<u32>) -> Option<FieldError> {
    let is_wrong = limit.is_some_and(|limit| !(1..=MAX_CONCURRENCY).contains(&limit));
    is_wrong.then(|| FieldError::new(field, format!("must be from 1 to {MAX_CONCURRENCY}, or null for no limit")))
}

/// What is wrong with a rate.
fn wrong_rate(field: &str, rate: Rate) -> Option<FieldError> {
    let error = Rate::checked(rate.count, rate.period_ms).err()?;
    let part = if error == RateError::Count { "count" } else { "period_ms" };
    Some(FieldError::new(format!("{field}.{part}"), error.to_string()))
}

/// What was set for a queue.
#[derive(Debug, Serialize, ToSchema)]
pub struct QueueSettings {
    /// Its name.
    pub queue: &'static str,
    /// Whether workers leave it alone.
    pub paused: bool,
    /// How many jobs may run at once, and begin in how long.
    pub limits: QueueLimits,
}

/// How many jobs of a queue may run at once, and begin in how long, over all workers. Absent or null means no limit.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "concurrency": null, "org_concurrency": 8, "rate": { "count": 10, "period_ms": 1000 } }))]
pub struct QueueLimits {
    /// Of all organisations together.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub concurrency: Option<u32>,
    /// Of each organisation.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub org_concurrency: Option<u32>,
    /// How many may begin in how long, of all organisations together.
    #[serde(default)]
    pub rate: Option<Rate>,
    /// Of each organisation.
    #[serde(default)]
    pub org_rate: Option<Rate>,
}

impl QueueLimits {
    /// Every field that is wrong.
    #[must_use]
    pub fn wrong(&self) -> Vec<FieldError> {
        let limits = [("concurrency", self.concurrency), ("org_concurrency", self.org_concurrency)];
        let rates = [("rate", self.rate), ("org_rate", self.org_rate)];
        let limits = limits.into_iter().filter_map(|(field, limit)| concurrency(field, limit));
        limits.chain(rates.into_iter().filter_map(|(field, rate)| wrong_rate(field, rate?))).collect()
    }
}

impl From<Settings> for QueueLimits {
    fn from(settings: Settings) -> Self {
        let Settings { concurrency, org_concurrency, rate, org_rate, .. } = settings;
        Self { concurrency, org_concurrency, rate, org_rate }
    }
}
