//! What workers write to the ledger: the begin and the end of runs.
//!
//! All times are Postgres': a worker tells how long something took, never when.
//!
//! A statement on a batch says `id = ANY(ids)` and looks what goes with an id up in arrays of the same order, `values[width_bucket(id, ids)]`, for which
//! the ids are sorted. It does not join them: there is then no order and no method of a join to be chosen wrongly by statistics of an earlier
//! time, which reads the whole ledger for a batch (docs/adr/0004-partitioned-ledger.md).

use std::{borrow::Borrow, time::Duration};

use serde_json::Value;
use sqlx::{FromRow, PgConnection};

use super::jobs::{JobRow, columns};
use crate::{
    ids::{JobId, OrgId},
    jobs::MAX_DELAY,
};

/// A claimed job that is still to be done.
#[derive(Debug)]
pub enum Begun {
    /// It is what its envelope says, and has been through nothing.
    AsTold(JobId),
    /// The ledger knows more.
    Otherwise(Box<Known>),
}

/// What the ledger knows of a job.
#[derive(Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described where they are made, in the migration")]
pub struct Known {
    pub id: JobId,
    pub org_id: OrgId,
    pub kind: String,
    pub attempt: i32,
    pub max_attempts: i32,
    pub timeout_ms: i64,
    pub trace_context: Option<String>,
    pub checkpoint: Option<Value>,
    /// Only where the envelope's copy is missing or old.
    pub payload: Option<Value>,
    /// Whether the job holds a unique key, which its end must hand on.
    pub is_unique: bool,
}

/// Asks the ledger which of the claimed jobs are still to be done. `revisions` are those of the envelopes at hand, −1 where there is none, or
/// one without a payload. A job with a unique key is marked as started, so that a later submission queues behind it instead of replacing its
/// payload.
///
/// Most jobs are what their envelopes say; of those nothing but their ids travels.
///
/// # Errors
/// Those of the database.
pub async fn begin(connection: &mut PgConnection, ids: &[JobId], revisions: &[i32]) -> sqlx::Result<Vec<Begun>> {
    let mut asked: Vec<(JobId, i32)> = ids.iter().copied().zip(revisions.iter().copied()).collect();
    asked.sort_unstable();
    let (sorted, revisions): (Vec<JobId>, Vec<i32>) = asked.iter().copied().unzip();
    let mut as_told: Vec<JobId> = sqlx::query_scalar(
        "SELECT id FROM jobs WHERE id = ANY($1) AND state = 'queued' AND blocked_by IS NULL AND attempt = 0 AND checkpoint IS NULL \
         AND unique_key IS NULL AND revision = ($2::int[])[width_bucket(id, $1::uuid[])]",
    )
    .bind(sorted)
    .bind(revisions)
    .fetch_all(&mut *connection)
    .await?;
    let mut begun: Vec<Begun> = as_told.iter().copied().map(Begun::AsTold).collect();
    if as_told.len() < asked.len() {
        as_told.sort_unstable();
        asked.retain(|(id, _)| as_told.binary_search(id).is_err());
        begun.extend(begin_others(connection, &asked).await?.into_iter().map(|job| Begun::Otherwise(Box::new(job))));
    }
    Ok(begun)
}

/// `asked` is sorted.
async fn begin_others(connection: &mut PgConnection, asked: &[(JobId, i32)]) -> sqlx::Result<Vec<Known>> {
    let (ids, revisions): (Vec<JobId>, Vec<i32>) = asked.iter().copied().unzip();
    let mut known: Vec<Known> = sqlx::query_as(
        "SELECT id, org_id, kind, attempt, max_attempts, timeout_ms, trace_context, checkpoint, \
         CASE WHEN revision <> ($2::int[])[width_bucket(id, $1::uuid[])] THEN payload END AS payload, unique_key IS NOT NULL AS is_unique \
         FROM jobs WHERE id = ANY($1) AND state = 'queued' AND blocked_by IS NULL",
    )
    .bind(ids)
    .bind(revisions)
    .fetch_all(&mut *connection)
    .await?;
    // One by one, so that no two transactions ever wait for each other's rows in a circle.
    for job in known.iter_mut().filter(|job| job.is_unique) {
        let payload: Option<Value> = sqlx::query_scalar(
            "UPDATE jobs SET started_at = now() WHERE id = $1 AND state = 'queued' RETURNING payload",
        )
        .bind(job.id)
        .fetch_optional(&mut *connection)
        .await?;
        job.payload = payload.or(job.payload.take());
    }
    Ok(known)
}

