//! Deleting documents, with all that goes with them: their jobs are cancelled, their rows deleted, their objects noted to be swept.
//!
//! Locks are taken in one order, whoever deletes: all jobs by their ids, then the assets by theirs. What was found before they were locked is
//! looked for once more then. Where it has changed, because a document got another job or another holder in between, all is undone and begun
//! anew.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};

use super::end::{Ended, cancel};
use crate::{
    db::{
        asset_parts::{
            self,
            family::{self, Family, Going},
        },
        assets, jobs, stray_objects,
    },
    ids::{AssetId, JobId, OrgId},
    storage::ObjectKey,
};

/// How often it is begun anew.
const TRIES: usize = 5;

/// What became of a deletion.
#[derive(Debug)]
pub enum Removal {
    /// It is done, once the caller commits. These jobs were cancelled: Redis and those who run them are to be told after that.
    Done(Vec<Ended>),
    /// There was nothing to delete.
    Nothing,
    /// Others were in the way each time. Nothing is changed.
    Crossed,
}

/// Deletes what `going` says and what goes with it, within the caller's transaction.
///
/// # Errors
/// Those of the database.
pub async fn remove(connection: &mut PgConnection, org: OrgId, going: &Going) -> sqlx::Result<Removal> {
    for _ in 0..TRIES {
        let found = family::of(connection, org, going).await?;
        if found == Family::default() {
            return Ok(Removal::Nothing);
        }
        let mut attempt = connection.begin().await?;
        if let Some(cancelled) = try_remove(&mut attempt, org, going, &found).await? {
            attempt.commit().await?;
            return Ok(Removal::Done(cancelled));
        }
        attempt.rollback().await?;
    }
    Ok(Removal::Crossed)
}

/// `None` where it has changed in between.
async fn try_remove(
    connection: &mut PgConnection,
    org: OrgId,
    going: &Going,
    found: &Family,
) -> sqlx::Result<Option<Vec<Ended>>> {
    let jobs: Vec<JobId> = found.doomed.iter().map(|asset| asset.job_id).collect();
    let mut cancelled = Vec::new();
    for job in jobs::lock_all(connection, org, &jobs).await? {
        cancelled.extend(cancel(connection, org, job).await?);
    }
    family::lock(connection, org, found).await?;
    if family::of(connection, org, going).await? != *found {
        return Ok(None);
    }
    let keys: Vec<ObjectKey> = found.doomed.iter().filter_map(|asset| asset.storage_key.clone()).collect();
    stray_objects::note(connection, org, &keys, Duration::ZERO).await?;
    let doomed: Vec<(AssetId, JobId)> = found.doomed.iter().map(|asset| (asset.id, asset.job_id)).collect();
    if assets::delete(connection, org, &doomed).await? != doomed.len() as u64 {
        return Ok(None);
    }
    if let Going::LetGo { by, .. } = going {
        asset_parts::count_elsewhere(connection, org, *by, &found.bystanders).await?;
    }
    Ok(Some(cancelled))
}

/// Locks the jobs that [`remove`] will want, and `own`, which the caller's transaction is about to end: it must hold no lock yet.
///
/// # Errors
/// Those of the database.
pub async fn lock_jobs(connection: &mut PgConnection, org: OrgId, going: &Going, own: JobId) -> sqlx::Result<()> {
    let mut jobs = family::jobs(connection, org, going).await?;
    jobs.push(own);
    jobs::lock_all(connection, org, &jobs).await.map(drop)
}
