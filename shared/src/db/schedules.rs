//! `schedules`: jobs that are submitted again and again.
//!
//! A tick's job and the move of `next_run_at` are one transaction of the caller's, under the row's lock ([`lock_due`]): whoever comes second
//! finds the row moved, and a transaction that does not come to its end leaves both as they were.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{FromRow, PgConnection};

use crate::{
    ids::{JobId, OrgId, ScheduleId},
    jobs::Priority,
};

/// A whole row.
#[derive(Clone, Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described where they are made, in the migration")]
pub struct ScheduleRow {
    pub id: ScheduleId,
    pub org_id: OrgId,
    pub name: String,
    pub kind: String,
    pub payload: Value,
    pub priority: i16,
    pub every_seconds: Option<i32>,
    pub cron: Option<String>,
    pub time_zone: Option<String>,
    pub is_unique: bool,
    pub paused: bool,
    pub next_run_at: DateTime<Utc>,
    pub last_run_at: Option<DateTime<Utc>>,
    pub last_job_id: Option<JobId>,
    pub fired: i64,
    pub skipped: i64,
    pub missed: i64,
    pub error_class: Option<String>,
    pub error: Option<String>,
    pub failed_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl ScheduleRow {
    /// How urgent its jobs are.
    #[must_use]
    pub fn priority(&self) -> Priority {
        Priority::from_level(self.priority)
    }
}

/// What is said of a schedule by whoever makes or changes it.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns are described where they are made, in the migration")]
pub struct Written {
    pub name: String,
    pub kind: String,
    pub payload: Value,
    pub priority: Priority,
    pub every_seconds: Option<i32>,
    pub cron: Option<String>,
    pub time_zone: Option<String>,
    pub is_unique: bool,
    pub paused: bool,
    pub next_run_at: DateTime<Utc>,
}

/// The columns of [`ScheduleRow`]. A macro, because statements are literals.
macro_rules! columns {
    () => {
        "id, org_id, name, kind, payload, priority, every_seconds, cron, time_zone, is_unique, paused, next_run_at, last_run_at, \
         last_job_id, fired, skipped, missed, error_class, error, failed_at, created_at, updated_at"
    };
}

/// How many schedules the organisation has. Until the transaction ends nobody else can ask this for the organisation, so that what is made
/// after the answer is counted by the next one.
///
/// # Errors
/// Those of the database.
pub async fn count_exclusively(connection: &mut PgConnection, org: OrgId) -> sqlx::Result<i64> {
    // Weaker than what excludes rows that refer to the organisation.
    sqlx::query("SELECT id FROM organisations WHERE id = $1 FOR NO KEY UPDATE")
        .bind(org)
        .execute(&mut *connection)
        .await?;
    sqlx::query_scalar("SELECT count(*) FROM schedules WHERE org_id = $1").bind(org).fetch_one(connection).await
}

/// Stores a schedule.
///
/// # Errors
/// Those of the database.
pub async fn create(
    connection: &mut PgConnection,
    org: OrgId,
    id: ScheduleId,
    new: &Written,
) -> sqlx::Result<ScheduleRow> {
    sqlx::query_as(concat!(
        "INSERT INTO schedules (id, org_id, name, kind, payload, priority, every_seconds, cron, time_zone, is_unique, paused, next_run_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) RETURNING ",
        columns!()
    ))
    .bind(id)
    .bind(org)
    .bind(&new.name)
    .bind(&new.kind)
    .bind(&new.payload)
    .bind(i16::from(new.priority.level()))
    .bind(new.every_seconds)
    .bind(new.cron.as_deref())
    .bind(new.time_zone.as_deref())
    .bind(new.is_unique)
    .bind(new.paused)
    .bind(new.next_run_at)
    .fetch_one(connection)
    .await
}

/// Writes a changed schedule. Its kind stays as it is.
///
/// # Errors
/// Those of the database; `RowNotFound` where the organisation has no such schedule.
pub async fn change(
    connection: &mut PgConnection,
    org: OrgId,
    id: ScheduleId,
    changed: &Written,
) -> sqlx::Result<ScheduleRow> {
    sqlx::query_as(concat!(
        "UPDATE schedules SET name = $3, payload = $4, priority = $5, every_seconds = $6, cron = $7, time_zone = $8, is_unique = $9, \
         paused = $10, next_run_at = $11, updated_at = now() WHERE org_id = $1 AND id = $2 RETURNING ",
        columns!()
    ))
    .bind(org)
    .bind(id)
    .bind(&changed.name)
    .bind(&changed.payload)
    .bind(i16::from(changed.priority.level()))
    .bind(changed.every_seconds)
    .bind(changed.cron.as_deref())
    .bind(changed.time_zone.as_deref())
    .bind(changed.is_unique)
    .bind(changed.paused)
    .bind(changed.next_run_at)
    .fetch_one(connection)
    .await
}

/// A schedule of the organisation.
///
/// # Errors
/// Those of the database.
pub async fn get(connection: &mut PgConnection, org: OrgId, id: ScheduleId) -> sqlx::Result<Option<ScheduleRow>> {
    sqlx::query_as(concat!("SELECT ", columns!(), " FROM schedules WHERE org_id = $1 AND id = $2"))
        .bind(org)
        .bind(id)
        .fetch_optional(connection)
        .await
}

/// As [`get`], and nobody else can change it or let it tick until the transaction ends.
///
/// # Errors
/// Those of the database.
pub async fn lock(connection: &mut PgConnection, org: OrgId, id: ScheduleId) -> sqlx::Result<Option<ScheduleRow>> {
    sqlx::query_as(concat!("SELECT ", columns!(), " FROM schedules WHERE org_id = $1 AND id = $2 FOR UPDATE"))
        .bind(org)
        .bind(id)
        .fetch_optional(connection)
        .await
}

/// Whose a schedule is: for operators, who stand above organisations.
///
/// # Errors
/// Those of the database.
pub async fn owner(connection: &mut PgConnection, id: ScheduleId) -> sqlx::Result<Option<OrgId>> {
    sqlx::query_scalar("SELECT org_id FROM schedules WHERE id = $1").bind(id).fetch_optional(connection).await
}

/// Schedules of the organisation, or for operators of all, newest first, those before `before`, at most `limit`.
///
/// # Errors
/// Those of the database.
pub async fn list(
    connection: &mut PgConnection,
    org: Option<OrgId>,
    before: Option<ScheduleId>,
    limit: i64,
) -> sqlx::Result<Vec<ScheduleRow>> {
    sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM schedules WHERE ($1::uuid IS NULL OR org_id = $1) AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3"
    ))
    .bind(org)
    .bind(before)
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// Deletes a schedule. Jobs that it has submitted go on. `false` where there is none.
///
/// # Errors
/// Those of the database.
pub async fn delete(connection: &mut PgConnection, org: OrgId, id: ScheduleId) -> sqlx::Result<bool> {
    let done = sqlx::query("DELETE FROM schedules WHERE org_id = $1 AND id = $2")
        .bind(org)
        .bind(id)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Schedules of these kinds whose tick is due, whoever's they are, the longest due first. They are locked until the transaction ends; those
/// that somebody else has locked are left out.
///
/// # Errors
/// Those of the database.
pub async fn lock_due(connection: &mut PgConnection, kinds: &[&str], limit: i64) -> sqlx::Result<Vec<ScheduleRow>> {
    sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM schedules WHERE NOT paused AND next_run_at <= now() AND kind = ANY($1) \
         ORDER BY next_run_at, id LIMIT $2 FOR UPDATE SKIP LOCKED"
    ))
    .bind(kinds)
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// How many milliseconds there are until the next tick of these kinds, whoever's it is; nothing where none is to come.
///
/// # Errors
/// Those of the database.
pub async fn next_due_in_ms(connection: &mut PgConnection, kinds: &[&str]) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar(
        "SELECT CEIL(EXTRACT(EPOCH FROM next_run_at - clock_timestamp()) * 1000)::bigint FROM schedules \
         WHERE NOT paused AND kind = ANY($1) ORDER BY next_run_at LIMIT 1",
    )
    .bind(kinds)
    .fetch_optional(connection)
    .await
}

