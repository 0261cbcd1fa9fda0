//! Ending jobs: by success, as dead letters, by cancellation.
//!
//! An end hands the job's unique key on, and tells whoever waits for the job's work: an asset whose job will not come to a good end is
//! `failed` and never "processing" for ever, in the same transaction. The order of locks is that of unique keys: job, key, asset.

use sqlx::PgConnection;

use crate::{
    db::{
        assets,
        jobs::{self, JobRow},
        runs::{self, Failure, Success},
        uniques,
    },
    ids::{JobId, OrgId},
    jobs::{AssetProcess, JobPayload as _},
};

/// An ended job.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its row, as it is now.
    pub row: JobRow,
    /// The job that waited behind it for its unique key, to be pushed after the commit.
    pub unblocked: Option<JobRow>,
}

/// Ends one job well, inside the transaction that writes its effects. `None` where it had ended before: the caller rolls back.
///
/// # Errors
/// Those of the database.
pub async fn succeed_one(
    connection: &mut PgConnection,
    worker: &str,
    org: OrgId,
    success: &Success,
) -> sqlx::Result<Option<Ended>> {
    if runs::succeed(connection, worker, std::slice::from_ref(success)).await?.is_empty() {
        return Ok(None);
    }
    let Some(row) = jobs::find(connection, org, success.id).await? else { return Ok(None) };
    let unblocked = hand_on(connection, &row).await?;
    Ok(Some(Ended { row, unblocked }))
}

/// Makes a job a dead letter. `None` where it had ended before.
///
/// # Errors
/// Those of the database.
pub async fn bury(
    connection: &mut PgConnection,
    worker: &str,
    failure: &Failure,
    reason: &str,
) -> sqlx::Result<Option<Ended>> {
    let Some(row) = runs::bury(connection, worker, failure, reason).await? else { return Ok(None) };
    abandon(connection, &row, &failure.class, &failure.error).await?;
    let unblocked = hand_on(connection, &row).await?;
    Ok(Some(Ended { row, unblocked }))
}

/// Cancels a job that has not ended. `None` where it had, or is not this organisation's.
///
/// # Errors
/// Those of the database.
pub async fn cancel(connection: &mut PgConnection, org: OrgId, id: JobId) -> sqlx::Result<Option<Ended>> {
    let Some(seen) = jobs::find(connection, org, id).await? else { return Ok(None) };
    if let Some(holder) = seen.blocked_by {
        // The holder's end locks the key and then this job; we would lock this job and then the key.
        jobs::lock(connection, org, holder).await?;
    }
    let Some(row) = jobs::cancel(connection, org, id).await? else { return Ok(None) };
    abandon(connection, &row, "cancelled", "the job was cancelled").await?;
    let unblocked = hand_on(connection, &row).await?;
    Ok(Some(Ended { row, unblocked }))
}

async fn hand_on(connection: &mut PgConnection, ended: &JobRow) -> sqlx::Result<Option<JobRow>> {
    match uniques::hand_on(connection, ended).await? {
        Some(successor) => jobs::unblock(connection, successor).await,
        None => Ok(None),
    }
}

/// Tells what depended on a job that it will not be done. One line a kind that has something to tell.
async fn abandon(connection: &mut PgConnection, row: &JobRow, class: &str, error: &str) -> sqlx::Result<()> {
    if row.kind == AssetProcess::KIND
        && let Some(asset) = asset_of(row)
    {
        let why = assets::Failure { code: class, message: error };
        assets::fail(connection, row.org_id, asset, row.id, why).await?;
    }
    Ok(())
}

/// The asset that a job processes.
pub(super) fn asset_of(row: &JobRow) -> Option<crate::ids::AssetId> {
    serde_json::from_value::<AssetProcess>(row.payload.clone()).ok().map(|payload| payload.asset_id)
}
