//! What a job kind's handler sees: its payload, its context, and how to end.
//!
//! A handler writes nothing to the ledger itself. It gives back [`Effects`], which the engine applies in the transaction that ends the
//! job: if that transaction does not count, because another delivery of the job was faster, neither do the effects.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use metrics::Histogram;
use millrace_shared::{
    db::{self, jobs::JobRow, runs},
    ids::{JobId, OrgId},
    jobs::{JobPayload, NewJob, Policy, Rate},
    ledger,
    queue::{Queues, RateKey, RateRequest},
};
use rand::RngExt as _;
use serde::de::DeserializeOwned;
use serde_json::{Value, value::RawValue};
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use crate::engine::{Switch, spread};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Progress is written at most so often; what comes faster is left out.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// How long a job waits, about, that found Postgres away or overloaded: longer each time, so that waiting jobs do not keep it overloaded.
const DATABASE_AWAY: Duration = Duration::from_secs(1);
/// How often that doubles at most.
const MAX_DOUBLINGS: u32 = 5;

/// How long a job waits that could not ask whether it is within a rate.
const REDIS_AWAY: Duration = Duration::from_secs(1);

/// A job kind's work.
#[async_trait]
pub(crate) trait Handler: Send + Sync + 'static {
    /// The kind.
    type Payload: JobPayload;

    /// Does the work. It is dropped where it stands when the job's time is up, the job is cancelled, or the worker must go.
    async fn run(&self, job: &JobContext, payload: Self::Payload) -> Result<Effects, JobError>;
}

/// How a handler fails.
#[derive(Debug)]
pub(crate) enum JobError {
    /// Another attempt may succeed.
    Retry {
        /// A stable word for the sort of error.
        class: &'static str,
        /// What happened.
        source: Source,
    },
    /// Nothing is wrong with the job, but now is not the time: it waits and uses up no attempt.
    Snooze {
        /// How long.
        after: Duration,
        /// Why.
        source: Source,
    },
    /// No further attempt can help.
    Fail {
        /// A stable word for the sort of error.
        class: &'static str,
        /// What happened.
        source: Source,
    },
}

impl JobError {
    pub(crate) fn retry(class: &'static str, source: impl Into<Source>) -> Self {
        Self::Retry { class, source: source.into() }
    }

    pub(crate) fn fail(class: &'static str, source: impl Into<Source>) -> Self {
        Self::Fail { class, source: source.into() }
    }
}

/// An error whose text quotes what came from outside. The ledger keeps it for those whose job it is; the log is told something else.
#[derive(Debug, thiserror::Error)]
#[error("{quoting}")]
pub(crate) struct Quoting {
    /// What went wrong.
    pub(crate) quoting: String,
    /// The same, without a word that came from outside.
    pub(crate) logged: String,
}

/// An error and what caused it, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    // Postgres refuses NUL in text, and an error may quote anything.
    text.replace('\0', "\u{fffd}")
}

/// A write to Postgres inside the completing transaction. It may be applied again if the transaction has to be repeated.
#[async_trait]
pub(crate) trait Write: Send + Sync {
    async fn apply(&self, connection: &mut PgConnection, job: &JobContext) -> sqlx::Result<()>;
}

/// A write whose jobs to follow are known only when it is made: which of its rows are new is decided inside the transaction.
#[async_trait]
pub(crate) trait Follow: Send + Sync {
    /// Called at the transaction's begin, before it ends the job: the place for locks that must come before that of the job's own row.
    async fn prepare(&self, _connection: &mut PgConnection, _job: &JobContext) -> sqlx::Result<()> {
        Ok(())
    }

    /// Writes, and gives the jobs that follow from it. It may be called again if the transaction has to be repeated.
    async fn apply(&self, connection: &mut PgConnection, job: &JobContext) -> sqlx::Result<Vec<NewJob>>;

    /// Called when the transaction of the last [`apply`](Self::apply) counts, to tell others of what it did. A crash may prevent it.
    async fn settled(&self, _job: &JobContext) {}
}