/// Which of the counters a tick goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counted {
    /// It made a job.
    Fired,
    /// The job before had not ended.
    Skipped,
}

/// Moves a schedule on after a tick for which this job stands.
///
/// # Errors
/// Those of the database; `RowNotFound` where there is no such schedule.
pub async fn ticked(
    connection: &mut PgConnection,
    row: &ScheduleRow,
    (counted, job): (Counted, JobId),
    (missed, next): (i64, DateTime<Utc>),
) -> sqlx::Result<()> {
    let done = sqlx::query(
        "UPDATE schedules SET fired = fired + $3, skipped = skipped + $4, missed = missed + $5, next_run_at = $6, last_run_at = now(), \
         last_job_id = $7, error_class = NULL, error = NULL, failed_at = NULL WHERE org_id = $1 AND id = $2",
    )
    .bind(row.org_id)
    .bind(row.id)
    .bind(i64::from(counted == Counted::Fired))
    .bind(i64::from(counted == Counted::Skipped))
    .bind(missed)
    .bind(next)
    .bind(job)
    .execute(connection)
    .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
}

/// Moves a schedule on after a tick that made no job, and notes why.
///
/// # Errors
/// Those of the database.
pub async fn failed(
    connection: &mut PgConnection,
    row: &ScheduleRow,
    (class, error): (&str, &str),
    next: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE schedules SET next_run_at = $3, error_class = $4, error = $5, failed_at = now() WHERE org_id = $1 AND id = $2",
    )
    .bind(row.org_id)
    .bind(row.id)
    .bind(next)
    .bind(class)
    .bind(error)
    .execute(connection)
    .await
    .map(drop)
}

