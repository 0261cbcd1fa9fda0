//! Objects of the store that no row names, or that may turn out so.
//!
//! A transaction cannot span Postgres and the store. So a key is noted here before its object is stored, and is taken out by the
//! transaction that names it elsewhere; a key that a transaction replaces is noted by that transaction. Whatever is due here is garbage:
//! [`lock_due`] locks it, the caller deletes the objects and then the rows. A crash at any place leaves a note, never a row whose bytes are gone.

use std::time::Duration;

use sqlx::PgConnection;
use sqlx::postgres::types::PgInterval;

use crate::ids::OrgId;
use crate::storage::ObjectKey;

/// Notes a key that nobody names, to be deleted after `wait`.
///
/// # Errors
/// When the database is away.
pub async fn note(
    connection: &mut PgConnection,
    org: OrgId,
    key: &ObjectKey,
    wait: Duration,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO stray_objects (storage_key, org_id, due_at) VALUES ($1, $2, now() + $3)")
        .bind(key)
        .bind(org)
        .bind(PgInterval::try_from(wait).map_err(sqlx::Error::Encode)?)
        .execute(connection)
        .await?;
    Ok(())
}

/// Takes a key out, because the caller's transaction names it. `false` where it is not there any more: its object may be deleted by now.
///
/// # Errors
/// When the database is away.
pub async fn adopt(connection: &mut PgConnection, org: OrgId, key: &ObjectKey) -> Result<bool, sqlx::Error> {
    let done = sqlx::query("DELETE FROM stray_objects WHERE storage_key = $1 AND org_id = $2")
        .bind(key)
        .bind(org)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
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
