//! The ledger's side of a run's end.
//!
//! An end is written until Postgres takes it: while Postgres is away the job keeps its lease and its slot, and only a worker that must go
//! hands it back. Writing it twice is harmless, because the guard `state = 'queued'` lets one of the writes count.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use millrace_shared::{
    db::{
        self,
        jobs::JobRow,
        runs::{self, Failure, Success},
    },
    jobs::Policy,
    ledger,
    queue::{Meta, Queues},
};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgPool};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    batcher::Batcher,
    keeper::Stop,
    run::{Outcome, RunInfo, policy_of},
};
use crate::handler::{Effects, Handlers, JobContext, JobError, chain};

/// A job of a kind that this worker does not know waits this long for a worker that does.
const UNKNOWN_KIND_DELAY: Duration = Duration::from_secs(30);
/// The largest batch of successes in one statement.
const SUCCESS_BATCH: usize = 500;
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);
/// So often an end is written again that Postgres stopped for another transaction or for its time. Effects that never get through must
/// not hold a slot for ever.
const MAX_CONTENTION: u32 = 10;

/// What is left to do in Redis.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Conclusion {
    /// The job has ended.
    Forget,
    /// It waits, having been through this.
    Later {
        /// How long, in milliseconds.
        delay_ms: u64,
        attempt: u32,
        snoozes: u32,
    },
    /// It goes back to the front as it came.
    HandBack,
}

impl Conclusion {
    fn later(info: &RunInfo, delay: Duration, attempt: u32, snoozes: u32) -> Self {
        let longest = info.timeout.max(Duration::from_secs(366 * 24 * 3600));
        let delay_ms = u64::try_from(delay.min(longest).as_millis()).unwrap_or(u64::MAX);
        Self::Later { delay_ms, attempt, snoozes }
    }
}

type Plain = Result<bool, Arc<sqlx::Error>>;

/// Writes ends of runs to the ledger.
#[derive(Clone)]
pub(crate) struct Concluder {
    pool: PgPool,
    queues: Queues,
    handlers: Arc<Handlers>,
    worker: Arc<str>,
    successes: Batcher<Success, Plain>,
    /// Cancelled when the worker must go at once.
    give_up: CancellationToken,
}

impl fmt::Debug for Concluder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Concluder").field("worker", &self.worker).finish_non_exhaustive()
    }
}

/// Why an attempt failed.
struct Why {
    outcome: runs::Outcome,
    class: String,
    error: String,
    /// Whether another attempt may help.
    again: bool,
}

impl Concluder {
    pub(crate) fn new(
        pool: PgPool,
        queues: Queues,
        handlers: Arc<Handlers>,
        worker: Arc<str>,
        (tracker, give_up): (&TaskTracker, CancellationToken),
    ) -> Self {
        let (batch_pool, batch_worker) = (pool.clone(), Arc::clone(&worker));
        let successes = Batcher::new(tracker, SUCCESS_BATCH, move |batch: Vec<Success>| {
            let (pool, worker) = (batch_pool.clone(), Arc::clone(&batch_worker));
            async move { succeed_all(&pool, &worker, &batch).await }
        });
        Self { pool, queues, handlers, worker, successes, give_up }
    }

    /// Writes a run's end. It returns when that is safe in the ledger, or when the worker must go.
    pub(crate) async fn conclude(&self, info: &RunInfo, outcome: Outcome, elapsed: Duration) -> Conclusion {
        let policy = policy_of(&self.handlers, &info.kind);
        let why = match outcome {
            Outcome::Stopped(Stop::Cancelled) => return Conclusion::Forget,
            Outcome::Stopped(Stop::HandBack) => return Conclusion::HandBack,
            Outcome::NoHandler => {
                tracing::warn!("no handler for this kind here; the job waits for another worker");
                return Conclusion::later(info, UNKNOWN_KIND_DELAY, info.meta.attempt, info.meta.snoozes);
            }
            Outcome::Done(effects, context) => match self.succeed(info, &effects, &context, elapsed).await {
                Ok(conclusion) => return conclusion,
                Err(why) => why,
            },
            Outcome::Error(JobError::Snooze { after, source }) if info.meta.snoozes < policy.max_snoozes => {
                tracing::info!(job.snoozes = info.meta.snoozes + 1, error = chain(&*source), "job put off");
                return self.snooze(info, after).await;
            }
            Outcome::Error(JobError::Snooze { source, .. }) => Why {
                outcome: runs::Outcome::Failed,
                class: "snoozed_too_often".to_owned(),
                error: format!("put off {} times: {}", info.meta.snoozes, chain(&*source)),
                again: false,
            },
            Outcome::Error(JobError::Retry { class, source }) => failed(class, chain(&*source), true),
            Outcome::Error(JobError::Fail { class, source }) => failed(class, chain(&*source), false),
            Outcome::TimedOut => Why {
                outcome: runs::Outcome::TimedOut,
                class: "timeout".to_owned(),
                error: format!("exceeded its time limit of {} ms", info.timeout.as_millis()),
                again: true,
            },
            Outcome::Panicked(message) => Why {
                outcome: runs::Outcome::Panicked,
                class: "panic".to_owned(),
                error: format!("panicked: {}", message.replace('\0', "\u{fffd}")),
                again: true,
            },
        };
        self.fail(info, &policy, why, elapsed).await
    }

