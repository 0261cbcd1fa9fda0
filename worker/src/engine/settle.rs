//! The backend's layer: around every handler it keeps the lease, writes the end to the ledger, and settles in Redis.
//!
//! Each run is a task of its own, so that handlers run on all cores: apalis polls a worker's futures on one task. What apalis gets is done at
//! once, because it would be woken by each end only to look it up among all that run; the engine knows by its places what still runs.

use std::{
    fmt,
    future::{Future, Ready, ready},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use apalis_core::{error::BoxDynError, task::Task};
use metrics::Gauge;
use millrace_shared::{
    batcher::{Batcher, Shape},
    db::runs::Success,
    ids::OrgId,
    jobs::QueueName,
    queue::{Claimed, GiveBack, Lease, MAX_BATCH, Queues},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{Layer, Service};
use tracing::Instrument as _;

use super::{
    buffer::{Place, Slot},
    conclude::{Concluder, Conclusion, meta_after},
    finish::{Finished, Finisher},
    isolate::Isolation,
    keeper::Keeper,
    run::{Outcome, Run, RunInfo, outcome_of},
};

/// A job that vanished with its worker so often is convicted without another run.
const MAX_LOST: u32 = 10;

/// A queue's way of ending runs in Redis, in batches.
#[derive(Clone, Debug)]
pub(crate) struct Settler {
    settles: Batcher<Held<(Lease, OrgId)>>,
    give_backs: Batcher<Held<GiveBack>>,
}

/// Something to be told to Redis, with the job's place, which is free once that is done.
type Held<T> = (T, Option<Place>);

/// One batch at a time: Redis works on one at a time, too.
const BATCH: Shape = Shape { size: MAX_BATCH, at_once: 1 };

impl Settler {
    pub(crate) fn new(tracker: &TaskTracker, queues: &Queues, queue: QueueName, patience: &Patience) -> Self {
        let (settle, give_back) = ((queues.clone(), patience.clone()), (queues.clone(), patience.clone()));
        let settles = Batcher::new(tracker, BATCH, move |batch: Vec<Held<(Lease, OrgId)>>| {
            let (queues, patience) = settle.clone();
            async move {
                let (leases, _places): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
                patience.persevere(leases.len(), || queues.settle(queue, &leases)).await;
            }
        });
        let give_backs = Batcher::new(tracker, BATCH, move |batch: Vec<Held<GiveBack>>| {
            let (queues, patience) = give_back.clone();
            async move {
                let (jobs, _places): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
                patience.persevere(jobs.len(), || queues.give_back(queue, &jobs)).await;
            }
        });
        Self { settles, give_backs }
    }

    /// Brings a conclusion to Redis, some time soon.
    pub(crate) fn apply(&self, info: &RunInfo, conclusion: Conclusion, place: Option<Place>) {
        let (lease, org) = (info.lease, info.org);
        match conclusion {
            Conclusion::Forget => self.settles.send(((lease, org), place)),
            Conclusion::Later { delay_ms, attempt, snoozes } => {
                let delay = Some(Duration::from_millis(delay_ms));
                let meta = meta_after(info, attempt, snoozes);
                self.give_backs.send((GiveBack { lease, org, delay, meta }, place));
            }
            Conclusion::HandBack => {
                metrics::counter!("millrace_handed_back_total", "queue" => info.queue.as_str()).increment(1);
                self.give_backs.send((GiveBack { lease, org, delay: None, meta: info.meta }, place));
            }
        }
    }

    /// Gives back a claimed job of which there is no run: after a delay, or to the front.
    pub(crate) fn put_back(&self, job: &Claimed, delay: Option<Duration>) {
        self.give_backs.send((GiveBack { lease: job.lease, org: job.org, delay, meta: job.meta }, None));
    }

    /// Gives back a job that was claimed and never started.
    pub(crate) fn hand_back(&self, mut run: Run) {
        self.apply(&run.info, Conclusion::HandBack, run.place.take());
    }
}

/// How long to go on trying while Redis is away.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    /// As long as a lease lasts: after that the jobs come back by themselves.
    pub(crate) longest: Duration,
    /// Cancelled when the worker must go at once.
    pub(crate) give_up: CancellationToken,
}

impl Patience {
    /// Repeats a call about `count` jobs until it works.
    async fn persevere<T, Fut: Future<Output = redis::RedisResult<T>>>(&self, count: usize, call: impl Fn() -> Fut) {
        let start = Instant::now();
        let mut wait = Duration::from_millis(50);
        while let Err(error) = call().await {
            if start.elapsed() + wait > self.longest || self.give_up.is_cancelled() {
                tracing::warn!(error = %error, jobs = count, "jobs could not be settled; they come back and the ledger will know them");
                return;
            }
            self.give_up.run_until_cancelled(tokio::time::sleep(wait)).await;
            wait = (wait * 2).min(Duration::from_secs(1));
        }
    }
}

/// What the layer needs.
pub(crate) struct Parts {
    pub(crate) keeper: Keeper,
    pub(crate) concluder: Concluder,
    pub(crate) finisher: Finisher,
    pub(crate) settler: Settler,
    pub(crate) isolation: Arc<Isolation>,
    pub(crate) tracker: TaskTracker,
    /// How many jobs of the queue run here.
    pub(crate) running: Gauge,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parts")
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct SettleLayer(pub(crate) Arc<Parts>);

impl<S> Layer<S> for SettleLayer {
    type Service = SettleService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SettleService { inner, parts: Arc::clone(&self.0) }
    }
}

/// See [`SettleLayer`].
#[derive(Clone, Debug)]
pub(crate) struct SettleService<S> {
    inner: S,
    parts: Arc<Parts>,
}

impl<S> Service<Task<Run>> for SettleService<S>
where
    S: Service<Task<Run>, Response = Outcome, Error = BoxDynError>,
    S::Future: Send + 'static,
{
    type Response = ();
    type Error = BoxDynError;
    type Future = Ready<Result<(), BoxDynError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut task: Task<Run>) -> Self::Future {
        let info = Arc::clone(&task.args.info);
        let hold = (task.args.slot.take(), task.args.place.take());
        let parts = Arc::clone(&self.parts);
        let span = info.span();
        // A suspect's handler never runs in this process; its future is not even made.
        let handler = (info.meta.lost == 0).then(|| self.inner.call(task));
        let run = parts.run(info, handler, hold);
        self.parts.tracker.spawn(run.instrument(span));
        ready(Ok(()))
    }
}

