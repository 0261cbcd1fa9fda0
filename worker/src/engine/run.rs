//! One run of a job: from the claim to its handler's end.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use apalis_core::{error::BoxDynError, task::Task};
use millrace_shared::{
    db::runs::Known,
    ids::OrgId,
    jobs::{Policy, QueueName},
    queue::{Claimed, Lease, Meta, Queues, json_of},
};
use serde_json::{Value, value::RawValue};
use sqlx::PgPool;
use tower::Service;

use super::{
    buffer::{Place, Slot},
    keeper::{Stop, Switch},
};
use crate::handler::{Effects, Handlers, JobContext, JobError};

/// What is known of a claimed job beside its payload.
#[derive(Debug)]
pub(crate) struct RunInfo {
    pub(crate) lease: Lease,
    pub(crate) queue: QueueName,
    pub(crate) org: OrgId,
    /// What it had been through when it was claimed.
    pub(crate) meta: Meta,
    pub(crate) kind: String,
    pub(crate) max_attempts: u32,
    pub(crate) timeout: Duration,
    /// Whether its end must hand a unique key on.
    pub(crate) is_unique: bool,
    pub(crate) trace_context: Option<String>,
    pub(crate) switch: Switch,
}

impl RunInfo {
    /// The span that everything which is logged about the run stands in.
    pub(crate) fn span(&self) -> tracing::Span {
        tracing::info_span!(
            "job", job.id = %self.lease.id, job.kind = self.kind, job.attempt = self.attempt(), org.id = %self.org,
            trace.parent = self.trace_context
        )
    }

    /// The attempt that this run is, counted from 1.
    pub(crate) fn attempt(&self) -> u32 {
        self.meta.attempt + 1
    }
}

/// A claimed job on its way to its handler: what the backend emits as a task's arguments.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) info: Arc<RunInfo>,
    pub(crate) payload: Box<RawValue>,
    pub(crate) checkpoint: Option<Value>,
    pub(crate) claimed_at: Instant,
    /// Its place in the worker; a suspect's child has none to give.
    pub(crate) place: Option<Place>,
    /// Its slot, once it has one.
    pub(crate) slot: Option<Slot>,
}

impl Run {
    /// A claimed job that is what its envelope says, which is readable then.
    pub(crate) fn as_told(queue: QueueName, claimed: Claimed, place: Place) -> Option<Self> {
        let envelope = claimed.envelope.ok()?;
        let info = RunInfo {
            lease: claimed.lease,
            queue,
            org: claimed.org,
            meta: claimed.meta,
            kind: envelope.kind,
            max_attempts: u32::from(envelope.max_attempts),
            timeout: envelope.timeout,
            is_unique: false,
            trace_context: envelope.trace_context,
            switch: Switch::default(),
        };
        let payload = envelope.payload.unwrap_or_else(null);
        let (info, claimed_at) = (Arc::new(info), Instant::now());
        Some(Self { info, payload, checkpoint: None, claimed_at, place: Some(place), slot: None })
    }

    /// Joins a claim with what the ledger knows of the job.
    pub(crate) fn new(queue: QueueName, claimed: Claimed, known: Known, place: Option<Place>) -> Self {
        let envelope = claimed.envelope.ok().and_then(|envelope| envelope.payload);
        let used_up = u32::try_from(known.attempt).unwrap_or(0);
        let info = RunInfo {
            lease: claimed.lease,
            queue,
            org: known.org_id,
            // A worker that died between ledger and Redis leaves Redis behind by an attempt.
            meta: Meta { attempt: claimed.meta.attempt.max(used_up), ..claimed.meta },
            kind: known.kind,
            max_attempts: u32::try_from(known.max_attempts).unwrap_or(1),
            timeout: Duration::from_millis(u64::try_from(known.timeout_ms).unwrap_or(0)),
            is_unique: known.is_unique,
            trace_context: known.trace_context,
            switch: Switch::default(),
        };
        let payload = known.payload.as_ref().map(json_of).or(envelope).unwrap_or_else(null);
        let claimed_at = Instant::now();
        Self { info: Arc::new(info), payload, checkpoint: known.checkpoint, claimed_at, place, slot: None }
    }
}

