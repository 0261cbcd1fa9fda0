//! Dead letters: the rows of `jobs` that ended as `dead` and were not discarded.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{
    jobs::{JobRow, columns},
    runs::wait_ms,
};
use crate::{
    ids::{JobId, OrgId},
    jobs::QueueName,
};

/// Which dead letters. Absent fields do not filter.
#[derive(Clone, Debug, Default)]
pub struct DeadLetterFilter {
    /// Only this organisation's; `None` only for the operator's command line.
    pub org: Option<OrgId>,
    /// Only these jobs.
    pub ids: Option<Vec<JobId>>,
    /// Only this queue.
    pub queue: Option<QueueName>,
    /// Only this kind.
    pub kind: Option<String>,
    /// Only this error class, or errors whose text contains this.
    pub error: Option<String>,
    /// Only those that died at or after this time.
    pub since: Option<DateTime<Utc>>,
}

macro_rules! matching {
    () => {
        "state = 'dead' AND discarded_at IS NULL AND ($1::uuid IS NULL OR org_id = $1) AND ($2::uuid[] IS NULL OR id = ANY($2)) \
         AND ($3::text IS NULL OR queue = $3) AND ($4::text IS NULL OR kind = $4) \
         AND ($5::text IS NULL OR error_class = $5 OR strpos(lower(error), lower($5)) > 0) \
         AND ($6::timestamptz IS NULL OR finished_at >= $6)"
    };
}

macro_rules! bind {
    ($query:expr, $filter:expr) => {
        // Not kept prepared: a plan for any filter would use no index for this one.
        $query
            .persistent(false)
            .bind($filter.org)
            .bind($filter.ids.as_deref())
            .bind($filter.queue.map(QueueName::as_str))
            .bind($filter.kind.as_deref())
            .bind($filter.error.as_deref())
            .bind($filter.since)
    };
}

/// Dead letters, the newest job first, after (that is: older than) `before`.
///
/// # Errors
/// Those of the database.
pub async fn list(
    connection: &mut PgConnection,
    filter: &DeadLetterFilter,
    before: Option<JobId>,
    limit: u32,
) -> sqlx::Result<Vec<JobRow>> {
    let query = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM jobs WHERE ",
        matching!(),
        " AND ($7::uuid IS NULL OR id < $7) ORDER BY id DESC LIMIT $8"
    ));
    bind!(query, filter).bind(before).bind(i64::from(limit)).fetch_all(connection).await
}

/// How many match.
///
/// # Errors
/// Those of the database.
pub async fn count(connection: &mut PgConnection, filter: &DeadLetterFilter) -> sqlx::Result<i64> {
    let query = sqlx::query_scalar(concat!("SELECT count(*) FROM jobs WHERE ", matching!()));
    bind!(query, filter).fetch_one(connection).await
}

/// The oldest matching ids after `after`, for work in batches.
pub(crate) async fn page(
    connection: &mut PgConnection,
    filter: &DeadLetterFilter,
    after: Option<JobId>,
    limit: u32,
) -> sqlx::Result<Vec<JobId>> {
    let query = sqlx::query_scalar(concat!(
        "SELECT id FROM jobs WHERE ",
        matching!(),
        " AND ($7::uuid IS NULL OR id > $7) ORDER BY id LIMIT $8"
    ));
    bind!(query, filter).bind(after).bind(i64::from(limit)).fetch_all(connection).await
}

/// A dead letter, locked until the transaction ends. `None` where there is none, or none of this organisation.
pub(crate) async fn lock(connection: &mut PgConnection, org: Option<OrgId>, id: JobId) -> sqlx::Result<Option<JobRow>> {
    sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM jobs WHERE id = $1 AND ($2::uuid IS NULL OR org_id = $2) AND state = 'dead' AND discarded_at IS NULL FOR UPDATE"
    ))
    .bind(id)
    .bind(org)
    .fetch_optional(connection)
    .await
}

/// Puts a dead letter back into work: the same job, with as many attempts again as it was submitted with.
pub(crate) async fn replay(
    connection: &mut PgConnection,
    id: JobId,
    payload: Option<&serde_json::Value>,
    delay: Duration,
) -> sqlx::Result<Option<JobRow>> {
    sqlx::query_as(concat!(
        "UPDATE jobs SET state = 'queued', run_at = now() + $3 * interval '1 millisecond', started_at = NULL, finished_at = NULL, \
         dead_reason = NULL, max_attempts = attempt + attempt_budget, snoozes = 0, replays = replays + 1, progress_percent = NULL, \
         progress_message = NULL, payload = COALESCE($2, payload), revision = revision + 1 \
         WHERE id = $1 AND state = 'dead' AND discarded_at IS NULL RETURNING ",
        columns!()
    ))
    .bind(id)
    .bind(payload)
    .bind(wait_ms(delay))
    .fetch_optional(connection)
    .await
}

/// Takes dead letters out of the list; their rows and history stay in the ledger. Gives how many.
pub(crate) async fn discard(connection: &mut PgConnection, ids: &[JobId]) -> sqlx::Result<u64> {
    let discarded = sqlx::query(
        "UPDATE jobs SET discarded_at = now() WHERE id = ANY($1) AND state = 'dead' AND discarded_at IS NULL",
    )
    .bind(ids)
    .execute(connection)
    .await?;
    Ok(discarded.rows_affected())
}
