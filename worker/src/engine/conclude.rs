//! The ledger's side of a run's end.
//!
//! An end is written until Postgres takes it: while Postgres is away the job keeps its lease and its slot, and only a worker that must go
//! hands it back. Writing it twice is harmless, because the guard `state = 'queued'` lets one of the writes count.

use std::{fmt, sync::Arc, time::Duration};

use millrace_shared::{
    db::runs::{self, Failure, Success},
    jobs::Policy,
    ledger,
    queue::{Meta, Queues},
};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgPool};
use tokio_util::sync::CancellationToken;

use super::{
    keeper::Stop,
    persist::{Written, persist},
    run::{Outcome, RunInfo, policy_of},
    truth::Truth,
};
use crate::handler::{Effects, Handlers, JobContext, JobError, Quoting, chain};

/// A job of a kind that this worker does not know waits this long for a worker that does.
const UNKNOWN_KIND_DELAY: Duration = Duration::from_secs(30);

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

/// Writes ends of runs to the ledger.
#[derive(Clone)]
pub(crate) struct Concluder {
    pub(crate) truth: Truth,
    pub(crate) pool: PgPool,
    pub(crate) queues: Queues,
    pub(crate) handlers: Arc<Handlers>,
    pub(crate) worker: Arc<str>,
    /// Cancelled when the worker must go at once.
    pub(crate) give_up: CancellationToken,
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
    /// What the log is told, where the error may not stand there.
    logged: Option<String>,
    /// Whether another attempt may help.
    again: bool,
}

impl Concluder {
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
                logged: None,
                again: false,
            },
            Outcome::Error(JobError::Retry { class, source }) => erred(class, &*source, true),
            Outcome::Error(JobError::Fail { class, source }) => erred(class, &*source, false),
            Outcome::TimedOut => Why {
                outcome: runs::Outcome::TimedOut,
                class: "timeout".to_owned(),
                error: format!("exceeded its time limit of {} ms", info.timeout.as_millis()),
                logged: None,
                again: true,
            },
            Outcome::Panicked(message) => Why {
                outcome: runs::Outcome::Panicked,
                class: "panic".to_owned(),
                error: format!("panicked: {}", message.replace('\0', "\u{fffd}")),
                logged: None,
                again: true,
            },
        };
        self.fail(info, &policy, why, elapsed).await
    }

    /// Makes a job a dead letter whose process died, or which vanished with its workers too often.
    pub(crate) async fn convict(&self, info: &RunInfo, error: String, elapsed: Duration) -> Conclusion {
        let why =
            Why { outcome: runs::Outcome::Crashed, class: "poison".to_owned(), error, logged: None, again: false };
        self.fail(info, &policy_of(&self.handlers, &info.kind), why, elapsed).await
    }

    async fn succeed(
        &self,
        info: &RunInfo,
        effects: &Effects,
        context: &JobContext,
        elapsed: Duration,
    ) -> Result<Conclusion, Why> {
        let success = Success { id: info.lease.id, attempt: info.attempt(), elapsed, result: effects.result.clone() };
        match self.persist(|| self.succeed_with(info, effects, context, &success)).await {
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
            Written::Refused(error) => Err(refused(&error)),
        }
    }

    /// Writes a failure instead of a success that Postgres refused.
    pub(crate) async fn refuse(&self, info: &RunInfo, error: &sqlx::Error, elapsed: Duration) -> Conclusion {
        self.fail(info, &policy_of(&self.handlers, &info.kind), refused(error), elapsed).await
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
        effects.prepare(&mut transaction, context).await?;
        let Some(ended) = ledger::succeed_one(&mut transaction, &self.worker, info.org, success).await? else {
            return Ok(false);
        };
        let mut followers = effects.write(&mut transaction, context).await?;
        transaction.commit().await?;
        effects.settled(context).await;
        followers.extend(ended.unblocked);
        ledger::publish(&self.queues, &followers).await;
        Ok(true)
    }

    async fn snooze(&self, info: &RunInfo, after: Duration) -> Conclusion {
        let snoozes = info.meta.snoozes + 1;
        match self.persist(|| self.snooze_once(info, snoozes, after)).await {
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
            error = why.logged.as_ref().unwrap_or(&failure.error),
            "{}",
            if again { "attempt failed; another one follows" } else { "attempt failed; the job is a dead letter" }
        );
        if again { self.retry(info, policy, &failure).await } else { self.bury(info, &failure, why.again).await }
    }

    async fn retry(&self, info: &RunInfo, policy: &Policy, failure: &Failure) -> Conclusion {
        let delay = policy.backoff.wait(failure.attempt, &mut rand::rng());
        match self.persist(|| self.retry_once(failure, delay)).await {
            Written::Done(true) => {
                metrics::counter!("millrace_retries_total", "kind" => info.kind.clone(), "class" => failure.class.clone()).increment(1);
                Conclusion::later(info, delay, failure.attempt, info.meta.snoozes)
            }
            Written::Done(false) => Conclusion::Forget,
            Written::GaveUp => Conclusion::HandBack,
            Written::Refused(error) => {
                tracing::error!(error = chain(&error), "the failed attempt could not be written");
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
        match self.persist(|| self.bury_once(failure, reason)).await {
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
                tracing::error!(error = chain(&error), "the dead letter could not be written; the job comes back");
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

    async fn persist<Fut: Future<Output = sqlx::Result<bool>>>(&self, write: impl Fn() -> Fut) -> Written<bool> {
        match self.truth {
            Truth::Ledger => persist(&self.give_up, write).await,
            Truth::RedisAlone => Written::Done(true),
        }
    }
}

fn refused(error: &sqlx::Error) -> Why {
    failed("effects", format!("the effects were refused: {}", chain(error)), true)
}

fn failed(class: &str, error: String, again: bool) -> Why {
    Why { outcome: runs::Outcome::Failed, class: class.to_owned(), error, logged: None, again }
}

fn erred(class: &str, source: &(dyn std::error::Error + Send + Sync + 'static), again: bool) -> Why {
    let logged = source.downcast_ref::<Quoting>().map(|error| error.logged.clone());
    Why { logged, ..failed(class, chain(source), again) }
}

/// What a job has been through after its conclusion.
pub(crate) fn meta_after(info: &RunInfo, attempt: u32, snoozes: u32) -> Meta {
    Meta { attempt, lost: info.meta.lost, snoozes }
}