/// A success to be written.
#[derive(Debug)]
pub struct Success {
    /// The job.
    pub id: JobId,
    /// The attempt that succeeded, counted from 1.
    pub attempt: u32,
    /// How long it ran.
    pub elapsed: Duration,
    /// What the handler gave back.
    pub result: Option<Value>,
}

/// Writes successes in one statement; gives the jobs that it ended. A job missing there had ended before.
///
/// # Errors
/// Those of the database.
pub async fn succeed(
    connection: &mut PgConnection,
    worker: &str,
    successes: &[impl Borrow<Success>],
) -> sqlx::Result<Vec<JobId>> {
    let mut successes: Vec<&Success> = successes.iter().map(Borrow::borrow).collect();
    successes.sort_unstable_by_key(|success| success.id);
    let ids: Vec<JobId> = successes.iter().map(|success| success.id).collect();
    sqlx::query_scalar(
        "UPDATE jobs SET state = 'succeeded', attempt = ($2::int[])[width_bucket(id, $1::uuid[])], finished_at = now(), worker = $5, \
         result = ($4::jsonb[])[width_bucket(id, $1)], \
         started_at = now() - ($3::bigint[])[width_bucket(id, $1)] * interval '1 millisecond', \
         checkpoint = NULL, error = NULL, error_class = NULL \
         WHERE id = ANY($1) AND state = 'queued' RETURNING id",
    )
    .bind(ids)
    .bind(successes.iter().map(|success| count(success.attempt)).collect::<Vec<_>>())
    .bind(successes.iter().map(|success| millis(success.elapsed)).collect::<Vec<_>>())
    .bind(successes.iter().map(|success| success.result.as_ref()).collect::<Vec<_>>())
    .bind(worker)
    .fetch_all(connection)
    .await
}

/// How an attempt ended that did not succeed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The handler gave an error.
    Failed,
    /// It ran out of time.
    TimedOut,
    /// It panicked.
    Panicked,
    /// Its process died.
    Crashed,
}

impl Outcome {
    /// The outcome, as rows and labels have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Panicked => "panicked",
            Self::Crashed => "crashed",
        }
    }
}

/// A failed attempt to be written.
#[derive(Debug)]
pub struct Failure {
    /// The job.
    pub id: JobId,
    /// The tenant.
    pub org: OrgId,
    /// The attempt, counted from 1.
    pub attempt: u32,
    /// How long it ran.
    pub elapsed: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// A stable word for the sort of error, such as `timeout` or `encrypted`.
    pub class: String,
    /// The error chain.
    pub error: String,
}

async fn record_attempt(connection: &mut PgConnection, worker: &str, failure: &Failure) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO job_attempts (job_id, org_id, attempt, started_at, ended_at, outcome, error, error_class, worker) \
         VALUES ($1, $2, $3, now() - $4 * interval '1 millisecond', now(), $5, $6, $7, $8) ON CONFLICT (job_id, attempt) DO NOTHING",
    )
    .bind(failure.id)
    .bind(failure.org)
    .bind(count(failure.attempt))
    .bind(millis(failure.elapsed))
    .bind(failure.outcome.as_str())
    .bind(&failure.error)
    .bind(&failure.class)
    .bind(worker)
    .execute(connection)
    .await
    .map(drop)
}

