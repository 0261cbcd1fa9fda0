use millrace_shared::jobs::Priority;
use millrace_shared::queue::Settings;
use millrace_shared::views::QueueView;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A queue's figures, over all organisations.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "queue": "asset", "ready": { "critical": 0, "high": 3, "normal": 120, "low": 0 }, "delayed": 7, "running": 4, "dead": 1,
    "oldest_ready_age_ms": 840, "paused": false, "finished_last_minute": 96,
    "limits": { "concurrency": null, "org_concurrency": 8 }
}))]
pub struct Queue {
    /// Its name.
    pub queue: &'static str,
    /// Jobs that can run as soon as a worker is free.
    pub ready: Ready,
    /// Jobs that wait for their time and are due within the hour.
    pub delayed: u64,
    /// Jobs that run.
    pub running: u64,
    /// Dead letters that nobody has replayed or discarded.
    pub dead: u64,
    /// How long the oldest ready job has been due.
    pub oldest_ready_age_ms: Option<u64>,
    /// Whether workers leave it alone.
    pub paused: bool,
    /// Jobs that ended in the last minute.
    pub finished_last_minute: u64,
    /// How many jobs may run at once.
    pub limits: QueueLimits,
}

/// What was set for a queue.
#[derive(Debug, Serialize, ToSchema)]
pub struct QueueSettings {
    /// Its name.
    pub queue: &'static str,
    /// Whether workers leave it alone.
    pub paused: bool,
    /// How many jobs may run at once.
    pub limits: QueueLimits,
}

/// Ready jobs by priority.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ready {
    pub critical: u64,
    pub high: u64,
    pub normal: u64,
    pub low: u64,
}

/// How many jobs of a queue may run at once, over all workers. Absent or null means no limit.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "concurrency": null, "org_concurrency": 8 }))]
pub struct QueueLimits {
    /// Of all organisations together.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub concurrency: Option<u32>,
    /// Of each organisation.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub org_concurrency: Option<u32>,
}

impl From<Settings> for QueueLimits {
    fn from(settings: Settings) -> Self {
        Self { concurrency: settings.concurrency, org_concurrency: settings.org_concurrency }
    }
}

impl From<QueueView> for Queue {
    fn from(view: QueueView) -> Self {
        let ready = |priority| view.stats.ready_at(priority);
        Self {
            queue: view.queue.as_str(),
            ready: Ready {
                critical: ready(Priority::Critical),
                high: ready(Priority::High),
                normal: ready(Priority::Normal),
                low: ready(Priority::Low),
            },
            delayed: view.stats.delayed,
            running: view.stats.running,
            dead: view.dead,
            oldest_ready_age_ms: view.oldest_ready_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            paused: view.settings.paused,
            finished_last_minute: view.stats.finished_last_minute,
            limits: view.settings.into(),
        }
    }
}
