//! `probe`: does what it is told.

use std::{hint::black_box, time::Duration};

use async_trait::async_trait;
use millrace_shared::{
    db::runs,
    jobs::{PacedProbe, Probe, ProbeOutcome, Rate},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::handler::{Effects, Handler, JobContext, JobError, Write};

/// Sleeps are cut into this many steps, each of which shows as progress and is kept as a checkpoint.
const STEPS: u64 = 10;
/// Shorter sleeps are not worth a checkpoint.
const SHORTEST_STEPPED_MS: u64 = 1_000;

/// How much memory is taken at a time, and how much at most where nothing limits it.
const MEMORY_PIECE_BYTES: usize = 16 << 20;
const MOST_MEMORY_BYTES: usize = 1 << 30;

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
        // By this the benchmarks tell when a handler started.
        tracing::trace!(job.id = %job.id, "probe begins");
        if let Some(limit) = &probe.limit {
            let rate = Rate::checked(limit.count, limit.period_ms).map_err(|error| JobError::fail("payload", error))?;
            if limit.of_all {
                Box::pin(job.limit_of_all(&limit.key, rate)).await?;
            } else {
                Box::pin(job.limit(&limit.key, rate)).await?;
            }
        }
        if job.snoozes < probe.snoozes {
            let after = Duration::from_millis(probe.snooze_ms);
            return Err(JobError::Snooze { after, source: "put off as told".into() });
        }
        // Boxed, like all that is rare: the future of a probe is as large as the largest thing that it may wait for.
        let slept = if probe.sleep_ms == 0 { Slept::default() } else { Box::pin(sleep(job, probe.sleep_ms)).await? };
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
            ProbeOutcome::Block => loop {
                std::thread::sleep(Duration::from_secs(3600));
            },
            ProbeOutcome::Exit => std::process::abort(),
            ProbeOutcome::StackOverflow => drop(black_box(overflow(1))),
            ProbeOutcome::OutOfMemory => exhaust_memory(),
        }
        let mut effects = Effects { result: Some(result_of(job, &probe, &slept)), ..Effects::default() };
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

fn result_of(job: &JobContext, probe: &Probe, slept: &Slept) -> Value {
    let remaining_ms = u64::try_from(job.remaining().as_millis()).unwrap_or(u64::MAX);
    let mut result = json!({ "attempt": job.attempt, "remaining_ms": remaining_ms });
    if !slept.steps.is_empty() {
        result["steps"] = json!(slept.steps);
        result["resumed_at_ms"] = json!(slept.resumed_at_ms);
    }
    if !probe.echo.is_empty() {
        result["echo"] = json!(probe.echo);
    }
    if probe.bytes > 0 {
        result["data"] = json!("x".repeat(probe.bytes as usize));
    }
    result
}

/// What a probe keeps of its sleep for its next run.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Slept {
    ms: u64,
    /// How many steps each run that did any has done.
    steps: Vec<u64>,
    #[serde(skip)]
    resumed_at_ms: u64,
}

/// Sleeps, going on from the last checkpoint.
async fn sleep(job: &JobContext, total_ms: u64) -> Result<Slept, JobError> {
    if total_ms < SHORTEST_STEPPED_MS {
        tokio::time::sleep(Duration::from_millis(total_ms)).await;
        return Ok(Slept::default());
    }
    let mut slept = job.saved::<Slept>().unwrap_or_default();
    slept.resumed_at_ms = slept.ms;
    slept.steps.push(0);
    while slept.ms < total_ms {
        let step_ms = (total_ms / STEPS).clamp(1, total_ms - slept.ms);
        tokio::time::sleep(Duration::from_millis(step_ms)).await;
        slept.ms += step_ms;
        if let Some(steps) = slept.steps.last_mut() {
            *steps += 1;
        }
        job.checkpoint(json!(slept)).await?;
        let percent = u8::try_from(slept.ms * 100 / total_ms).unwrap_or(100);
        job.progress(percent, &format!("slept {} of {total_ms} ms", slept.ms)).await;
    }
    Ok(slept)
}

/// Calls itself until the stack is used up. What stays on the stack is read after the inner call, so that no loop can be made of it.
fn overflow(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if depth == 0 { 0 } else { overflow(black_box(depth + 1)) + frame[1] }
}

/// Takes memory until there is none, which aborts the process. Where nothing limits it, the last piece is larger than any machine.
fn exhaust_memory() {
    let mut taken = Vec::new();
    while taken.len() < MOST_MEMORY_BYTES / MEMORY_PIECE_BYTES {
        taken.push(black_box(vec![1_u8; MEMORY_PIECE_BYTES]));
    }
    taken.push(black_box(Vec::with_capacity(1 << 62)));
}
