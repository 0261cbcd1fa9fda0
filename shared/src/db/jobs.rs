//! The ledger's rows: `jobs`.
//!
//! Functions take a connection, so that the caller owns the transaction. Every change of state says `AND state = 'queued'` (or
//! `'dead'`) and gives back which rows it changed: a second delivery of a job changes none.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{FromRow, PgConnection};

use crate::{
    ids::{JobId, OrgId},
    jobs::{NewJob, Priority, QueueName, RunAt},
    queue::{Envelope, Meta, QueueJob, json_of},
};

/// A job's state in the ledger.
#[derive(Clone, Copy, PartialEq, Eq, Debug, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum JobState {
    /// Accepted and not ended.
    Queued,
    /// Ended well; its effects are in.
    Succeeded,
    /// A dead letter.
    Dead,
    /// Cancelled before it ended.
    Cancelled,
}

/// A whole row.
#[derive(Clone, Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described where they are made, in the migration")]
pub struct JobRow {
    pub id: JobId,
    pub org_id: OrgId,
    pub kind: String,
    pub queue: String,
    pub priority: i16,
    pub state: JobState,
    pub payload: Value,
    pub revision: i32,
    pub attempt: i32,
    pub max_attempts: i32,
    pub snoozes: i32,
    pub timeout_ms: i64,
    pub run_at: DateTime<Utc>,
    /// How far off `run_at` was on Postgres' clock when the row was read.
    pub delay_ms: i64,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    pub unique_key: Option<String>,
    pub blocked_by: Option<JobId>,
    pub trace_context: Option<String>,
    pub worker: Option<String>,
    pub progress_percent: Option<i16>,
    pub progress_message: Option<String>,
    pub result: Option<Value>,
    pub error: Option<String>,
    pub error_class: Option<String>,
    pub dead_reason: Option<String>,
    pub replays: i32,
}

/// The columns of [`JobRow`]. A macro, because statements are literals.
macro_rules! columns {
    () => {
        "id, org_id, kind, queue, priority, state, payload, revision, attempt, max_attempts, snoozes, timeout_ms, run_at, \
         GREATEST(0, CEIL(EXTRACT(EPOCH FROM run_at - now()) * 1000))::bigint AS delay_ms, created_at, started_at, \
         finished_at, unique_key, blocked_by, trace_context, worker, progress_percent, progress_message, result, error, \
         error_class, dead_reason, replays"
    };
}
pub(crate) use columns;

impl JobRow {
    /// The job as Redis is to hold it, or `None` where it must not be there: ended, or behind another job of its unique key.
    #[must_use]
    pub fn to_queue(&self) -> Option<QueueJob> {
        if self.state != JobState::Queued || self.blocked_by.is_some() {
            return None;
        }
        let envelope = Envelope {
            org: self.org_id,
            priority: self.priority(),
            kind: self.kind.clone(),
            timeout: Duration::from_millis(unsigned(self.timeout_ms)),
            max_attempts: u16::try_from(self.max_attempts).unwrap_or(u16::MAX),
            revision: self.revision,
            trace_context: self.trace_context.clone(),
            payload: Some(json_of(&self.payload)),
        };
        let meta = Meta {
            attempt: u32::try_from(self.attempt).unwrap_or(0),
            lost: 0,
            snoozes: u32::try_from(self.snoozes).unwrap_or(0),
        };
        let delay = Duration::from_millis(unsigned(self.delay_ms));
        Some(QueueJob { id: self.id, queue: self.queue.parse().ok()?, envelope, delay, meta })
    }