impl Parts {
    async fn run(
        self: Arc<Self>,
        info: Arc<RunInfo>,
        handler: Option<impl Future<Output = Result<Outcome, BoxDynError>>>,
        (slot, place): (Option<Slot>, Option<Place>),
    ) {
        let kept = self.keeper.keep((info.queue, info.lease), info.switch.clone(), info.timeout);
        self.running.increment(1.0);
        let start = Instant::now();
        let ended = match handler {
            Some(handler) => Ok(outcome_of(handler.await)),
            // Boxed, like all that is rare: a task is as large as the largest thing that it may wait for.
            None => {
                // Its process has a time limit of its own, and waits for its turn before.
                info.switch.handler_has_ended();
                Err(Box::pin(self.run_suspect(&info)).await)
            }
        };
        info.switch.handler_has_ended();
        let elapsed = start.elapsed();
        self.concluder.handlers.note_duration(&info.kind, elapsed);
        self.running.decrement(1.0);
        let conclusion = match ended {
            // A unique job's end hands its key on, which is a matter of its own.
            Ok(Outcome::Done(mut effects, context)) if !info.is_unique => {
                let success =
                    Success { id: info.lease.id, attempt: info.attempt(), elapsed, result: effects.result.take() };
                let parts = Arc::clone(&self);
                let finished = Finished { info, success, effects, context, kept, slot, place, parts };
                self.finisher.finish(finished);
                return;
            }
            Ok(outcome) => Box::pin(self.concluder.conclude(&info, outcome, elapsed)).await,
            Err(conclusion) => conclusion,
        };
        drop(kept);
        self.settler.apply(&info, conclusion, place);
        drop(slot);
    }

    async fn run_suspect(&self, info: &RunInfo) -> Conclusion {
        if info.meta.lost > MAX_LOST {
            let error = format!("its worker vanished {} times while it ran", info.meta.lost);
            return self.concluder.convict(info, error, Duration::ZERO).await;
        }
        self.isolation.run(info, &self.concluder).await
    }
}
