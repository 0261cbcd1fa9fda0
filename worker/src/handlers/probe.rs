//! `probe`: does what it is told.

use std::time::Duration;

use async_trait::async_trait;
use millrace_shared::{
    db::runs,
    jobs::{PacedProbe, Probe, ProbeOutcome, Rate},
};
use serde_json::json;
use sqlx::PgConnection;

use crate::handler::{Effects, Handler, JobContext, JobError, Write};

/// Sleeps are cut into this many steps, each of which shows as progress and is kept as a checkpoint.
const STEPS: u64 = 10;
/// Shorter sleeps are not worth a checkpoint.
const SHORTEST_STEPPED_MS: u64 = 1_000;

#[derive(Debug)]
pub(crate) struct ProbeHandler;

struct ProbeEffect;

#[async_trait]
impl Write for ProbeEffect {
    async fn apply(&self, connection: &mut PgConnection, job: &JobContext) -> sqlx::Result<()> {
        runs::probe_effect(connection, job.org, job.id, job.attempt).await
    }
}

#[async_trait]
impl Handler for ProbeHandler {
    type Payload = Probe;

    async fn run(&self, job: &JobContext, probe: Probe) -> Result<Effects, JobError> {
        if let Some(limit) = &probe.limit {
            let rate = Rate::checked(limit.count, limit.period_ms).map_err(|error| JobError::fail("payload", error))?;
            if limit.of_all {
                job.limit_of_all(&limit.key, rate).await?;
            } else {
                job.limit(&limit.key, rate).await?;
            }
        }
        if job.snoozes < probe.snoozes {
            let after = Duration::from_millis(probe.snooze_ms);
            return Err(JobError::Snooze { after, source: "put off as told".into() });
        }
        let resumed_ms = sleep(job, probe.sleep_ms).await?;
        if job.attempt <= probe.fail_attempts {
            return Err(JobError::retry(
                "probe",
                format!("failed as told, attempt {} of {}", job.attempt, probe.fail_attempts),
            ));
        }
        match probe.outcome {
            ProbeOutcome::Succeed => {}
            ProbeOutcome::Retry => return Err(JobError::retry("probe", "failed as told, as always")),
            ProbeOutcome::Fail => return Err(JobError::fail("probe", "failed for good as told")),
            ProbeOutcome::Panic => panic!("panicked as told"),
            ProbeOutcome::Hang => std::future::pending::<()>().await,
            ProbeOutcome::Exit => std::process::abort(),
        }
        let mut effects = Effects {
            result: Some(json!({
                "attempt": job.attempt,
                "resumed_at_ms": resumed_ms,
                "remaining_ms": u64::try_from(job.remaining().as_millis()).unwrap_or(u64::MAX),
                "data": "x".repeat(probe.bytes as usize),
            })),
            ..Effects::default()
        };
        if probe.effect {
            effects.writes.push(Box::new(ProbeEffect));
        }
        Ok(effects)
    }
}

#[derive(Debug)]
pub(crate) struct PacedProbeHandler;

#[async_trait]
impl Handler for PacedProbeHandler {
    type Payload = PacedProbe;

    async fn run(&self, job: &JobContext, PacedProbe(probe): PacedProbe) -> Result<Effects, JobError> {
        ProbeHandler.run(job, probe).await
    }
}

/// Sleeps, going on from the last checkpoint. Gives where it went on from.
async fn sleep(job: &JobContext, total_ms: u64) -> Result<u64, JobError> {
    if total_ms < SHORTEST_STEPPED_MS {
        tokio::time::sleep(Duration::from_millis(total_ms)).await;
        return Ok(0);
    }
    let resumed_ms = job.saved::<u64>().unwrap_or(0).min(total_ms);
    let mut slept_ms = resumed_ms;
    while slept_ms < total_ms {
        let step_ms = (total_ms / STEPS).clamp(1, total_ms - slept_ms);
        tokio::time::sleep(Duration::from_millis(step_ms)).await;
        slept_ms += step_ms;
        job.checkpoint(json!(slept_ms)).await?;
        let percent = u8::try_from(slept_ms * 100 / total_ms).unwrap_or(100);
        job.progress(percent, &format!("slept {slept_ms} of {total_ms} ms")).await;
    }
    Ok(resumed_ms)
}