    /// How urgent it is.
    #[must_use]
    pub fn priority(&self) -> Priority {
        Priority::from_level(self.priority)
    }
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// What Postgres says of a row that it has just taken.
#[derive(FromRow)]
struct Taken {
    id: JobId,
    run_at: DateTime<Utc>,
    delay_ms: i64,
    created_at: DateTime<Utc>,
}

/// Inserts jobs of any organisations and gives their rows, in their order. `blocked_by` holds all of them back until that job ends.
///
/// # Errors
/// Those of the database.
pub async fn insert(
    connection: &mut PgConnection,
    jobs: &[(OrgId, &NewJob)],
    blocked_by: Option<JobId>,
) -> sqlx::Result<Vec<JobRow>> {
    let (mut delays, mut times) = (Vec::new(), Vec::new());
    for (_, job) in jobs {
        let (delay, time) = match job.run_at {
            RunAt::Now => (0, None),
            RunAt::After(delay) => (i64::try_from(delay.as_millis()).unwrap_or(i64::MAX), None),
            RunAt::At(time) => (0, Some(time)),
        };
        delays.push(delay);
        times.push(time);
    }
    let all = || jobs.iter().map(|(_, job)| *job);
    // Only what Postgres decides comes back: the payloads are here already.
    let taken: Vec<Taken> = sqlx::query_as(
        "INSERT INTO jobs (id, org_id, kind, queue, priority, payload, max_attempts, attempt_budget, timeout_ms, run_at, unique_key, \
         trace_context, blocked_by) \
         SELECT new.id, new.org_id, new.kind, new.queue, new.priority, new.payload, new.max_attempts, new.max_attempts, new.timeout_ms, \
         GREATEST(now(), COALESCE(new.at, now() + new.delay_ms * interval '1 millisecond')), new.unique_key, new.trace_context, $12 \
         FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::smallint[], $6::jsonb[], $7::int[], $8::bigint[], $9::bigint[], \
         $10::timestamptz[], $11::text[], $13::text[]) \
         AS new (id, org_id, kind, queue, priority, payload, max_attempts, timeout_ms, delay_ms, at, unique_key, trace_context) \
         RETURNING id, run_at, GREATEST(0, CEIL(EXTRACT(EPOCH FROM run_at - now()) * 1000))::bigint AS delay_ms, created_at",
    )
    .bind(all().map(|job| job.id).collect::<Vec<_>>())
    .bind(jobs.iter().map(|(org, _)| *org).collect::<Vec<_>>())
    .bind(all().map(|job| job.kind).collect::<Vec<_>>())
    .bind(all().map(|job| job.queue.as_str()).collect::<Vec<_>>())
    .bind(all().map(|job| i16::from(job.priority.level())).collect::<Vec<_>>())
    .bind(all().map(|job| &job.payload).collect::<Vec<_>>())
    .bind(all().map(|job| i32::from(job.max_attempts)).collect::<Vec<_>>())
    .bind(all().map(|job| i64::try_from(job.timeout.as_millis()).unwrap_or(i64::MAX)).collect::<Vec<_>>())
    .bind(delays)
    .bind(times)
    .bind(all().map(|job| job.unique_key.as_deref()).collect::<Vec<_>>())
    .bind(blocked_by)
    .bind(all().map(|job| job.trace_context.as_deref()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let taken: HashMap<JobId, Taken> = taken.into_iter().map(|row| (row.id, row)).collect();
    let rows = jobs.iter().map(|(org, job)| Some(new_row(*org, job, taken.get(&job.id)?, blocked_by)));
    rows.collect::<Option<_>>().ok_or(sqlx::Error::RowNotFound)
}

fn new_row(org: OrgId, job: &NewJob, taken: &Taken, blocked_by: Option<JobId>) -> JobRow {
    JobRow {
        id: job.id,
        org_id: org,
        kind: job.kind.to_owned(),
        queue: job.queue.as_str().to_owned(),
        priority: i16::from(job.priority.level()),
        state: JobState::Queued,
        payload: job.payload.clone(),
        revision: 0,
        attempt: 0,
        max_attempts: i32::from(job.max_attempts),
        snoozes: 0,
        timeout_ms: i64::try_from(job.timeout.as_millis()).unwrap_or(i64::MAX),
        run_at: taken.run_at,
        delay_ms: taken.delay_ms,
        created_at: taken.created_at,
        started_at: None,
        finished_at: None,
        unique_key: job.unique_key.clone(),
        blocked_by,
        trace_context: job.trace_context.clone(),
        worker: None,
        progress_percent: None,
        progress_message: None,
        result: None,
        error: None,
        error_class: None,
        dead_reason: None,
        replays: 0,
    }
}

/// A job of an organisation.
///
/// # Errors
/// Those of the database.
pub async fn find(connection: &mut PgConnection, org: OrgId, id: JobId) -> sqlx::Result<Option<JobRow>> {
    sqlx::query_as(concat!("SELECT ", columns!(), " FROM jobs WHERE org_id = $1 AND id = $2"))
        .bind(org)
        .bind(id)
        .fetch_optional(connection)
        .await
}

/// A job, whoever's it is: for the operator's command line, which stands above the tenants.
///
/// # Errors
/// Those of the database.
pub async fn find_any(connection: &mut PgConnection, id: JobId) -> sqlx::Result<Option<JobRow>> {
    sqlx::query_as(concat!("SELECT ", columns!(), " FROM jobs WHERE id = $1")).bind(id).fetch_optional(connection).await
}

/// A job of an organisation, locked until the transaction ends.
pub(crate) async fn lock(connection: &mut PgConnection, org: OrgId, id: JobId) -> sqlx::Result<Option<JobRow>> {
    sqlx::query_as(concat!("SELECT ", columns!(), " FROM jobs WHERE org_id = $1 AND id = $2 FOR UPDATE"))
        .bind(org)
        .bind(id)
        .fetch_optional(connection)
        .await
}

/// Locks jobs, and those that they wait behind for their unique keys, all in one order. Gives those of `ids` that have not ended.
///
/// # Errors
/// Those of the database.
pub async fn lock_all(connection: &mut PgConnection, org: OrgId, ids: &[JobId]) -> sqlx::Result<Vec<JobId>> {
    let mut all: Vec<JobId> = sqlx::query_scalar(
        "SELECT blocked_by FROM jobs WHERE org_id = $1 AND id = ANY($2) AND blocked_by IS NOT NULL AND state = 'queued'",
    )
    .bind(org)
    .bind(ids)
    .fetch_all(&mut *connection)
    .await?;
    all.extend(ids);
    let locked: Vec<(JobId, bool)> = sqlx::query_as(
        "SELECT id, state = 'queued' FROM jobs WHERE org_id = $1 AND id = ANY($2) ORDER BY id FOR UPDATE",
    )
    .bind(org)
    .bind(all)
    .fetch_all(connection)
    .await?;
    let ids: HashSet<JobId> = ids.iter().copied().collect();
    Ok(locked.into_iter().filter(|(id, is_queued)| *is_queued && ids.contains(id)).map(|(id, _)| id).collect())
}

/// Which of `ids` have ended: what somebody who waits for them asks.
///
/// # Errors
/// Those of the database.
pub async fn ended(connection: &mut PgConnection, ids: &[JobId]) -> sqlx::Result<Vec<JobId>> {
    sqlx::query_scalar("SELECT id FROM jobs WHERE id = ANY($1) AND state <> 'queued'")
        .bind(ids)
        .fetch_all(connection)
        .await
}

/// What a list shows. Absent fields do not filter.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// Only this organisation's; `None` only for the operator's command line.
    pub org: Option<OrgId>,
    /// Only this kind.
    pub kind: Option<String>,
    /// Only this queue.
    pub queue: Option<QueueName>,
    /// Only this state of the ledger.
    pub state: Option<JobState>,
    /// Only queued jobs whose time has come (`true`) or has not (`false`).
    pub due: Option<bool>,
    /// Only jobs accepted at or after this time.
    pub since: Option<DateTime<Utc>>,
    /// Only these.
    pub among: Option<Vec<JobId>>,
    /// None of these.
    pub without: Vec<JobId>,
}

/// Jobs, the newest first, after (that is: older than) `before`.
///
/// # Errors
/// Those of the database.
pub async fn list(
    connection: &mut PgConnection,
    filter: &JobFilter,
    before: Option<JobId>,
    limit: u32,
) -> sqlx::Result<Vec<JobRow>> {
    sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM jobs WHERE ($1::uuid IS NULL OR org_id = $1) AND ($2::text IS NULL OR kind = $2) \
         AND ($3::text IS NULL OR queue = $3) AND ($4::text IS NULL OR state = $4) \
         AND ($5::bool IS NULL OR (run_at <= now()) = $5) AND ($6::timestamptz IS NULL OR created_at >= $6) \
         AND ($7::uuid[] IS NULL OR id = ANY($7)) AND NOT (id = ANY($8)) AND ($9::uuid IS NULL OR id < $9) \
         AND ($11::uuid IS NULL OR id >= $11) ORDER BY id DESC LIMIT $10"
    ))
    // Not kept prepared: a plan for any filter would use no index for this one.
    .persistent(false)
    .bind(filter.org)
    .bind(filter.kind.as_deref())
    .bind(filter.queue.map(QueueName::as_str))
    .bind(filter.state)
    .bind(filter.due)
    .bind(filter.since)
    .bind(filter.among.as_deref())
    .bind(&filter.without)
    .bind(before)
    .bind(i64::from(limit))
    .bind(filter.since.map(earliest_id))
    .fetch_all(connection)
    .await
}

