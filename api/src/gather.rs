//! Group commit: submissions that arrive while others are being committed share the next transaction, and the next push to Redis.

use std::sync::Arc;

use millrace_shared::batcher::Shape;
use millrace_shared::db::jobs::JobRow;
use millrace_shared::ids::OrgId;
use millrace_shared::intake;
use millrace_shared::jobs::NewJob;
use millrace_shared::queue::Queues;
use sqlx::PgPool;

use crate::together::Together;

/// How many requests share a transaction at most, and how many transactions are on their way at once.
const SHAPE: Shape = Shape { size: 250, at_once: 3 };
/// Larger submissions have transactions of their own.
const MOST_JOBS: usize = 4;

/// A submission that [can share](can_share) a transaction.
#[derive(Clone)]
pub(crate) struct Submission {
    pub(crate) org: OrgId,
    pub(crate) jobs: Arc<[NewJob]>,
}

/// Takes in small submissions together, and gives their rows once they are safe.
pub(crate) type Gatherer = Together<Submission, Vec<JobRow>>;

/// Whether a submission can share a transaction.
pub(crate) fn can_share(jobs: &[NewJob]) -> bool {
    jobs.len() <= MOST_JOBS && jobs.iter().all(intake::is_plain)
}

pub(crate) fn gatherer(database: &PgPool, queues: &Queues) -> Gatherer {
    let (database, queues) = (database.clone(), queues.clone());
    Together::new(SHAPE, move |batch: Arc<[Submission]>| {
        let (database, queues) = (database.clone(), queues.clone());
        async move { take_in(&database, &queues, &batch).await }
    })
}

async fn take_in(database: &PgPool, queues: &Queues, batch: &[Submission]) -> sqlx::Result<Vec<Vec<JobRow>>> {
    let jobs: Vec<(OrgId, &NewJob)> =
        batch.iter().flat_map(|submission| submission.jobs.iter().map(|job| (submission.org, job))).collect();
    let mut connection = database.acquire().await?;
    let rows = intake::accept_plain(&mut connection, &jobs).await?;
    drop(connection);
    #[cfg(feature = "failpoints")]
    crate::failpoint::reach("committed");
    intake::publish_rows(queues, &rows).await;
    let mut rows = rows.into_iter();
    Ok(batch.iter().map(|submission| rows.by_ref().take(submission.jobs.len()).collect()).collect())
}
