//! The ledger's rules: how a job is accepted, how it ends, and how it comes back.
//!
//! Every function here works inside a transaction of its caller and touches Postgres only. What must follow in Redis is given back
//! and sent by [`publish`] after the commit. If that fails, nothing is lost: the reconciler finds the rows.

mod accept;
mod end;
pub mod keeping;
mod remove;
mod replay;

pub use accept::{Accepted, accept};
pub use end::{Ended, bury, cancel, succeed_one};
pub use remove::{Removal, lock_jobs, remove};
pub use replay::{Pace, ReplayError, ReplayPage, discard, discard_page, replay, replay_page};

use std::time::Duration;

use crate::{
    db::jobs::JobRow,
    queue::{QueueJob, Queues},
};

/// Jobs due later than this wait in the ledger alone; the reconciler brings them to Redis when they are near.
pub const HORIZON: Duration = Duration::from_secs(3600);

/// The jobs of these rows that Redis is to hold now.
pub fn near<'a>(rows: impl IntoIterator<Item = &'a JobRow>) -> Vec<QueueJob> {
    rows.into_iter().filter_map(JobRow::to_queue).filter(|job| job.delay <= HORIZON).collect()
}

/// Pushes committed jobs to Redis. A failure is not given back, because the jobs are safe: the reconciler pushes them. The log hears of the
/// first one.
pub async fn publish(queues: &Queues, rows: &[JobRow]) {
    let jobs = near(rows);
    if jobs.is_empty() {
        return;
    }
    if let Err(error) = queues.push(&jobs).await {
        metrics::counter!("millrace_push_failures_total").increment(1);
        tracing::debug!(error = %error, jobs = jobs.len(), "jobs are accepted but Redis did not take them");
    }
}

/// Sends a job's replaced payload to Redis. A failure is harmless: the ledger's revision tells the worker that its copy is old.
pub async fn publish_replacement(queues: &Queues, row: &JobRow) {
    let Some(job) = row.to_queue() else { return };
    if let Err(error) = queues.replace(&job).await {
        tracing::debug!(error = %error, "the replaced payload was not sent to Redis; workers read it from the ledger");
    }
}
