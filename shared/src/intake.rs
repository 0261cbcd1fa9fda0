//! Taking in submissions: checks, the ledger, and what else a kind wants done in the same transaction.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use sqlx::PgConnection;

use crate::db::assets;
use crate::db::jobs::JobRow;
use crate::ids::{JobId, OrgId};
use crate::jobs::{AssetProcess, FieldError, JobPayload as _, JobRequest, Kinds, NewJob, QueueName, SubmitError};
use crate::ledger::{self, Accepted, Ended};
use crate::queue::Queues;

/// A submission was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// Fields that are wrong.
    #[error("the submission is not valid")]
    Invalid(Vec<FieldError>),
    /// Postgres.
    #[error("the database gave no answer")]
    Database(#[from] sqlx::Error),
}

/// Checks every request and gives the jobs, or all that is wrong. `place` names a request within the body, such as `jobs[3].`.
///
/// # Errors
/// All fields of all requests that are wrong.
pub fn check(
    kinds: &Kinds,
    requests: Vec<JobRequest>,
    trace_context: &str,
    place: impl Fn(usize) -> String,
) -> Result<Vec<NewJob>, Vec<FieldError>> {
    let mut jobs = Vec::with_capacity(requests.len());
    let mut errors = Vec::new();
    for (index, request) in requests.into_iter().enumerate() {
        match request.check(kinds) {
            Ok(job) => jobs.push(NewJob { trace_context: Some(trace_context.to_owned()), ..job }),
            Err(SubmitError(fields)) => errors.extend(at(&place(index), fields)),
        }
    }
    if errors.is_empty() { Ok(jobs) } else { Err(errors) }
}

fn at(place: &str, fields: Vec<FieldError>) -> impl Iterator<Item = FieldError> {
    fields.into_iter().map(move |field| FieldError::new(format!("{place}{}", field.field), field.message))
}

/// Puts checked jobs into the ledger, all or none, within the caller's transaction. Commit, then call [`publish`].
///
/// # Errors
/// When a payload names something that the organisation does not have, or Postgres is away.
pub async fn accept(
    connection: &mut PgConnection,
    org: OrgId,
    jobs: &[NewJob],
    place: impl Fn(usize) -> String,
) -> Result<Vec<Accepted>, IntakeError> {
    let accepted = ledger::accept(connection, org, jobs).await?;
    let mut errors = Vec::new();
    for (index, accepted) in accepted.iter().enumerate() {
        errors.extend(at(&place(index), prepare(connection, org, accepted).await?));
    }
    if errors.is_empty() { Ok(accepted) } else { Err(IntakeError::Invalid(errors)) }
}

/// Whether a job's row is all that its acceptance writes, so that it can share a transaction with the jobs of others.
#[must_use]
pub fn is_plain(job: &NewJob) -> bool {
    job.unique_key.is_none() && job.kind != AssetProcess::KIND
}

/// Puts checked jobs that are [plain](is_plain), of any organisations, into the ledger. Gives their rows, in their order.
///
/// # Errors
/// Those of the database.
pub async fn accept_plain(connection: &mut PgConnection, jobs: &[(OrgId, &NewJob)]) -> sqlx::Result<Vec<JobRow>> {
    crate::db::jobs::insert(connection, jobs, None).await
}

/// What a kind wants done when its job is accepted. One line a kind that has something to do.
async fn prepare(
    connection: &mut PgConnection,
    org: OrgId,
    accepted: &Accepted,
) -> Result<Vec<FieldError>, sqlx::Error> {
    let row = accepted.row();
    if row.kind == AssetProcess::KIND
        && let Ok(payload) = serde_json::from_value::<AssetProcess>(row.payload.clone())
        && !assets::reset_pending(connection, org, payload.asset_id, row.id).await?
    {
        return Ok(vec![no_such_asset()]);
    }
    Ok(Vec::new())
}

/// What a payload names that the organisation does not have: the same as a submission of it would be refused for, with nothing submitted.
///
/// # Errors
/// Those of the database.
pub async fn missing(
    connection: &mut PgConnection,
    org: OrgId,
    kind: &str,
    payload: &Value,
) -> sqlx::Result<Vec<FieldError>> {
    if kind == AssetProcess::KIND
        && let Ok(payload) = serde_json::from_value::<AssetProcess>(payload.clone())
        && assets::get(connection, org, payload.asset_id).await?.is_none()
    {
        return Ok(vec![no_such_asset()]);
    }
    Ok(Vec::new())
}

fn no_such_asset() -> FieldError {
    FieldError::new("payload.asset_id", "names no asset of this organisation")
}

/// How long a caller waits for Redis to hear of accepted jobs. Whoever submits must not feel that Redis is away.
const PUBLISH_TIMEOUT: Duration = Duration::from_millis(500);

/// Tells Redis of accepted jobs, after the commit. A failure is logged and not given back: the jobs are safe, and the reconciler
/// brings them.
pub async fn publish(queues: &Queues, accepted: &[Accepted]) {
    within_patience(tell(queues, accepted)).await;
}

/// Tells Redis of what follows from a commit, for as long as a caller can be made to wait.
pub async fn within_patience(telling: impl Future<Output = ()>) {
    if tokio::time::timeout(PUBLISH_TIMEOUT, telling).await.is_err() {
        metrics::counter!("millrace_push_failures_total").increment(1);
        tracing::warn!("Redis did not answer in time; the reconciler will bring it what it missed");
    }
}

/// Tells Redis, and through it the workers that run them, of jobs that were cancelled; and lets the jobs behind them run. After the commit.
pub async fn withdraw(queues: &Queues, ended: &[Ended]) {
    let mut by_queue: HashMap<&str, Vec<JobId>> = HashMap::new();
    for ended in ended {
        by_queue.entry(&ended.row.queue).or_default().push(ended.row.id);
    }
    let unblocked: Vec<JobRow> = ended.iter().filter_map(|ended| ended.unblocked.clone()).collect();
    within_patience(async {
        for (queue, ids) in by_queue {
            let Ok(queue) = queue.parse::<QueueName>() else { continue };
            if let Err(error) = queues.cancel(queue, &ids).await {
                tracing::warn!(error = %error, jobs = ids.len(), job.id = %ids[0], "cancelled jobs are still in Redis; the ledger will refuse their end");
            }
        }
        ledger::publish(queues, &unblocked).await;
    })
    .await;
}

/// As [`publish`], for new rows.
pub async fn publish_rows(queues: &Queues, rows: &[JobRow]) {
    within_patience(ledger::publish(queues, rows)).await;
}

async fn tell(queues: &Queues, accepted: &[Accepted]) {
    let new: Vec<_> =
        accepted.iter().filter(|job| matches!(job, Accepted::New(_))).map(|job| job.row().clone()).collect();
    ledger::publish(queues, &new).await;
    for job in accepted {
        if let Accepted::Replaced(row) = job {
            ledger::publish_replacement(queues, row).await;
        }
    }
}