/// An id before those of jobs accepted at or after `since`, so that a list need not look at all that is older. Ids carry the time of
/// the host that made them and `created_at` is Postgres'; a day is more than clocks ever differ.
fn earliest_id(since: DateTime<Utc>) -> JobId {
    JobId::lowest_at(since.checked_sub_signed(chrono::TimeDelta::days(1)).unwrap_or(DateTime::<Utc>::MIN_UTC))
}

/// Gives a waiting job another payload. `None` where it has started or ended.
pub(crate) async fn replace_payload(
    connection: &mut PgConnection,
    id: JobId,
    payload: &Value,
) -> sqlx::Result<Option<JobRow>> {
    sqlx::query_as(concat!(
        "UPDATE jobs SET payload = $2, revision = revision + 1 WHERE id = $1 AND state = 'queued' AND started_at IS NULL RETURNING ",
        columns!()
    ))
    .bind(id)
    .bind(payload)
    .fetch_optional(connection)
    .await
}

/// Ends a queued job as cancelled. `None` where it had ended already.
pub(crate) async fn cancel(connection: &mut PgConnection, org: OrgId, id: JobId) -> sqlx::Result<Option<JobRow>> {
    sqlx::query_as(concat!(
        "UPDATE jobs SET state = 'cancelled', finished_at = now() WHERE org_id = $1 AND id = $2 AND state = 'queued' RETURNING ",
        columns!()
    ))
    .bind(org)
    .bind(id)
    .fetch_optional(connection)
    .await
}

