//! Whom the engine asks what is true.

use millrace_shared::{
    control::{self, RestoreError},
    db::runs::{self, Begun},
    ids::JobId,
    jobs::QueueName,
    queue::{Claimed, Queues, Settings},
};
use sqlx::{PgPool, Postgres, pool::PoolConnection};

/// Where the truth is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Truth {
    /// In the ledger.
    Ledger,
    /// Nowhere: what Redis says is taken for true, and ends are not written. Only for the benchmark of the queue alone.
    RedisAlone,
}

/// The claimer's way to the truth, held during a claim.
#[derive(Debug)]
pub(crate) enum Source {
    Ledger(PoolConnection<Postgres>),
    RedisAlone,
}

impl Truth {
    /// Reaches for it.
    pub(crate) async fn source(self, pool: &PgPool) -> sqlx::Result<Source> {
        match self {
            Self::Ledger => pool.acquire().await.map(Source::Ledger),
            Self::RedisAlone => Ok(Source::RedisAlone),
        }
    }
}

impl Source {
    /// Asks which of the claimed jobs are still to be done.
    pub(crate) async fn begin(&mut self, jobs: &[Claimed]) -> sqlx::Result<Vec<Begun>> {
        let Self::Ledger(connection) = self else {
            return Ok(jobs.iter().map(|job| Begun::AsTold(job.lease.id)).collect());
        };
        let ids: Vec<JobId> = jobs.iter().map(|job| job.lease.id).collect();
        let revision = |job: &Claimed| {
            let envelope = job.envelope.as_ref().ok()?;
            envelope.payload.is_some().then_some(envelope.revision)
        };
        let revisions: Vec<i32> = jobs.iter().map(|job| revision(job).unwrap_or(-1)).collect();
        runs::begin(connection, &ids, &revisions).await
    }

    /// Brings a queue's settings to a Redis that has lost them, upon which it serves the queue.
    pub(crate) async fn restore(&mut self, queues: &Queues, queue: QueueName) -> Result<(), RestoreError> {
        match self {
            Self::Ledger(connection) => control::restore(connection, queues, queue).await,
            Self::RedisAlone => Ok(queues.apply_settings(queue, Settings::default()).await?),
        }
    }
}
