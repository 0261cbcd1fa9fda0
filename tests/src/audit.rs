//! The audit: whatever broke, this must hold once everything is quiet.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::Duration,
};

use anyhow::{Result, ensure};
use uuid::Uuid;

use crate::{JobFacts, Line, PATIENCE, metric, until};

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

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effects: i64 = self.jobs.values().map(|job| job.effects).sum();
        write!(f, "audit: {} jobs, by state {:?}, {effects} effects", self.jobs.len(), self.states)
    }
}

/// Waits until every job has ended, and asserts that
///
/// - every one of `accepted` is in the ledger,
/// - a job with an effect has left exactly one row if it succeeded, and none otherwise,
/// - no unique key is held by a job that has ended,
/// - Redis has forgotten all of them: in no queue is an envelope, lease, counter, list entry or turn left,
/// - no live worker counts a running job.
///
/// At least one worker must run.
///
/// # Errors
/// What does not hold.
pub async fn audit(line: &Line, accepted: &[String], deadline: Duration) -> Result<Audit> {
    audit_within(line, accepted, deadline, PATIENCE).await
}

/// As [`audit`], with `patience` for Redis and the workers to forget the last jobs.
///
/// # Errors
/// What does not hold.
pub async fn audit_within(line: &Line, accepted: &[String], deadline: Duration, patience: Duration) -> Result<Audit> {
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
    let strays = line.ledger.strays().await?;
    ensure!(strays.is_empty(), "Postgres still holds: {strays:?}");
    forgotten(line, patience).await?;
    Ok(Audit { jobs, states })
}

/// Waits until neither Redis nor a live worker holds anything of a job.
///
/// # Errors
/// What they still hold after `patience`.
pub async fn forgotten(line: &Line, patience: Duration) -> Result<()> {
    let mut left = Vec::new();
    let clean = until("every job is forgotten", patience, async || {
        left = line.redis.leftovers().await?;
        for worker in line.live_workers() {
            let running = metric(&worker.url(), "millrace_running").await?;
            if running != 0.0 {
                left.push(format!("{} counts {running} running jobs", worker.process().name()));
            }
        }
        Ok(left.is_empty())
    });
    let clean = clean.await;
    ensure!(clean.is_ok(), "still held, long after the last end: {left:?}");
    Ok(())
}
