//! Group commit: submissions that arrive while others are being committed share the next transaction, and the next push to Redis.
//!
//! A submission that comes alone is written at once, so nobody waits for a timer. Under load one commit, which waits for the disk, takes in
//! hundreds of requests.

use std::fmt;

use millrace_shared::batcher::{Batcher, Shape};
use millrace_shared::db::jobs::JobRow;
use millrace_shared::ids::OrgId;
use millrace_shared::intake;
use millrace_shared::jobs::NewJob;
use millrace_shared::queue::Queues;
use sqlx::PgPool;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::error::ApiError;

/// How many requests share a transaction at most, and how many transactions are on their way at once.
const SHAPE: Shape = Shape { size: 250, at_once: 3 };
/// Larger submissions have transactions of their own.
const MOST_JOBS: usize = 4;

/// Takes in small submissions together.
#[derive(Clone)]
pub(crate) struct Gatherer(Batcher<Submission>);

struct Submission {
    org: OrgId,
    jobs: Vec<NewJob>,
    reply: oneshot::Sender<Result<Vec<JobRow>, ApiError>>,
}

impl fmt::Debug for Gatherer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gatherer")
    }
}

/// Whether a submission can share a transaction.
pub(crate) fn can_share(jobs: &[NewJob]) -> bool {
    jobs.len() <= MOST_JOBS && jobs.iter().all(intake::is_plain)
}

impl Gatherer {
    /// Its tasks end with its last clone; whoever waits for an answer holds one.
    pub(crate) fn new(database: &PgPool, queues: &Queues) -> Self {
        let (database, queues) = (database.clone(), queues.clone());
        Self(Batcher::new(&TaskTracker::new(), SHAPE, move |batch| {
            let (database, queues) = (database.clone(), queues.clone());
            async move { take_in(&database, &queues, batch).await }
        }))
    }

    /// Takes in a submission that [can share](can_share) a transaction, and gives the rows once they are safe.
    pub(crate) async fn take_in(&self, org: OrgId, jobs: Vec<NewJob>) -> Result<Vec<JobRow>, ApiError> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Submission { org, jobs, reply });
        answer.await.map_err(ApiError::internal)?
    }
}

async fn take_in(database: &PgPool, queues: &Queues, mut batch: Vec<Submission>) {
    match insert(database, &batch).await {
        Ok(rows) => {
            #[cfg(feature = "failpoints")]
            crate::failpoint::reach("committed");
            intake::publish_rows(queues, &rows).await;
            let mut rows = rows.into_iter();
            for submission in batch {
                // Whoever asked may be gone; the jobs are in all the same.
                let _ = submission.reply.send(Ok(rows.by_ref().take(submission.jobs.len()).collect()));
            }
        }
        Err(error) if batch.len() == 1 || millrace_shared::db::is_unavailable(&error) => {
            if let Some(first) = batch.pop() {
                let _ = first.reply.send(Err(error.into()));
            }
            for submission in batch {
                let _ = submission.reply.send(Err(ApiError::Unavailable("the database", None)));
            }
        }
        // One that Postgres refuses must not spoil the others.
        Err(_) => {
            for submission in batch {
                Box::pin(take_in(database, queues, vec![submission])).await;
            }
        }
    }
}

async fn insert(database: &PgPool, batch: &[Submission]) -> sqlx::Result<Vec<JobRow>> {
    let jobs: Vec<(OrgId, &NewJob)> =
        batch.iter().flat_map(|submission| submission.jobs.iter().map(|job| (submission.org, job))).collect();
    let mut connection = database.acquire().await?;
    intake::accept_plain(&mut connection, &jobs).await
}
