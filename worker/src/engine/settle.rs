//! The backend's layer: around every handler it keeps the lease, writes the end to the ledger, and settles in Redis.
//!
//! Each run is a task of its own, so that handlers run on all cores (apalis polls a worker's futures on one task).

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use apalis_core::{error::BoxDynError, task::Task};
use futures_util::future::BoxFuture;
use millrace_shared::{
    ids::OrgId,
    jobs::QueueName,
    queue::{GiveBack, Lease, MAX_BATCH, Queues},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{Layer, Service};
use tracing::Instrument as _;

use super::{
    batcher::Batcher,
    conclude::{Concluder, Conclusion, meta_after},
    isolate::Isolation,
    keeper::Keeper,
    run::{Outcome, Run, RunInfo, outcome_of},
};

/// A job that vanished with its worker so often is convicted without another run.
const MAX_LOST: u32 = 10;

/// A queue's way of ending runs in Redis, in batches.
#[derive(Clone)]
pub(crate) struct Settler {
    settles: Batcher<(Lease, OrgId), bool>,
    give_backs: Batcher<GiveBack, bool>,
}

impl fmt::Debug for Settler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settler")
    }
}

impl Settler {
    pub(crate) fn new(tracker: &TaskTracker, queues: &Queues, queue: QueueName, patience: &Patience) -> Self {
        let (settle, give_back) = ((queues.clone(), patience.clone()), (queues.clone(), patience.clone()));
        let settles = Batcher::new(tracker, MAX_BATCH, move |batch: Vec<(Lease, OrgId)>| {
            let (queues, patience) = settle.clone();
            async move {
                let call = || -> BoxFuture<'_, _> { Box::pin(async { queues.settle(queue, &batch).await.map(drop) }) };
                patience.persevere(batch.len(), call).await
            }
        });
        let give_backs = Batcher::new(tracker, MAX_BATCH, move |batch: Vec<GiveBack>| {
            let (queues, patience) = give_back.clone();
            async move {
                let call =
                    || -> BoxFuture<'_, _> { Box::pin(async { queues.give_back(queue, &batch).await.map(drop) }) };
                patience.persevere(batch.len(), call).await
            }
        });
        Self { settles, give_backs }
    }

    /// Brings a conclusion to Redis.
    pub(crate) async fn apply(&self, info: &RunInfo, conclusion: Conclusion) {
        let (lease, org) = (info.lease, info.org);
        match conclusion {
            Conclusion::Forget => self.settles.run((lease, org)).await,
            Conclusion::Later { delay_ms, attempt, snoozes } => {
                let delay = Some(Duration::from_millis(delay_ms));
                self.give_backs.run(GiveBack { lease, org, delay, meta: meta_after(info, attempt, snoozes) }).await
            }
            Conclusion::HandBack => {
                metrics::counter!("millrace_handed_back_total", "queue" => info.queue.as_str()).increment(1);
                self.give_backs.run(GiveBack { lease, org, delay: None, meta: info.meta }).await
            }
        };
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
    /// Repeats a call until it works. Gives for each of its `count` jobs whether it did.
    async fn persevere<'a>(
        &self,
        count: usize,
        call: impl Fn() -> BoxFuture<'a, redis::RedisResult<()>> + Send,
    ) -> Vec<bool> {
        let start = Instant::now();
        let mut wait = Duration::from_millis(50);
        loop {
            let Err(error) = call().await else { return vec![true; count] };
            if start.elapsed() + wait > self.longest || self.give_up.is_cancelled() {
                tracing::warn!(error = %error, jobs = count, "jobs could not be settled; they come back and the ledger will know them");
                return vec![false; count];
            }
            self.give_up.run_until_cancelled(tokio::time::sleep(wait)).await;
            wait = (wait * 2).min(Duration::from_secs(1));
        }
    }
}

/// What the layer needs.
#[derive(Clone, Debug)]
pub(crate) struct SettleLayer {
    pub(crate) keeper: Keeper,
    pub(crate) concluder: Concluder,
    pub(crate) settler: Settler,
    pub(crate) isolation: Arc<Isolation>,
    pub(crate) tracker: TaskTracker,
}

impl<S> Layer<S> for SettleLayer {
    type Service = SettleService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SettleService { inner, parts: self.clone() }
    }
}

/// See [`SettleLayer`].
#[derive(Clone, Debug)]
pub(crate) struct SettleService<S> {
    inner: S,
    parts: SettleLayer,
}

impl<S> Service<Task<Run>> for SettleService<S>
where
    S: Service<Task<Run>, Response = Outcome, Error = BoxDynError>,
    S::Future: Send + 'static,
{
    type Response = ();
    type Error = BoxDynError;
    type Future = Pin<Box<dyn Future<Output = Result<(), BoxDynError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut task: Task<Run>) -> Self::Future {
        let (info, permit) = (Arc::clone(&task.args.info), task.args.permit.take());
        let parts = self.parts.clone();
        let span = info.span();
        // A suspect's handler never runs in this process; its future is not even made.
        let handler = (info.meta.lost == 0).then(|| self.inner.call(task));
        let run = async move {
            parts.run(&info, handler).await;
            drop(permit);
        };
        let task = self.parts.tracker.spawn(run.instrument(span));
        Box::pin(async move { task.await.map_err(Into::into) })
    }
}

impl SettleLayer {
    async fn run(&self, info: &RunInfo, handler: Option<impl Future<Output = Result<Outcome, BoxDynError>>>) {
        let kept = self.keeper.keep(info.queue, info.lease, info.switch.clone());
        let running = metrics::gauge!("millrace_running", "queue" => info.queue.as_str());
        running.increment(1.0);
        let start = Instant::now();
        let conclusion = match handler {
            Some(handler) => {
                let outcome = outcome_of(handler.await);
                self.concluder.conclude(info, outcome, start.elapsed()).await
            }
            None if info.meta.lost > MAX_LOST => {
                let error = format!("its worker vanished {} times while it ran", info.meta.lost);
                self.concluder.convict(info, error, start.elapsed()).await
            }
            None => self.isolation.run(info, &self.concluder).await,
        };
        metrics::histogram!("millrace_job_duration_seconds", "kind" => info.kind.clone())
            .record(start.elapsed().as_secs_f64());
        drop(kept);
        self.settler.apply(info, conclusion).await;
        running.decrement(1.0);
    }
}