    /// Makes a job a dead letter whose process died, or which vanished with its workers too often.
    pub(crate) async fn convict(&self, info: &RunInfo, error: String, elapsed: Duration) -> Conclusion {
        let why = Why { outcome: runs::Outcome::Crashed, class: "poison".to_owned(), error, again: false };
        self.fail(info, &policy_of(&self.handlers, &info.kind), why, elapsed).await
    }

    async fn succeed(
        &self,
        info: &RunInfo,
        effects: &Effects,
        context: &JobContext,
        elapsed: Duration,
    ) -> Result<Conclusion, Why> {
        let success =
            move || Success { id: info.lease.id, attempt: info.attempt(), elapsed, result: effects.result.clone() };
        let written = if effects.is_plain() && !info.is_unique {
            self.persist(move || Box::pin(self.succeed_in_batch(success()))).await
        } else {
            self.persist(move || {
                Box::pin(async move { self.succeed_with(info, effects, context, &success()).await.map_err(Arc::new) })
            })
            .await
        };
        match written {
            Written::Done(true) => {
                metrics::counter!("millrace_jobs_ended_total", "kind" => info.kind.clone(), "outcome" => "succeeded")
                    .increment(1);
                Ok(Conclusion::Forget)
            }
            Written::Done(false) => {
                tracing::info!("the job had ended already; this delivery's effects are rolled back");
                Ok(Conclusion::Forget)
            }
            Written::GaveUp => Ok(Conclusion::HandBack),
            Written::Refused(error) => {
                Err(failed("effects", format!("the effects were refused: {}", chain(&*error)), true))
            }
        }
    }

    async fn succeed_in_batch(&self, success: Success) -> Plain {
        self.successes.run(success).await.unwrap_or_else(|| Err(Arc::new(sqlx::Error::WorkerCrashed)))
    }

    async fn succeed_with(
        &self,
        info: &RunInfo,
        effects: &Effects,
        context: &JobContext,
        success: &Success,
    ) -> sqlx::Result<bool> {
        let mut connection = self.pool.acquire().await?;
        let mut transaction = connection.begin().await?;
        let Some(ended) = ledger::succeed_one(&mut transaction, &self.worker, info.org, success).await? else {
            return Ok(false);
        };
        for write in &effects.writes {
            write.apply(&mut transaction, context).await?;
        }
        let followers = ledger::accept(&mut transaction, info.org, &effects.jobs).await?;
        transaction.commit().await?;
        let rows = followers.into_iter().map(ledger::Accepted::into_row).chain(ended.unblocked);
        ledger::publish(&self.queues, &rows.collect::<Vec<JobRow>>()).await;
        Ok(true)
    }

    async fn snooze(&self, info: &RunInfo, after: Duration) -> Conclusion {
        let snoozes = info.meta.snoozes + 1;
        let written = self
            .persist(move || Box::pin(async move { self.snooze_once(info, snoozes, after).await.map_err(Arc::new) }))
            .await;
        match written {
            Written::Done(true) => Conclusion::later(info, after, info.meta.attempt, snoozes),
            Written::Done(false) => Conclusion::Forget,
            Written::GaveUp | Written::Refused(_) => Conclusion::HandBack,
        }
    }

    async fn fail(&self, info: &RunInfo, policy: &Policy, why: Why, elapsed: Duration) -> Conclusion {
        let attempt = info.attempt();
        let failure = Failure {
            id: info.lease.id,
            org: info.org,
            attempt,
            elapsed,
            outcome: why.outcome,
            class: why.class,
            error: why.error,
        };
        let again = why.again && attempt < info.max_attempts;
        tracing::warn!(
            job.max_attempts = info.max_attempts,
            error.class = failure.class,
            error = failure.error,
            "{}",
            if again { "attempt failed; another one follows" } else { "attempt failed; the job is a dead letter" }
        );
        if again { self.retry(info, policy, &failure).await } else { self.bury(info, &failure, why.again).await }
    }

    async fn retry(&self, info: &RunInfo, policy: &Policy, failure: &Failure) -> Conclusion {
        let delay = policy.backoff.wait(failure.attempt, &mut rand::rng());
        let written = self
            .persist(move || Box::pin(async move { self.retry_once(failure, delay).await.map_err(Arc::new) }))
            .await;
        match written {
            Written::Done(true) => {
                metrics::counter!("millrace_retries_total", "kind" => info.kind.clone(), "class" => failure.class.clone()).increment(1);
                Conclusion::later(info, delay, failure.attempt, info.meta.snoozes)
            }
            Written::Done(false) => Conclusion::Forget,
            Written::GaveUp => Conclusion::HandBack,
            Written::Refused(error) => {
                tracing::error!(error = chain(&*error), "the failed attempt could not be written");
                Conclusion::later(info, policy.backoff.cap, failure.attempt, info.meta.snoozes)
            }
        }
    }

