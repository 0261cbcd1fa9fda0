//! The reconciler: whatever the ledger says is to be done, Redis is to know.
//!
//! One worker at a time does it, under an advisory lock. A row becomes of interest when its time comes, so everything goes by `run_at`:
//!
//! - what came due some seconds ago and is missing in Redis was accepted without its push (Redis was away, the process died);
//! - what is due within the horizon is brought in from the ledger, where later jobs wait;
//! - when the epoch of a queue's data has changed, Redis lost it, and all due rows are asked for.
//!
//! Asking costs Redis a lookup an id; rows are read only for what is missing. Pushing a job that is there is harmless.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use millrace_shared::{
    control::{self, RestoreError},
    db::jobs,
    ids::JobId,
    jobs::{QUEUES, QueueName},
    ledger::{self, HORIZON},
    queue::Queues,
};
use sqlx::{PgConnection, PgPool};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The advisory lock's key: the bytes of `millrace`.
const LOCK: i64 = i64::from_be_bytes(*b"millrace");
/// How often a follower asks whether the leader is gone, and how often the leader looks after the epochs.
const BEAT: Duration = Duration::from_secs(1);
/// How often what came due is compared.
const SWEEP: Duration = Duration::from_secs(5);
/// How often everything is compared, whatever the watermarks say.
const FULL_SWEEP: Duration = Duration::from_secs(600);
/// Rows younger than this are left to whoever accepted them, who is about to push them.
const QUIET: Duration = Duration::from_secs(3);
/// How far a sweep goes back behind the last one, for transactions that committed late.
const OVERLAP: Duration = Duration::from_secs(60);
const PAGE: u32 = 500;

/// See the module.
pub(crate) struct Reconciler {
    pub(crate) pool: PgPool,
    pub(crate) queues: Queues,
    /// Rung by a claimer that found Redis empty.
    pub(crate) bell: Arc<Notify>,
}

impl fmt::Debug for Reconciler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reconciler")
    }
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("Redis")]
    Redis(#[from] redis::RedisError),
    #[error("Postgres")]
    Postgres(#[from] sqlx::Error),
    #[error("settings")]
    Restore(#[from] RestoreError),
}

/// Up to where a queue has been compared.
#[derive(Clone, Debug)]
struct Swept {
    epoch: String,
    /// Everything that was due by then.
    due: DateTime<Utc>,
    /// Everything that is due by then has been brought in.
    near: DateTime<Utc>,
    full: Instant,
}

impl Reconciler {
    /// Waits for the lock, then reconciles, until `end`.
    pub(crate) async fn run(self, end: CancellationToken) {
        loop {
            match end.run_until_cancelled(self.lead()).await {
                None => return,
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::debug!(error = crate::handler::chain(&error), "reconciling is interrupted");
                }
            }
            if end.run_until_cancelled(tokio::time::sleep(BEAT)).await.is_none() {
                return;
            }
        }
    }

    /// Leads if nobody else does. Ends when the connection that holds the lock is lost, or with another error.
    async fn lead(&self) -> Result<(), Trouble> {
        let mut connection = self.pool.acquire().await?;
        let locked: bool =
            sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(LOCK).fetch_one(&mut *connection).await?;
        if !locked {
            return Ok(());
        }
        // Taken out of the pool: closing it, by whatever way this ends, is what frees the lock.
        let mut connection = connection.detach();
        tracing::debug!("this worker reconciles");
        let mut swept: HashMap<QueueName, Swept> = HashMap::new();
        let (mut next_sweep, mut wait) = (Instant::now(), BEAT);
        loop {
            let sweep_is_due = Instant::now() >= next_sweep;
            let mut all_well = true;
            for queue in QUEUES {
                match self.look_after(&mut connection, queue, &mut swept, sweep_is_due).await {
                    Ok(()) => {}
                    // Redis is away, or full. What is known of the other queues stays known, and they get their turn.
                    Err(Trouble::Redis(error) | Trouble::Restore(RestoreError::Redis(error))) => {
                        tracing::debug!(queue = %queue, error = %error, "reconciling has to wait for Redis");
                        all_well = false;
                    }
                    Err(error) => return Err(error),
                }
            }
            if sweep_is_due {
                next_sweep = Instant::now() + SWEEP;
            }
            wait = if all_well { BEAT } else { (wait * 2).min(SWEEP) };
            tokio::select! {
                () = self.bell.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn look_after(
        &self,
        connection: &mut PgConnection,
        queue: QueueName,
        swept: &mut HashMap<QueueName, Swept>,
        sweep_is_due: bool,
    ) -> Result<(), Trouble> {
        let epoch = match self.queues.epoch(queue).await? {
            Some(epoch) if !sweep_is_due => Some(epoch),
            // Also on every sweep, so that a setting made while Redis was away arrives.
            _ => {
                control::restore(connection, &self.queues, queue).await?;
                self.queues.epoch(queue).await?
            }
        };
        let Some(epoch) = epoch else { return Ok(()) };
        let now = jobs::now(connection).await?;
        match swept.get(&queue).cloned() {
            Some(last) if last.epoch == epoch && last.full.elapsed() < FULL_SWEEP => {
                if sweep_is_due {
                    let next = Swept { due: now - QUIET, near: now + HORIZON, ..last.clone() };
                    self.compare(connection, queue, (last.due - OVERLAP, next.due)).await?;
                    self.compare(connection, queue, (last.near, next.near)).await?;
                    swept.insert(queue, next);
                }
            }
            last => {
                // What is being accepted right now is pushed twice at worst, which is harmless.
                let pushed = self.compare(connection, queue, (DateTime::UNIX_EPOCH, now + HORIZON)).await?;
                if pushed > 0 || last.is_some_and(|last| last.epoch != epoch) {
                    tracing::info!(queue = %queue, jobs = pushed, "the queue was rebuilt from the ledger");
                }
                let next = Swept { epoch, due: now - QUIET, near: now + HORIZON, full: Instant::now() };
                swept.insert(queue, next);
            }
        }
        Ok(())
    }

    /// Pushes what is due in a span of time and missing in Redis. Gives how many jobs.
    async fn compare(
        &self,
        connection: &mut PgConnection,
        queue: QueueName,
        (mut after, until): (DateTime<Utc>, DateTime<Utc>),
    ) -> Result<usize, Trouble> {
        let (mut pushed, mut after_id) = (0, JobId(Uuid::nil()));
        loop {
            let page = jobs::due_page(connection, queue, (after, after_id), until, PAGE).await?;
            let ids: Vec<JobId> = page.iter().map(|(id, _)| *id).collect();
            let missing = self.queues.missing(queue, &ids).await?;
            if !missing.is_empty() {
                let rows = jobs::many(connection, &missing).await?;
                pushed += self.queues.push(&ledger::near(&rows)).await?;
            }
            match page.last() {
                Some((id, run_at)) if page.len() == PAGE as usize => (after, after_id) = (*run_at, *id),
                _ => break,
            }
        }
        if pushed > 0 {
            metrics::counter!("millrace_reconciled_total", "queue" => queue.as_str()).increment(pushed as u64);
        }
        Ok(pushed)
    }
}