/// Notes that a job was submitted out of turn.
///
/// # Errors
/// Those of the database.
pub async fn ran(connection: &mut PgConnection, org: OrgId, id: ScheduleId, job: JobId) -> sqlx::Result<()> {
    sqlx::query("UPDATE schedules SET last_run_at = now(), last_job_id = $3 WHERE org_id = $1 AND id = $2")
        .bind(org)
        .bind(id)
        .bind(job)
        .execute(connection)
        .await
        .map(drop)
}

/// A due schedule that was marked, because of its kind.
#[derive(Clone, Debug, FromRow)]
pub struct Marked {
    /// It.
    pub id: ScheduleId,
    /// Whose it is.
    pub org_id: OrgId,
    /// Its kind.
    pub kind: String,
}

/// Notes this error at due schedules that are of other kinds than these and do not have it yet, `limit` at most, whoever's they are. They
/// stay due.
///
/// # Errors
/// Those of the database.
pub async fn mark_others(
    connection: &mut PgConnection,
    kinds: &[&str],
    (class, error): (&str, &str),
    limit: i64,
) -> sqlx::Result<Vec<Marked>> {
    sqlx::query_as(
        "UPDATE schedules SET error_class = $2, error = $3, failed_at = now() WHERE id IN ( \
             SELECT id FROM schedules WHERE NOT paused AND next_run_at <= now() AND NOT (kind = ANY($1)) \
             AND error_class IS DISTINCT FROM $2 ORDER BY next_run_at, id LIMIT $4 FOR UPDATE SKIP LOCKED) \
         RETURNING id, org_id, kind",
    )
    .bind(kinds)
    .bind(class)
    .bind(error)
    .bind(limit)
    .fetch_all(connection)
    .await
}
