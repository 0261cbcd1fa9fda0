//! What probes with `effect` leave behind: `probe_effects`.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::ids::JobId;

/// Forgets effects that are older than `cutoff`, `limit` at most. Gives how many.
///
/// # Errors
/// Those of the database.
pub async fn forget_old(connection: &mut PgConnection, cutoff: DateTime<Utc>, limit: u32) -> sqlx::Result<u64> {
    // By the job's id, because that is indexed; by the time as well, because a job may have run long after it was accepted.
    let forgotten = sqlx::query(
        "DELETE FROM probe_effects WHERE ctid = ANY(ARRAY(SELECT ctid FROM probe_effects WHERE job_id < $1 AND created_at < $2 \
         ORDER BY job_id LIMIT $3))",
    )
    .bind(JobId::lowest_at(cutoff))
    .bind(cutoff)
    .bind(i64::from(limit))
    .execute(connection)
    .await?;
    Ok(forgotten.rows_affected())
}
