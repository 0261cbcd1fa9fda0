//! Objects of the store that no row names, or that may turn out so.
//!
//! A transaction cannot span Postgres and the store. So a key is noted here before its object is stored, and is taken out by the
//! transaction that names it elsewhere; a key that a transaction no longer names, because it replaces or deletes, is noted by that transaction.
//! Whatever is due here is garbage: [`lock_due`] locks it, the caller deletes the objects and then the rows. A crash at any place leaves a note,
//! never a row whose bytes are gone.
//!
//! No key is ever stored under twice: who notes one again, late, can only mean an object of its own. Otherwise the second delivery of a job
//! could note, and have swept, what the first one's row names.

use std::time::Duration;

use sqlx::PgConnection;
use sqlx::postgres::types::PgInterval;

use crate::ids::OrgId;
use crate::storage::ObjectKey;

/// Who stores an object has this long to name it, from when its key was noted last.
pub const TO_BE_NAMED_WITHIN: Duration = Duration::from_secs(3600);

/// Notes keys that nobody names, to be deleted after `wait`; of one that is noted already, that time changes.
///
/// # Errors
/// When the database is away.
pub async fn note(
    connection: &mut PgConnection,
    org: OrgId,
    keys: &[ObjectKey],
    wait: Duration,
) -> Result<(), sqlx::Error> {
    if keys.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO stray_objects (storage_key, org_id, due_at)
         SELECT storage_key, $2, now() + $3 FROM UNNEST($1::text[]) AS new (storage_key) ORDER BY storage_key
         ON CONFLICT (storage_key) DO UPDATE SET due_at = excluded.due_at WHERE stray_objects.org_id = excluded.org_id",
    )
    .bind(keys)
    .bind(org)
    .bind(PgInterval::try_from(wait).map_err(sqlx::Error::Encode)?)
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes keys out, because the caller's transaction names them. `false` where one of them is not there any more: its object may be deleted by
/// now, and the caller must not commit.
///
/// # Errors
/// When the database is away.
pub async fn adopt(connection: &mut PgConnection, org: OrgId, keys: &[ObjectKey]) -> Result<bool, sqlx::Error> {
    if keys.is_empty() {
        return Ok(true);
    }
    let done = sqlx::query("DELETE FROM stray_objects WHERE storage_key = ANY($1) AND org_id = $2")
        .bind(keys)
        .bind(org)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == keys.len() as u64)
}

/// Locks keys whose objects are to be deleted, `limit` at most, leaving those alone that another process is at.
///
/// # Errors
/// When the database is away.
pub async fn lock_due(connection: &mut PgConnection, limit: i64) -> Result<Vec<ObjectKey>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT storage_key FROM stray_objects WHERE due_at <= now() ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED",
    )
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// Forgets keys whose objects are deleted.
///
/// # Errors
/// When the database is away.
pub async fn forget(connection: &mut PgConnection, keys: &[ObjectKey]) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM stray_objects WHERE storage_key = ANY($1)").bind(keys).execute(connection).await?;
    Ok(())
}

/// Puts keys off whose objects could not be deleted: ten seconds, twice as long each time, an hour at most.
///
/// # Errors
/// When the database is away.
pub async fn postpone(connection: &mut PgConnection, keys: &[ObjectKey]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE stray_objects SET failures = failures + 1,
                due_at = now() + least(interval '10 seconds' * power(2, least(failures, 10)), interval '1 hour')
         WHERE storage_key = ANY($1)",
    )
    .bind(keys)
    .execute(connection)
    .await?;
    Ok(())
}