/// Writes a failed attempt after which the job waits `delay` for the next one. False where the job had ended.
///
/// # Errors
/// Those of the database.
pub async fn retry(
    connection: &mut PgConnection,
    worker: &str,
    failure: &Failure,
    delay: Duration,
) -> sqlx::Result<bool> {
    let changed = sqlx::query(
        // A zombie's attempt may be an old one by now; the count never goes back.
        "UPDATE jobs SET attempt = GREATEST(attempt, $2), run_at = now() + $3 * interval '1 millisecond', started_at = NULL, \
         error = $4, error_class = $5 WHERE id = $1 AND org_id = $6 AND state = 'queued'",
    )
    .bind(failure.id)
    .bind(count(failure.attempt))
    .bind(wait_ms(delay))
    .bind(&failure.error)
    .bind(&failure.class)
    .bind(failure.org)
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if changed == 1 {
        record_attempt(connection, worker, failure).await?;
    }
    Ok(changed == 1)
}

/// Puts a job off without using up an attempt. False where the job had ended.
///
/// # Errors
/// Those of the database.
pub async fn snooze(connection: &mut PgConnection, id: JobId, snoozes: u32, delay: Duration) -> sqlx::Result<bool> {
    let changed = sqlx::query(
        "UPDATE jobs SET snoozes = $2, run_at = now() + $3 * interval '1 millisecond', started_at = NULL \
         WHERE id = $1 AND state = 'queued'",
    )
    .bind(id)
    .bind(count(snoozes))
    .bind(wait_ms(delay))
    .execute(connection)
    .await?
    .rows_affected();
    Ok(changed == 1)
}

/// Makes a job a dead letter. `None` where the job had ended.
pub(crate) async fn bury(
    connection: &mut PgConnection,
    worker: &str,
    failure: &Failure,
    reason: &str,
) -> sqlx::Result<Option<JobRow>> {
    let row: Option<JobRow> = sqlx::query_as(concat!(
        "UPDATE jobs SET state = 'dead', attempt = GREATEST(attempt, $2), finished_at = now(), started_at = now() - $3 * interval '1 millisecond', \
         error = $4, error_class = $5, dead_reason = $6, worker = $7, discarded_at = NULL \
         WHERE id = $1 AND org_id = $8 AND state = 'queued' RETURNING ",
        columns!()
    ))
    .bind(failure.id)
    .bind(count(failure.attempt))
    .bind(millis(failure.elapsed))
    .bind(&failure.error)
    .bind(&failure.class)
    .bind(reason)
    .bind(worker)
    .bind(failure.org)
    .fetch_optional(&mut *connection)
    .await?;
    if row.is_some() {
        record_attempt(connection, worker, failure).await?;
    }
    Ok(row)
}

/// Keeps a job's progress, for people who look.
///
/// # Errors
/// Those of the database.
pub async fn progress(connection: &mut PgConnection, id: JobId, percent: u8, message: &str) -> sqlx::Result<()> {
    sqlx::query("UPDATE jobs SET progress_percent = $2, progress_message = $3 WHERE id = $1 AND state = 'queued'")
        .bind(id)
        .bind(i16::from(percent.min(100)))
        .bind(message)
        .execute(connection)
        .await
        .map(drop)
}

/// Keeps a job's checkpoint for its next run, whatever ends this one.
///
/// # Errors
/// Those of the database.
pub async fn checkpoint(connection: &mut PgConnection, id: JobId, value: &Value) -> sqlx::Result<()> {
    sqlx::query("UPDATE jobs SET checkpoint = $2 WHERE id = $1 AND state = 'queued'")
        .bind(id)
        .bind(value)
        .execute(connection)
        .await
        .map(drop)
}

/// The effect of a probe.
///
/// # Errors
/// Those of the database.
pub async fn probe_effect(connection: &mut PgConnection, org: OrgId, job: JobId, attempt: u32) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO probe_effects (job_id, org_id, attempt) VALUES ($1, $2, $3)")
        .bind(job)
        .bind(org)
        .bind(count(attempt))
        .execute(connection)
        .await
        .map(drop)
}

fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A wait as a statement takes it; longer than any that is allowed would be no time that Postgres knows.
pub(super) fn wait_ms(delay: Duration) -> i64 {
    millis(delay.min(MAX_DELAY))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
