//! Who holds a unique key: `job_uniques`.
//!
//! Locks are always taken in this order, so that no two transactions wait for each other: the job that holds a key, the key, the job
//! that comes after it, and last what the jobs are about (an asset). Several keys are taken in the order of their names.

use sqlx::{FromRow, PgConnection};

use crate::{
    db::jobs::JobRow,
    ids::{JobId, OrgId},
};

/// The holder of a unique key and the one that comes after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromRow)]
pub(crate) struct Holder {
    pub(crate) job_id: JobId,
    pub(crate) successor_id: Option<JobId>,
}

/// A unique key's name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UniqueKey<'a> {
    pub(crate) org: OrgId,
    pub(crate) kind: &'a str,
    pub(crate) key: &'a str,
}

/// Takes a key for a job; false where another job holds it.
pub(crate) async fn take(connection: &mut PgConnection, name: UniqueKey<'_>, job: JobId) -> sqlx::Result<bool> {
    let taken = sqlx::query(
        "INSERT INTO job_uniques (org_id, kind, unique_key, job_id) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
    )
    .bind(name.org)
    .bind(name.kind)
    .bind(name.key)
    .bind(job)
    .execute(connection)
    .await?;
    Ok(taken.rows_affected() == 1)
}

/// Who holds a key.
pub(crate) async fn holder(connection: &mut PgConnection, name: UniqueKey<'_>) -> sqlx::Result<Option<Holder>> {
    sqlx::query_as("SELECT job_id, successor_id FROM job_uniques WHERE org_id = $1 AND kind = $2 AND unique_key = $3")
        .bind(name.org)
        .bind(name.kind)
        .bind(name.key)
        .fetch_optional(connection)
        .await
}

/// Names the job that gets the key after its holder.
pub(crate) async fn set_successor(
    connection: &mut PgConnection,
    name: UniqueKey<'_>,
    successor: JobId,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE job_uniques SET successor_id = $4 WHERE org_id = $1 AND kind = $2 AND unique_key = $3")
        .bind(name.org)
        .bind(name.kind)
        .bind(name.key)
        .bind(successor)
        .execute(connection)
        .await
        .map(drop)
}

/// Hands a job's key on when the job has ended. Gives the successor, which now holds the key and may run.
pub(crate) async fn hand_on(connection: &mut PgConnection, ended: &JobRow) -> sqlx::Result<Option<JobId>> {
    let Some(key) = ended.unique_key.as_deref() else { return Ok(None) };
    let name = UniqueKey { org: ended.org_id, kind: &ended.kind, key };
    if ended.blocked_by.is_some() {
        // It was a successor itself and ends before its turn: the key stays where it is.
        sqlx::query(
            "UPDATE job_uniques SET successor_id = NULL WHERE org_id = $1 AND kind = $2 AND unique_key = $3 AND successor_id = $4",
        )
        .bind(name.org)
        .bind(name.kind)
        .bind(name.key)
        .bind(ended.id)
        .execute(connection)
        .await?;
        return Ok(None);
    }
    pass_on(connection, name, ended.id).await
}

/// Takes a key from its holder. Gives the successor, which now holds it; without one the key is free.
pub(crate) async fn pass_on(
    connection: &mut PgConnection,
    name: UniqueKey<'_>,
    holder: JobId,
) -> sqlx::Result<Option<JobId>> {
    let successor: Option<JobId> = sqlx::query_scalar(
        "UPDATE job_uniques SET job_id = successor_id, successor_id = NULL WHERE org_id = $1 AND kind = $2 AND unique_key = $3 \
         AND job_id = $4 AND successor_id IS NOT NULL RETURNING job_id",
    )
    .bind(name.org)
    .bind(name.kind)
    .bind(name.key)
    .bind(holder)
    .fetch_optional(&mut *connection)
    .await?;
    if successor.is_none() {
        sqlx::query("DELETE FROM job_uniques WHERE org_id = $1 AND kind = $2 AND unique_key = $3 AND job_id = $4")
            .bind(name.org)
            .bind(name.kind)
            .bind(name.key)
            .bind(holder)
            .execute(connection)
            .await?;
    }
    Ok(successor)
}
