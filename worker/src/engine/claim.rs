//! The claimer: leases what there are free slots for, asks the ledger about it, and passes it on.
//!
//! One semaphore is the concurrency limit, the size of a claim, and the barrier of a drain.

use std::{collections::HashMap, sync::Arc, time::Duration};

use millrace_shared::{
    control::{self, RestoreError},
    db::runs,
    ids::JobId,
    jobs::QueueName,
    queue::{Claim, ClaimStatus, Claimed, GiveBack, MAX_BATCH, Queues},
};
use rand::RngExt as _;
use sqlx::{PgConnection, PgPool};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::{pace::Gate, run::Run};

/// An idle claimer asks again after this time even if nothing woke it, in case the message got lost.
const FALLBACK: Duration = Duration::from_secs(5);
const SHORTEST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// Claims for one queue.
#[derive(Debug)]
pub(crate) struct Claimer {
    pub(crate) queue: QueueName,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) lease: Duration,
    pub(crate) worker: Arc<str>,
    pub(crate) queues: Queues,
    pub(crate) gate: Gate,
    pub(crate) pool: PgPool,
    pub(crate) bell: Arc<Notify>,
    /// Rung when Redis turns out to have lost its data.
    pub(crate) reconciler: Arc<Notify>,
    pub(crate) claimed: mpsc::Sender<Run>,
    /// Ends the claims; nothing is claimed after it.
    pub(crate) drain: CancellationToken,
}

/// Why nothing can be claimed for now.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("Redis is away")]
    Redis(#[from] redis::RedisError),
    #[error("Postgres is away")]
    Postgres(#[from] sqlx::Error),
    #[error("the queue's settings could not be restored")]
    Restore(#[from] RestoreError),
}

impl Claimer {
    /// Claims until the drain begins. The channel closes with it, which ends the queue's apalis worker when that has run dry.
    pub(crate) async fn run(self) {
        let mut trouble: Option<Duration> = None;
        while let Some(permits) = self.drain.run_until_cancelled(self.free_slots()).await {
            match self.claim(permits).await {
                Ok(pause) => {
                    if trouble.take().is_some() {
                        tracing::info!(queue = %self.queue, "claiming again");
                    }
                    if let Some(pause) = pause {
                        self.idle(pause).await;
                    }
                }
                Err(error) => {
                    let wait = trouble.map_or(SHORTEST_BACKOFF, |wait| (wait * 2).min(LONGEST_BACKOFF));
                    if trouble.replace(wait).is_none() {
                        tracing::warn!(queue = %self.queue, error = crate::handler::chain(&error), "not claiming until this is over");
                    }
                    let jittered = wait.mul_f64(rand::rng().random_range(0.5..1.0));
                    self.drain.run_until_cancelled(tokio::time::sleep(jittered)).await;
                }
            }
        }
    }

    /// Waits for a free slot and takes all that are free.
    async fn free_slots(&self) -> Vec<OwnedSemaphorePermit> {
        let mut permits = Vec::new();
        if let Ok(permit) = Arc::clone(&self.slots).acquire_owned().await {
            permits.push(permit);
        }
        while permits.len() < MAX_BATCH {
            let Ok(permit) = Arc::clone(&self.slots).try_acquire_owned() else { break };
            permits.push(permit);
        }
        permits
    }

    /// One claim. Gives how long to wait for the next one, or `None` where there may be more at once.
    async fn claim(&self, permits: Vec<OwnedSemaphorePermit>) -> Result<Option<Duration>, Trouble> {
        // First, so that nothing is claimed that could not begin: it would sit in its lease while others could run it.
        let mut ledger = self.pool.acquire().await?;
        let mut claim = self.queues.claim(self.queue, permits.len(), self.lease, &self.worker).await?;
        if claim.status == ClaimStatus::Lost {
            self.restore(&mut ledger).await?;
            return Ok(None);
        }
        let full = claim.jobs.len() == permits.len();
        let pause = (!full).then(|| claim.next_event.unwrap_or(FALLBACK).clamp(Duration::from_millis(1), FALLBACK));
        if !claim.jobs.is_empty() {
            metrics::counter!("millrace_claims_total", "queue" => self.queue.as_str())
                .increment(claim.jobs.len() as u64);
            self.gate.admit(self.queue, &mut claim).await?;
            self.hand_over(&mut ledger, claim, permits).await?;
        }
        Ok(pause)
    }

    /// Asks the ledger which claimed jobs are still to be done, passes those on, and forgets the others.
    async fn hand_over(
        &self,
        ledger: &mut PgConnection,
        claim: Claim,
        permits: Vec<OwnedSemaphorePermit>,
    ) -> Result<(), Trouble> {
        let begun = match begin(ledger, &claim.jobs).await {
            Ok(begun) => begun,
            Err(error) => {
                self.give_back(&claim.jobs).await?;
                return Err(error.into());
            }
        };
        let mut begun: HashMap<JobId, runs::Begun> = begun.into_iter().map(|job| (job.id, job)).collect();
        let mut ended = Vec::new();
        for (claimed, permit) in claim.jobs.into_iter().zip(permits) {
            if let Err(error) = &claimed.envelope {
                tracing::warn!(job.id = %claimed.lease.id, error = %error, "the envelope is not readable here; the job is taken from the ledger");
            }
            match begun.remove(&claimed.lease.id) {
                Some(begun) => {
                    let run = Run::new(self.queue, claimed, begun, Some(permit));
                    // It cannot be full, because it has room for all slots, and its receiver lives as long as the engine.
                    let _ = self.claimed.send(run).await;
                }
                None => ended.push((claimed.lease, claimed.org)),
            }
        }
        if !ended.is_empty() {
            tracing::debug!(queue = %self.queue, jobs = ended.len(), "claimed jobs that the ledger knows to have ended; forgotten");
            self.queues.settle(self.queue, &ended).await?;
        }
        Ok(())
    }

    async fn give_back(&self, jobs: &[Claimed]) -> redis::RedisResult<()> {
        let given_back: Vec<GiveBack> =
            jobs.iter().map(|job| GiveBack { lease: job.lease, org: job.org, delay: None, meta: job.meta }).collect();
        self.queues.give_back(self.queue, &given_back).await.map(drop)
    }

    /// Redis lost the queue: brings the settings back from the ledger, so that it may serve again, and has the jobs pushed.
    async fn restore(&self, ledger: &mut PgConnection) -> Result<(), Trouble> {
        control::restore(ledger, &self.queues, self.queue).await?;
        tracing::warn!(queue = %self.queue, "Redis had no data of this queue; it is being rebuilt from the ledger");
        self.reconciler.notify_one();
        Ok(())
    }

    async fn idle(&self, pause: Duration) {
        tokio::select! {
            () = self.drain.cancelled() => {}
            () = self.bell.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn begin(ledger: &mut PgConnection, jobs: &[Claimed]) -> sqlx::Result<Vec<runs::Begun>> {
    let ids: Vec<JobId> = jobs.iter().map(|job| job.lease.id).collect();
    let revision = |job: &Claimed| {
        let envelope = job.envelope.as_ref().ok()?;
        envelope.payload.is_some().then_some(envelope.revision)
    };
    let revisions: Vec<i32> = jobs.iter().map(|job| revision(job).unwrap_or(-1)).collect();
    runs::begin(ledger, &ids, &revisions).await
}
