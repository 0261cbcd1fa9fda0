//! Successes, written in batches.
//!
//! Most jobs that go well have nothing to write but that. Nobody waits for those: the handler's slot is free again at once, while the job
//! keeps its lease and its place in the worker until the ledger and then Redis have heard of it. A job with effects keeps its slot until they
//! are in, so that effects do not pile up in memory; but it shares its transaction with others, because a commit waits for the disk.
//!
//! A batch is one transaction, and each job of it has its own guard: the effects of a job that had ended before are left out.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use millrace_shared::{
    batcher::{Batcher, Shape},
    db::{
        jobs::JobRow,
        runs::{self, Success},
    },
    ids::JobId,
    ledger,
};
use sqlx::Connection as _;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::{
    buffer::{Place, Slot},
    conclude::{Concluder, Conclusion},
    keeper::Kept,
    persist::{Written, persist},
    run::RunInfo,
    settle::Parts,
    truth::Truth,
};
use crate::handler::{Effects, JobContext};

/// Two batches at once: while one waits for the disk, the other one is worked out.
const PLAIN: Shape = Shape { size: 500, at_once: 2 };
/// Smaller, because one that fails is written once more job by job.
const WITH_EFFECTS: Shape = Shape { size: 100, at_once: 2 };

/// A job that went well.
pub(crate) struct Finished {
    pub(crate) info: Arc<RunInfo>,
    pub(crate) success: Success,
    pub(crate) effects: Effects,
    pub(crate) context: Box<JobContext>,
    pub(crate) kept: Kept,
    pub(crate) slot: Option<Slot>,
    pub(crate) place: Option<Place>,
    pub(crate) parts: Arc<Parts>,
}

/// Writes successes.
#[derive(Clone)]
pub(crate) struct Finisher {
    plain: Batcher<Finished>,
    with_effects: Batcher<Finished>,
}

impl fmt::Debug for Finisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Finisher")
    }
}

impl Finisher {
    pub(crate) fn new(tracker: &TaskTracker, concluder: &Concluder) -> Self {
        let batcher = |shape| {
            let concluder = concluder.clone();
            Batcher::new(tracker, shape, move |batch| {
                let concluder = concluder.clone();
                async move { finish(&concluder, batch).await }
            })
        };
        Self { plain: batcher(PLAIN), with_effects: batcher(WITH_EFFECTS) }
    }

    /// Has a success written and settled, some time soon.
    pub(crate) fn finish(&self, mut finished: Finished) {
        if finished.effects.is_plain() {
            drop(finished.slot.take());
            self.plain.send(finished);
        } else {
            self.with_effects.send(finished);
        }
    }
}

async fn finish(concluder: &Concluder, mut batch: Vec<Finished>) {
    match persist(&concluder.give_up, || succeed(concluder, &batch)).await {
        Written::Done(counted) => {
            count(&batch, &counted);
            batch.into_iter().for_each(|job| job.settle(Conclusion::Forget));
        }
        Written::GaveUp => batch.into_iter().for_each(|job| job.settle(Conclusion::HandBack)),
        Written::Refused(error) if batch.len() == 1 => {
            let Some(job) = batch.pop() else { return };
            let refuse = concluder.refuse(&job.info, &error, job.success.elapsed);
            let conclusion = refuse.instrument(job.info.span()).await;
            job.settle(conclusion);
        }
        // One that Postgres refuses must not spoil the others.
        Written::Refused(_) => {
            for job in batch {
                Box::pin(finish(concluder, vec![job])).await;
            }
        }
    }
}

impl Finished {
    fn settle(self, conclusion: Conclusion) {
        drop(self.kept);
        self.parts.settler.apply(&self.info, conclusion, self.place);
        drop(self.slot);
    }
}

async fn succeed(concluder: &Concluder, batch: &[Finished]) -> sqlx::Result<HashSet<JobId>> {
    if concluder.truth == Truth::RedisAlone {
        return Ok(batch.iter().map(|job| job.success.id).collect());
    }
    let successes: Vec<&Success> = batch.iter().map(|job| &job.success).collect();
    let mut connection = concluder.pool.acquire().await?;
    if batch.iter().all(|job| job.effects.is_plain()) {
        return Ok(runs::succeed(&mut connection, &concluder.worker, &successes).await?.into_iter().collect());
    }
    let mut transaction = connection.begin().await?;
    for job in batch {
        job.effects.prepare(&mut transaction, &job.context).await?;
    }
    let counted: HashSet<JobId> =
        runs::succeed(&mut transaction, &concluder.worker, &successes).await?.into_iter().collect();
    let mut followers: Vec<JobRow> = Vec::new();
    for job in batch.iter().filter(|job| counted.contains(&job.success.id)) {
        followers.extend(job.effects.write(&mut transaction, &job.context).await?);
    }
    transaction.commit().await?;
    ledger::publish(&concluder.queues, &followers).await;
    for job in batch.iter().filter(|job| counted.contains(&job.success.id)) {
        job.effects.settled(&job.context).await;
    }
    Ok(counted)
}

fn count(batch: &[Finished], counted: &HashSet<JobId>) {
    let mut by_kind: HashMap<&str, u64> = HashMap::new();
    for job in batch {
        if counted.contains(&job.success.id) {
            *by_kind.entry(&job.info.kind).or_default() += 1;
        } else {
            tracing::info!(job.id = %job.success.id, "the job had ended already; this delivery's effects do not count");
        }
    }
    for (kind, jobs) in by_kind {
        metrics::counter!("millrace_jobs_ended_total", "kind" => kind.to_owned(), "outcome" => "succeeded")
            .increment(jobs);
    }
}