/// What a success brings about.
#[derive(Default)]
pub(crate) struct Effects {
    /// What the job's `result` shows.
    pub(crate) result: Option<Value>,
    /// Jobs that follow.
    pub(crate) jobs: Vec<NewJob>,
    /// Rows to be written.
    pub(crate) writes: Vec<Box<dyn Write>>,
    /// Rows to be written, and jobs that follow from how that went.
    pub(crate) follows: Vec<Box<dyn Follow>>,
}

impl Effects {
    /// Takes the locks that must come before the job's end.
    pub(crate) async fn prepare(&self, transaction: &mut PgConnection, job: &JobContext) -> sqlx::Result<()> {
        for follow in &self.follows {
            follow.prepare(transaction, job).await?;
        }
        Ok(())
    }

    /// Writes all of it but the result, in the completing transaction. Gives the jobs that follow, to be pushed after the commit.
    pub(crate) async fn write(&self, transaction: &mut PgConnection, job: &JobContext) -> sqlx::Result<Vec<JobRow>> {
        for write in &self.writes {
            write.apply(transaction, job).await?;
        }
        let mut jobs = self.jobs.clone();
        for follow in &self.follows {
            jobs.extend(follow.apply(transaction, job).await?);
        }
        let accepted = ledger::accept(transaction, job.org, &jobs).await?;
        Ok(accepted.into_iter().map(ledger::Accepted::into_row).collect())
    }

    /// Tells those who wait for it that the transaction counts.
    pub(crate) async fn settled(&self, job: &JobContext) {
        for follow in &self.follows {
            follow.settled(job).await;
        }
    }

    /// Whether a batch of successes can be written at once: nothing but the job's own row is touched.
    pub(crate) fn is_plain(&self) -> bool {
        self.jobs.is_empty() && self.writes.is_empty() && self.follows.is_empty()
    }
}

impl fmt::Debug for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Effects")
            .field("jobs", &self.jobs.len())
            .field("writes", &self.writes.len())
            .field("follows", &self.follows.len())
            .finish_non_exhaustive()
    }
}

/// A running job, as its handler sees it.
pub(crate) struct JobContext {
    /// The job.
    pub(crate) id: JobId,
    /// The tenant.
    pub(crate) org: OrgId,
    /// The attempt, counted from 1.
    pub(crate) attempt: u32,
    /// How often it was put off so far.
    pub(crate) snoozes: u32,
    /// When its time is up.
    pub(crate) deadline: Instant,
    pub(crate) switch: Switch,
    pub(crate) pool: PgPool,
    pub(crate) queues: Arc<Queues>,
    pub(crate) checkpoint: Mutex<Option<Value>>,
    pub(crate) last_progress: Mutex<Option<Instant>>,
}

impl JobContext {
    /// Cancelled when the handler must end; a handler that starts processes or tasks passes it on.
    pub(crate) fn cancellation(&self) -> CancellationToken {
        self.switch.token()
    }

    /// How much of its time is left.
    pub(crate) fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Takes one of what a rate allows its organisation under a key; where there is none left, the job is put off until its place comes, and
    /// this call then lets it through. Several calls take several.
    pub(crate) async fn limit(&self, key: &str, rate: Rate) -> Result<(), JobError> {
        self.within(RateKey::named(Some(self.org), key), key, rate).await
    }

    /// As [`Self::limit`], for all organisations together.
    pub(crate) async fn limit_of_all(&self, key: &str, rate: Rate) -> Result<(), JobError> {
        self.within(RateKey::named(None, key), key, rate).await
    }

    async fn within(&self, key: RateKey, name: &str, rate: Rate) -> Result<(), JobError> {
        let answers = self.queues.within_rates(&[RateRequest { key, rate, job: self.id }]).await;
        let answers = answers.map_err(|error| JobError::Snooze { after: REDIS_AWAY, source: error.into() })?;
        match answers.waits.first().copied().flatten() {
            None => Ok(()),
            Some(wait) => {
                let source = format!("over the rate of {rate} for `{name}`").into();
                Err(JobError::Snooze { after: spread(wait), source })
            }
        }
    }

