//! The history of a job's failed attempts: `job_attempts`. The attempt that succeeded is in the job's own row.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};

use crate::ids::{JobId, OrgId};

/// A failed attempt.
#[derive(Clone, Debug, FromRow)]
#[expect(missing_docs, reason = "the columns are described where they are made, in the migration")]
pub struct AttemptRow {
    pub job_id: JobId,
    pub attempt: i32,
    pub started_at: DateTime<Utc>,
    pub ended_at: DateTime<Utc>,
    pub outcome: String,
    pub error: String,
    pub error_class: String,
    pub worker: String,
}

/// The failed attempts of a job, the first one first.
///
/// # Errors
/// Those of the database.
pub async fn of_job(connection: &mut PgConnection, org: OrgId, job: JobId) -> sqlx::Result<Vec<AttemptRow>> {
    sqlx::query_as(
        "SELECT job_id, attempt, started_at, ended_at, outcome, error, error_class, worker FROM job_attempts \
         WHERE org_id = $1 AND job_id = $2 ORDER BY attempt",
    )
    .bind(org)
    .bind(job)
    .fetch_all(connection)
    .await
}

/// The failed attempts of these jobs, which the caller was allowed to read, each job's first one first.
///
/// # Errors
/// Those of the database.
pub async fn of_jobs(connection: &mut PgConnection, jobs: &[JobId]) -> sqlx::Result<Vec<AttemptRow>> {
    sqlx::query_as(
        "SELECT job_id, attempt, started_at, ended_at, outcome, error, error_class, worker FROM job_attempts \
         WHERE job_id = ANY($1) ORDER BY job_id, attempt",
    )
    .bind(jobs)
    .fetch_all(connection)
    .await
}