/// Lets a job run that waited behind another one of its unique key.
pub(crate) async fn unblock(connection: &mut PgConnection, id: JobId) -> sqlx::Result<Option<JobRow>> {
    sqlx::query_as(concat!(
        "UPDATE jobs SET blocked_by = NULL, run_at = GREATEST(run_at, now()) WHERE id = $1 AND state = 'queued' RETURNING ",
        columns!()
    ))
    .bind(id)
    .fetch_optional(connection)
    .await
}

/// A page of what Redis is to hold: queued, unblocked rows of a queue with `run_at` in `(after, until]`, by `(run_at, id)`.
///
/// # Errors
/// Those of the database.
pub async fn due_page(
    connection: &mut PgConnection,
    queue: QueueName,
    after: (DateTime<Utc>, JobId),
    until: DateTime<Utc>,
    limit: u32,
) -> sqlx::Result<Vec<(JobId, DateTime<Utc>)>> {
    sqlx::query_as(
        "SELECT id, run_at FROM jobs WHERE queue = $1 AND finished_at IS NULL AND blocked_by IS NULL AND (run_at, id) > ($2, $3) \
         AND run_at <= $4 ORDER BY run_at, id LIMIT $5",
    )
    .bind(queue.as_str())
    .bind(after.0)
    .bind(after.1)
    .bind(until)
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await
}

/// Jobs by their ids, whoever's they are: for the reconciler.
///
/// # Errors
/// Those of the database.
pub async fn many(connection: &mut PgConnection, ids: &[JobId]) -> sqlx::Result<Vec<JobRow>> {
    sqlx::query_as(concat!("SELECT ", columns!(), " FROM jobs WHERE id = ANY($1)"))
        .bind(ids)
        .fetch_all(connection)
        .await
}

/// Postgres' clock.
///
/// # Errors
/// Those of the database.
pub async fn now(connection: &mut PgConnection) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query_scalar("SELECT now()").fetch_one(connection).await
}

/// When the oldest ready job of a queue became due, leaving out those that run.
///
/// # Errors
/// Those of the database.
pub async fn oldest_due(
    connection: &mut PgConnection,
    queue: QueueName,
    running: &[JobId],
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar(
        "SELECT run_at FROM jobs WHERE queue = $1 AND finished_at IS NULL AND blocked_by IS NULL AND run_at <= now() \
         AND NOT (id = ANY($2)) ORDER BY run_at LIMIT 1",
    )
    .bind(queue.as_str())
    .bind(running)
    .fetch_optional(connection)
    .await
}
