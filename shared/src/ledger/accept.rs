//! Accepting jobs.

use std::collections::HashMap;

use sqlx::PgConnection;

use crate::{
    db::{
        jobs::{self, JobRow, JobState},
        uniques::{self, UniqueKey},
    },
    ids::{JobId, OrgId},
    jobs::{NewJob, OnConflict},
};

/// What became of a submission.
#[derive(Clone, Debug)]
pub enum Accepted {
    /// A new row, to be pushed after the commit.
    New(JobRow),
    /// A job with the same unique key waits already and stays as it is.
    Existing(JobRow),
    /// A job with the same unique key waited and got the new payload.
    Replaced(JobRow),
    /// The job with the same unique key runs; this one comes after it.
    Successor(JobRow),
}

impl Accepted {
    /// The job that stands for the submission.
    #[must_use]
    pub fn row(&self) -> &JobRow {
        match self {
            Self::New(row) | Self::Existing(row) | Self::Replaced(row) | Self::Successor(row) => row,
        }
    }

    /// The row alone.
    #[must_use]
    pub fn into_row(self) -> JobRow {
        match self {
            Self::New(row) | Self::Existing(row) | Self::Replaced(row) | Self::Successor(row) => row,
        }
    }
}

/// Accepts jobs, all or none (with the caller's transaction), in the order in which they were given.
///
/// # Errors
/// Those of the database.
pub async fn accept(connection: &mut PgConnection, org: OrgId, submissions: &[NewJob]) -> sqlx::Result<Vec<Accepted>> {
    let plain: Vec<_> = submissions.iter().filter(|job| job.unique_key.is_none()).map(|job| (org, job)).collect();
    let places: HashMap<JobId, usize> = submissions.iter().enumerate().map(|(place, job)| (job.id, place)).collect();
    let mut accepted: Vec<(usize, Accepted)> = Vec::with_capacity(submissions.len());
    if !plain.is_empty() {
        let rows = jobs::insert(connection, &plain, None).await?;
        accepted.extend(rows.into_iter().map(|row| (places[&row.id], Accepted::New(row))));
    }
    // In the order of their keys, so that two batches never wait for each other.
    let mut unique: Vec<(&str, &NewJob)> =
        submissions.iter().filter_map(|job| Some((job.unique_key.as_deref()?, job))).collect();
    unique.sort_by_key(|(key, job)| (job.kind, *key));
    for (key, job) in unique {
        accepted.push((places[&job.id], accept_unique(connection, org, key, job).await?));
    }
    accepted.sort_by_key(|(place, _)| *place);
    Ok(accepted.into_iter().map(|(_, accepted)| accepted).collect())
}

async fn accept_unique(connection: &mut PgConnection, org: OrgId, key: &str, job: &NewJob) -> sqlx::Result<Accepted> {
    let name = UniqueKey { org, kind: job.kind, key };
    loop {
        if uniques::take(connection, name, job.id).await? {
            return insert_one(connection, org, job, None).await.map(Accepted::New);
        }
        let Some(seen) = uniques::holder(connection, name).await? else { continue };
        // The holder may end before it is locked; then the key has moved on and the question is asked again.
        let holder = jobs::lock(connection, org, seen.job_id).await?;
        let Some(seen) = uniques::holder(connection, name).await?.filter(|now| now.job_id == seen.job_id) else {
            continue;
        };
        let Some(holder) = holder.filter(|row| row.state == JobState::Queued) else {
            // Its row was dropped, or it was ended by other means than this module's: nobody else would ever hand the key on.
            if let Some(successor) = uniques::pass_on(connection, name, seen.job_id).await? {
                jobs::unblock(connection, successor).await?;
            }
            continue;
        };
        if job.on_conflict == OnConflict::Keep {
            return Ok(Accepted::Existing(holder));
        }
        // The successor first: the holder may wait for a retry by now, but what comes last must be done last.
        let waiting = seen.successor_id.unwrap_or(holder.id);
        if let Some(row) = jobs::replace_payload(connection, waiting, &job.payload).await? {
            return Ok(Accepted::Replaced(row));
        }
        let row = insert_one(connection, org, job, Some(holder.id)).await?;
        uniques::set_successor(connection, name, row.id).await?;
        return Ok(Accepted::Successor(row));
    }
}

async fn insert_one(
    connection: &mut PgConnection,
    org: OrgId,
    job: &NewJob,
    blocked_by: Option<JobId>,
) -> sqlx::Result<JobRow> {
    let mut rows = jobs::insert(connection, &[(org, job)], blocked_by).await?;
    rows.pop().ok_or(sqlx::Error::RowNotFound)
}