    /// An error of our own database. While it is away the job is put off, because that is no fault of the job's.
    pub(crate) fn database(&self, error: sqlx::Error) -> JobError {
        if !db::is_unavailable(&error) {
            return JobError::retry("database", error);
        }
        let longest = DATABASE_AWAY * (1 << self.snoozes.min(MAX_DOUBLINGS));
        JobError::Snooze { after: longest.mul_f64(rand::rng().random_range(0.5..1.0)), source: error.into() }
    }

    /// Tells people how far the job is. Losing this is harmless, so an error is not the handler's concern.
    pub(crate) async fn progress(&self, percent: u8, message: &str) {
        {
            let mut last = self.last_progress.lock().unwrap_or_else(PoisonError::into_inner);
            if percent < 100 && last.is_some_and(|at| at.elapsed() < PROGRESS_INTERVAL) {
                return;
            }
            *last = Some(Instant::now());
        }
        let written = async { runs::progress(&mut *self.pool.acquire().await?, self.id, percent, message).await };
        if let Err(error) = written.await {
            tracing::debug!(job.id = %self.id, error = %error, "progress was not written");
        }
    }

    /// Keeps a value for the job's next run, whatever ends this one: a retry, a loss, a deploy.
    pub(crate) async fn checkpoint(&self, value: Value) -> Result<(), JobError> {
        let written = async { runs::checkpoint(&mut *self.pool.acquire().await?, self.id, &value).await };
        written.await.map_err(|error| self.database(error))?;
        *self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        Ok(())
    }

    /// The last checkpoint, of this run or an earlier one. One that does not fit `T`, because the code has changed, counts as none.
    pub(crate) fn saved<T: DeserializeOwned>(&self) -> Option<T> {
        let saved = self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        serde_json::from_value(saved).ok()
    }
}

impl fmt::Debug for JobContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobContext").field("id", &self.id).field("attempt", &self.attempt).finish_non_exhaustive()
    }
}

type Run = dyn for<'a> Fn(&'a JobContext, Box<RawValue>) -> BoxFuture<'a, Result<Effects, JobError>> + Send + Sync;

/// A registered handler.
pub(crate) struct Registered {
    /// The kind's defaults.
    pub(crate) policy: Policy,
    /// Decodes the payload and runs the handler.
    pub(crate) run: Box<Run>,
    /// How long its runs take, in seconds.
    duration: Histogram,
}

/// The handlers of a worker, by kind. Made once the process' metrics are set up, which it belongs to.
#[derive(Default)]
pub(crate) struct Handlers(HashMap<&'static str, Registered>);

impl Handlers {
    /// Adds a handler for its kind.
    #[must_use]
    pub(crate) fn with<H: Handler>(mut self, handler: H) -> Self {
        let handler = Arc::new(handler);
        let run: Box<Run> = Box::new(move |job, payload| {
            let handler = Arc::clone(&handler);
            Box::pin(async move {
                // The payload met the schema when it was accepted; a misfit means that the schema has changed since.
                let payload = serde_json::from_str(payload.get()).map_err(|error| JobError::fail("payload", error))?;
                handler.run(job, payload).await
            })
        });
        let duration = metrics::histogram!("millrace_job_duration_seconds", "kind" => H::Payload::KIND);
        self.0.insert(H::Payload::KIND, Registered { policy: H::Payload::POLICY, run, duration });
        self
    }

    /// The handler of a kind.
    pub(crate) fn get(&self, kind: &str) -> Option<&Registered> {
        self.0.get(kind)
    }

    /// Notes how long a run took.
    pub(crate) fn note_duration(&self, kind: &str, elapsed: Duration) {
        if let Some(handler) = self.get(kind) {
            handler.duration.record(elapsed.as_secs_f64());
        }
    }

    /// The kinds that have a handler.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.kinds()).finish()
    }
}
