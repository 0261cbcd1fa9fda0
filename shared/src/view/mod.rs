//! What people and programs are shown: the ledger's rows merged with Redis' live view.
//!
//! The ledger says that a job is queued; whether it waits, is put off or runs, only Redis knows. API and command line show the
//! same picture, so it is put together here, once. The ledger alone is enough for all of it except what runs: where Redis is
//! away, nothing here fails.

mod jobs;
mod list;
mod merge;
mod queues;

pub use jobs::{AttemptOutcome, AttemptView, ErrorView, JobDetail, JobView, ProgressView, UnknownState, ViewState};
pub use list::{JobQuery, ListError, list};
pub use merge::{details, jobs};
pub use queues::{LimitsView, QueueView, ReadyView, queues};

use std::{io, time::Duration};

use redis::{RedisError, RedisResult};

/// The longest wait for Redis before a view does without it: nobody looks at a job for seconds while a connection is tried again.
const LIVE_TIMEOUT: Duration = Duration::from_secs(1);

async fn in_time<T>(call: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    let late = |_| RedisError::from(io::Error::from(io::ErrorKind::TimedOut));
    tokio::time::timeout(LIVE_TIMEOUT, call).await.map_err(late)?
}
