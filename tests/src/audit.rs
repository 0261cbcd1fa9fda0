//! The audit: whatever broke, this must hold once everything is quiet.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use anyhow::{Result, ensure};
use uuid::Uuid;

use crate::{JobFacts, Line, PATIENCE, until};

/// What an audit found, for further questions.
#[derive(Debug)]
pub struct Audit {
    /// Every job of the ledger.
    pub jobs: HashMap<Uuid, JobFacts>,
    /// How many ended in which way.
    pub states: BTreeMap<String, usize>,
}

impl Audit {
    /// Asserts that every job succeeded in its first attempt: nothing that happened has cost one.
    ///
    /// # Errors
    /// The first job that did not.
    pub fn all_succeeded_at_once(&self) -> Result<()> {
        for job in self.jobs.values() {
            ensure!(job.state == "succeeded", "not succeeded: {job:?}");
            ensure!(job.failed_attempts == 0 && job.attempt == 1, "an attempt was used up: {job:?}");
        }
        Ok(())
    }
}

/// Waits until every job has ended, and asserts that
///
/// - every one of `accepted` is in the ledger,
/// - a job with an effect has left exactly one row if it succeeded, and none otherwise,
/// - Redis has forgotten all of them: no envelope, lease, counter or list entry is left.
///
/// At least one worker must run.
///
/// # Errors
/// What does not hold.
pub async fn audit(line: &Line, accepted: &[String], deadline: Duration) -> Result<Audit> {
    line.ledger.wait_all_ended(deadline).await?;
    let jobs: HashMap<Uuid, JobFacts> = line.ledger.jobs().await?.into_iter().map(|job| (job.id, job)).collect();
    let lost: Vec<&String> =
        accepted.iter().filter(|id| id.parse::<Uuid>().is_ok_and(|id| !jobs.contains_key(&id))).collect();
    ensure!(lost.is_empty(), "{} accepted jobs are not in the ledger: {lost:?}", lost.len());
    let mut states = BTreeMap::new();
    for job in jobs.values() {
        ensure!(["succeeded", "dead", "cancelled"].contains(&job.state.as_str()), "no end: {job:?}");
        let expected = i64::from(job.has_effect && job.state == "succeeded");
        ensure!(job.effects == expected, "{} effects where {expected} should be: {job:?}", job.effects);
        *states.entry(job.state.clone()).or_default() += 1;
    }
    let mut left = Vec::new();
    let clean = until("Redis has forgotten every job", PATIENCE, async || {
        left = line.redis.leftovers().await?;
        Ok(left.is_empty())
    });
    let clean = clean.await;
    ensure!(clean.is_ok(), "Redis still holds, long after the last end: {left:?}");
    Ok(Audit { jobs, states })
}
