//! The claimer: leases what there is room for, asks the ledger about it, and puts it up for the slots.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use millrace_shared::{
    control::RestoreError,
    db::runs::{self, Begun},
    ids::JobId,
    jobs::QueueName,
    queue::{Claim, ClaimStatus, Claimed, Queues},
};
use rand::RngExt as _;
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    buffer::{Buffer, Pace, Place},
    pace::Gate,
    run::Run,
    settle::Settler,
    truth::{Source, Truth},
};

/// An idle claimer asks again after this time even if nothing woke it, in case the message got lost.
const FALLBACK: Duration = Duration::from_secs(5);
const SHORTEST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// Claims for one queue.
#[derive(Debug)]
pub(crate) struct Claimer {
    pub(crate) queue: QueueName,
    pub(crate) buffer: Arc<Buffer>,
    pub(crate) lease: Duration,
    pub(crate) worker: Arc<str>,
    pub(crate) queues: Queues,
    pub(crate) truth: Truth,
    pub(crate) gate: Gate,
    pub(crate) pool: PgPool,
    pub(crate) settler: Settler,
    pub(crate) bell: Arc<Notify>,
    /// Rung when Redis turns out to have lost its data.
    pub(crate) reconciler: Arc<Notify>,
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

/// What to do next.
enum Turn {
    /// There is room for jobs.
    Claim(Vec<Place>),
    /// These have waited too long for a slot.
    GiveBack(Vec<Run>),
}

/// What the ledger said of a claim's jobs.
struct Answers {
    /// Sorted.
    as_told: Vec<JobId>,
    otherwise: HashMap<JobId, Box<runs::Known>>,
}

impl Answers {
    fn new(begun: Vec<Begun>) -> Self {
        let mut answers = Self { as_told: Vec::with_capacity(begun.len()), otherwise: HashMap::new() };
        for one in begun {
            match one {
                Begun::AsTold(id) => answers.as_told.push(id),
                Begun::Otherwise(known) => drop(answers.otherwise.insert(known.id, known)),
            }
        }
        answers.as_told.sort_unstable();
        answers
    }

    /// The run of a claimed job that is still to be done.
    fn run(&mut self, queue: QueueName, claimed: Claimed, place: Place) -> Option<Run> {
        if self.as_told.binary_search(&claimed.lease.id).is_ok() {
            return Run::as_told(queue, claimed, place);
        }
        let known = self.otherwise.remove(&claimed.lease.id)?;
        Some(Run::new(queue, claimed, *known, Some(place)))
    }
}

impl Claimer {
    /// Claims until the drain begins; what has not been started by then goes back. That ends the queue's apalis worker.
    pub(crate) async fn run(self) {
        let mut trouble: Option<Duration> = None;
        let mut pace = Pace::new(Instant::now());
        let mut pause = None;
        while let Some(turn) = self.drain.run_until_cancelled(self.turn(&mut pace, pause.take())).await {
            let claimed = match turn {
                Turn::Claim(places) => {
                    let start = Instant::now();
                    let claimed = self.claim(places).await;
                    pace.claimed_within(start.elapsed());
                    claimed
                }
                Turn::GiveBack(late) => {
                    late.into_iter().for_each(|run| self.settler.hand_back(run));
                    continue;
                }
            };
            match claimed {
                Ok(next) => {
                    if trouble.take().is_some() {
                        tracing::info!(queue = %self.queue, "claiming again");
                    }
                    pause = next;
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
        self.buffer.close().into_iter().for_each(|run| self.settler.hand_back(run));
    }

    /// Waits until there may be something to claim and there is room for it, or until claimed jobs have waited too long.
    async fn turn(&self, pace: &mut Pace, pause: Option<Duration>) -> Turn {
        let room = async {
            if let Some(pause) = pause {
                self.idle(pause).await;
            }
            self.buffer.look_ahead(pace);
            self.buffer.room().await
        };
        tokio::select! {
            places = room => Turn::Claim(places),
            late = self.buffer.stale() => Turn::GiveBack(late),
        }
    }

    /// One claim. Gives how long to wait for the next one, or `None` where there may be more at once.
    async fn claim(&self, places: Vec<Place>) -> Result<Option<Duration>, Trouble> {
        // First, so that nothing is claimed that could not begin: it would sit in its lease while others could run it.
        let mut source = self.truth.source(&self.pool).await?;
        let mut claim = self.queues.claim(self.queue, places.len(), self.lease, &self.worker).await?;
        if claim.status == ClaimStatus::Lost {
            self.restore(&mut source).await?;
            return Ok(None);
        }
        let full = claim.jobs.len() == places.len();
        let pause = (!full).then(|| claim.next_event.unwrap_or(FALLBACK).clamp(Duration::from_millis(1), FALLBACK));
        if !claim.jobs.is_empty() {
            metrics::counter!("millrace_claims_total", "queue" => self.queue.as_str())
                .increment(claim.jobs.len() as u64);
            self.gate.admit(self.queue, &mut claim, &self.settler).await?;
            self.hand_over(&mut source, claim, places).await?;
        }
        Ok(pause)
    }

    /// Asks the ledger which claimed jobs are still to be done, puts those up for the slots, and forgets the others.
    async fn hand_over(&self, source: &mut Source, claim: Claim, places: Vec<Place>) -> Result<(), Trouble> {
        let begun = match source.begin(&claim.jobs).await {
            Ok(begun) => begun,
            Err(error) => {
                claim.jobs.iter().for_each(|job| self.settler.put_back(job, None));
                return Err(error.into());
            }
        };
        let mut begun = Answers::new(begun);
        let (mut runs, mut ended) = (Vec::with_capacity(claim.jobs.len()), Vec::new());
        for (claimed, place) in claim.jobs.into_iter().zip(places) {
            if let Err(error) = &claimed.envelope {
                tracing::warn!(job.id = %claimed.lease.id, error = %error, "the envelope is not readable here; the job is taken from the ledger");
            }
            let (lease, org) = (claimed.lease, claimed.org);
            match begun.run(self.queue, claimed, place) {
                Some(run) => runs.push(run),
                None => ended.push((lease, org)),
            }
        }
        self.buffer.add(runs);
        if !ended.is_empty() {
            tracing::debug!(queue = %self.queue, jobs = ended.len(), "claimed jobs that the ledger knows to have ended; forgotten");
            self.queues.settle(self.queue, &ended).await?;
        }
        Ok(())
    }

    /// Redis lost the queue: brings the settings back from the ledger, so that it may serve again, and has the jobs pushed.
    async fn restore(&self, source: &mut Source) -> Result<(), Trouble> {
        source.restore(&self.queues, self.queue).await?;
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