    async fn bury(&self, info: &RunInfo, failure: &Failure, exhausted: bool) -> Conclusion {
        let reason = match failure.outcome {
            runs::Outcome::Crashed => "poison",
            _ if exhausted => "attempts_exhausted",
            _ => "failed",
        };
        let written = self
            .persist(move || Box::pin(async move { self.bury_once(failure, reason).await.map_err(Arc::new) }))
            .await;
        match written {
            Written::Done(counted) => {
                if counted {
                    metrics::counter!("millrace_jobs_ended_total", "kind" => info.kind.clone(), "outcome" => "dead")
                        .increment(1);
                    metrics::counter!("millrace_dead_letters_total", "kind" => info.kind.clone(), "reason" => reason)
                        .increment(1);
                }
                Conclusion::Forget
            }
            Written::GaveUp => Conclusion::HandBack,
            Written::Refused(error) => {
                tracing::error!(error = chain(&*error), "the dead letter could not be written; the job comes back");
                Conclusion::later(info, Duration::from_secs(60), info.meta.attempt, info.meta.snoozes)
            }
        }
    }

    async fn snooze_once(&self, info: &RunInfo, snoozes: u32, after: Duration) -> sqlx::Result<bool> {
        let mut connection = self.pool.acquire().await?;
        runs::snooze(&mut connection, info.lease.id, snoozes, after).await
    }

    async fn retry_once(&self, failure: &Failure, delay: Duration) -> sqlx::Result<bool> {
        let mut connection = self.pool.acquire().await?;
        let mut transaction = connection.begin().await?;
        let counted = runs::retry(&mut transaction, &self.worker, failure, delay).await?;
        transaction.commit().await?;
        Ok(counted)
    }

    async fn bury_once(&self, failure: &Failure, reason: &str) -> sqlx::Result<bool> {
        let mut connection = self.pool.acquire().await?;
        let mut transaction = connection.begin().await?;
        let Some(ended) = ledger::bury(&mut transaction, &self.worker, failure, reason).await? else {
            return Ok(false);
        };
        transaction.commit().await?;
        ledger::publish(&self.queues, ended.unblocked.as_slice()).await;
        Ok(true)
    }

    /// Repeats a write while Postgres is away.
    async fn persist<'a>(&self, write: impl Fn() -> BoxFuture<'a, Plain> + Send) -> Written {
        let mut wait = Duration::from_millis(50);
        let mut stopped = 0;
        loop {
            let Some(result) = self.give_up.run_until_cancelled(write()).await else { return Written::GaveUp };
            match result {
                Ok(counted) => return Written::Done(counted),
                Err(error) if db::is_unavailable(&error) && stopped < MAX_CONTENTION => {
                    stopped += u32::from(db::is_contention(&error));
                    tracing::debug!(error = chain(&*error), "Postgres is away; the job's end waits for it");
                    if self.give_up.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                        return Written::GaveUp;
                    }
                    wait = (wait * 2).min(LONGEST_BACKOFF);
                }
                Err(error) => return Written::Refused(error),
            }
        }
    }
}

/// What became of a write.
enum Written {
    /// It is in; whether it counted, or the job had ended before.
    Done(bool),
    /// The worker must go, and Postgres did not come back in time.
    GaveUp,
    /// Postgres refuses it.
    Refused(Arc<sqlx::Error>),
}

fn failed(class: &str, error: String, again: bool) -> Why {
    Why { outcome: runs::Outcome::Failed, class: class.to_owned(), error, again }
}

/// Writes successes together; if Postgres refuses the batch, one by one, so that one bad result does not spoil the others.
async fn succeed_all(pool: &PgPool, worker: &str, batch: &[Success]) -> Vec<Plain> {
    match succeed_batch(pool, worker, batch).await {
        Err(error) if batch.len() > 1 && !db::is_unavailable(&error) => {
            let mut results = Vec::with_capacity(batch.len());
            for success in batch {
                let single = succeed_batch(pool, worker, std::slice::from_ref(success)).await;
                results.push(single.map(|ended| !ended.is_empty()).map_err(Arc::new));
            }
            results
        }
        Err(error) => {
            let error = Arc::new(error);
            batch.iter().map(|_| Err(Arc::clone(&error))).collect()
        }
        Ok(ended) => batch.iter().map(|success| Ok(ended.contains(&success.id))).collect(),
    }
}

async fn succeed_batch(
    pool: &PgPool,
    worker: &str,
    batch: &[Success],
) -> sqlx::Result<std::collections::HashSet<millrace_shared::ids::JobId>> {
    let mut connection = pool.acquire().await?;
    runs::succeed(&mut connection, worker, batch).await.map(|ended| ended.into_iter().collect())
}

/// What a job has been through after its conclusion.
pub(crate) fn meta_after(info: &RunInfo, attempt: u32, snoozes: u32) -> Meta {
    Meta { attempt, lost: info.meta.lost, snoozes }
}