#[cfg(test)]
impl Run {
    /// A run of no particular job.
    pub(crate) fn sample(org: OrgId, place: Option<Place>) -> Self {
        let info = RunInfo {
            lease: Lease { id: millrace_shared::ids::JobId::new(), token: 1 },
            queue: millrace_shared::jobs::QUEUES[3],
            org,
            meta: Meta::default(),
            kind: "probe".to_owned(),
            max_attempts: 1,
            timeout: Duration::from_secs(1),
            is_unique: false,
            trace_context: None,
            switch: Switch::default(),
        };
        let (info, claimed_at) = (Arc::new(info), Instant::now());
        Self { info, payload: null(), checkpoint: None, claimed_at, place, slot: None }
    }
}

fn null() -> Box<RawValue> {
    RawValue::NULL.to_owned()
}

/// How a run ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Well.
    Done(Effects, Box<JobContext>),
    /// With an error of the handler.
    Error(JobError),
    /// Its time was up.
    TimedOut,
    /// Its handler panicked.
    Panicked(String),
    /// It was stopped from outside.
    Stopped(Stop),
    /// This worker has no handler for it.
    NoHandler,
}

/// Runs handlers: the innermost service of a worker, without the ledger and without Redis.
#[derive(Clone, Debug)]
pub(crate) struct HandlerService {
    pub(crate) handlers: Arc<Handlers>,
    pub(crate) pool: PgPool,
    pub(crate) queues: Arc<Queues>,
}

impl Service<Task<Run>> for HandlerService {
    type Response = Outcome;
    type Error = BoxDynError;
    type Future = Pin<Box<dyn Future<Output = Result<Outcome, BoxDynError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, task: Task<Run>) -> Self::Future {
        let service = self.clone();
        let (run, _) = task.take();
        Box::pin(async move { Ok(service.run(run).await) })
    }
}

impl HandlerService {
    async fn run(&self, run: Run) -> Outcome {
        let Run { info, payload, checkpoint, .. } = run;
        if let Some(stop) = info.switch.reason() {
            return Outcome::Stopped(stop);
        }
        let Some(handler) = self.handlers.get(&info.kind) else { return Outcome::NoHandler };
        let context = Box::new(JobContext {
            id: info.lease.id,
            org: info.org,
            attempt: info.attempt(),
            snoozes: info.meta.snoozes,
            deadline: Instant::now() + info.timeout,
            switch: info.switch.clone(),
            pool: self.pool.clone(),
            queues: Arc::clone(&self.queues),
            checkpoint: Mutex::new(checkpoint),
            last_progress: Mutex::new(None),
        });
        let work = tokio::time::timeout(info.timeout, (handler.run)(&context, payload));
        let ended = tokio::select! {
            // The handler first: most are done before anything else needs to be looked at.
            biased;
            ended = work => ended,
            stop = info.switch.stopped() => return Outcome::Stopped(stop),
        };
        match ended {
            Ok(Ok(effects)) => Outcome::Done(effects, context),
            Ok(Err(error)) => Outcome::Error(error),
            Err(_) => Outcome::TimedOut,
        }
    }
}

/// The policy of a kind, or the default one for a kind that has no handler here.
pub(crate) fn policy_of(handlers: &Handlers, kind: &str) -> Policy {
    handlers.get(kind).map_or(Policy::DEFAULT, |handler| handler.policy)
}

/// A caught panic.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Panicked(pub(crate) String);

/// What apalis' panic layer makes of a panic.
pub(crate) fn panicked(panic: &Box<dyn std::any::Any + Send>) -> Panicked {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    Panicked(text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned()))
}

/// What a service stack gave back, as an outcome.
pub(crate) fn outcome_of(result: Result<Outcome, BoxDynError>) -> Outcome {
    match result {
        Ok(outcome) => outcome,
        Err(error) => Outcome::Panicked(error.to_string()),
    }
}
