//! The engine: claims jobs, runs their handlers, and brings their ends to the ledger and to Redis.
//!
//! ```text
//!  Redis ──claim──▶ Claimer ──▶ Buffer ──▶ QueueBackend ──▶ apalis worker ──▶ SettleLayer ──▶ CatchPanic ──▶ HandlerService
//!    ▲   (one per queue)  └─ ledger: still to do?                                  │  ├─ Keeper extends the lease
//!    │                                                                             │  └─ Isolation: suspects run in a child
//!    └── Settler: settle, give back (batched) ◀── Finisher: successes (batched), Concluder: all else ◀──┘
//! ```
//!
//! Handlers, and apalis with them, run on threads of their own; everything else runs on one thread, which no handler can hold up.
//!
//! A drain stops the claimers; what is claimed runs on until the deadline, and is then cut off and handed back. Nothing here is detached:
//! every task is in a tracker, and [`Engine::run`] returns when all of them have ended, but for handlers that block their threads.

mod backend;
mod buffer;
mod claim;
mod conclude;
mod finish;
mod housekeeping;
mod isolate;
mod keeper;
mod line;
mod pace;
mod persist;
mod reconciler;
mod run;
mod settle;
mod suspect;
mod truth;
mod wake;

pub(crate) use keeper::Switch;
pub(crate) use pace::spread;
pub(crate) use suspect::{CANNOT_BEGIN, COMMAND as RUN_SUSPECTS};
pub(crate) use truth::Truth;

use std::{path::PathBuf, sync::Arc, time::Duration};

use apalis::{
    layers::catch_panic::CatchPanicLayer,
    prelude::{Monitor, MonitorContext, MonitorError},
};
use apalis_core::{
    backend::Backend,
    error::BoxDynError,
    task::Task,
    worker::{
        builder::WorkerBuilder,
        service::{IntoWorkerService, WorkerService},
    },
};
use millrace_shared::{
    config::{QueueSlots, RetentionConfig},
    jobs::QueueName,
    queue::Queues,
    signals::Shutdown,
};
use sqlx::PgPool;
use tokio::{runtime::Handle, sync::Notify, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{Layer as _, Service};

use self::{
    backend::QueueBackend,
    buffer::Buffer,
    claim::Claimer,
    conclude::Concluder,
    finish::Finisher,
    housekeeping::Housekeeper,
    isolate::Isolation,
    keeper::Keeper,
    pace::Gate,
    reconciler::Reconciler,
    run::{HandlerService, Outcome, Panicked, Run, panicked},
    settle::{Parts, Patience, SettleLayer, Settler},
    wake::Bells,
};
use crate::handler::Handlers;

/// After the deadline of a drain, ends of cut-off jobs may take this long to be written before they are given up.
const LAST_WRITES: Duration = Duration::from_secs(3);

/// A worker process's engine.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) truth: Truth,
    pub(crate) pool: PgPool,
    pub(crate) queues: Queues,
    /// The same by a connection of its own, which handlers may hold up.
    pub(crate) handlers_queues: Queues,
    pub(crate) handlers: Arc<Handlers>,
    /// This process's name, as leases and attempts show it.
    pub(crate) worker: Arc<str>,
    pub(crate) serves: Vec<QueueSlots>,
    pub(crate) lease: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) retention: RetentionConfig,
    /// Where handlers run. The engine itself runs elsewhere, so that leases are kept, jobs claimed and signals heard whatever handlers do.
    pub(crate) handlers_runtime: Handle,
}

/// The handlers under apalis' panic layer: the same stack in the worker and in a suspect's child.
fn handler_stack(
    service: HandlerService,
) -> impl Service<Task<Run>, Response = Outcome, Error = BoxDynError, Future: Send + 'static> {
    catch_panic().layer(service)
}

type PanicHandler = fn(&Box<dyn std::any::Any + Send>) -> Panicked;

fn catch_panic() -> CatchPanicLayer<PanicHandler, Panicked> {
    CatchPanicLayer::with_panic_handler(panicked as PanicHandler)
}

/// Hands the service to apalis as it is.
struct AsIs(HandlerService);

impl<B: Backend<Task = Task<Run>>> IntoWorkerService<B, HandlerService> for AsIs {
    type Task = Task<Run>;
    type Backend = B;

    fn into_service(self, backend: B) -> WorkerService<B, HandlerService> {
        WorkerService { backend, service: self.0 }
    }
}

impl Engine {
    /// Works until a drain is asked for and over. Gives how many jobs had to be cut off and handed back.
    pub(crate) async fn run(self, shutdown: &Shutdown) -> usize {
        let (tracker, helpers) = (TaskTracker::new(), TaskTracker::new());
        let (give_up, end) = (CancellationToken::new(), CancellationToken::new());
        let keeper = Keeper::new(self.queues.clone(), self.lease);
        let concluder = Concluder {
            truth: self.truth,
            pool: self.pool.clone(),
            queues: self.handlers_queues.clone(),
            handlers: Arc::clone(&self.handlers),
            worker: Arc::clone(&self.worker),
            give_up: give_up.clone(),
        };
        let finisher = Finisher::new(&helpers, &concluder);
        let bells: Bells = self.serves.iter().map(|served| (served.queue, Arc::default())).collect();
        let reconciler = Reconciler { pool: self.pool.clone(), queues: self.queues.clone(), bell: Arc::default() };
        let isolation = Arc::new(Isolation::new(PathBuf::from("/proc/self/exe")));
        let mut monitor = Monitor::new().should_restart(|_, _| true);
        let patience = Patience { longest: self.lease, give_up: give_up.clone() };
        let mut buffers = Vec::new();
        for served in &self.serves {
            let settler = Settler::new(&helpers, &self.queues, served.queue, &patience);
            let parts = Parts {
                keeper: keeper.clone(),
                concluder: concluder.clone(),
                finisher: finisher.clone(),
                settler: settler.clone(),
                isolation: Arc::clone(&isolation),
                tracker: tracker.clone(),
                running: metrics::gauge!("millrace_running", "queue" => served.queue.as_str()),
            };
            let buffer = Buffer::new(served.slots.get() as usize);
            buffers.push(Arc::clone(&buffer));
            let bells = (Arc::clone(&bells[&served.queue]), Arc::clone(&reconciler.bell));
            tracker.spawn(self.claimer((served.queue, &buffer), settler, bells, &shutdown.drain).run());
            let backend = QueueBackend { buffer, layer: SettleLayer(Arc::new(parts)) };
            let service = self.service();
            let name = format!("{}/{}", self.worker, served.queue);
            monitor = monitor.register(move |_| {
                WorkerBuilder::new(name.as_str())
                    .backend(backend.clone())
                    .layer(catch_panic())
                    .build(AsIs(service.clone()))
            });
        }
        if self.truth == Truth::Ledger {
            helpers.spawn(reconciler.run(shutdown.drain.clone()));
            let housekeeper = Housekeeper { pool: self.pool.clone(), retention: self.retention };
            helpers.spawn(housekeeper.run(shutdown.drain.clone()));
        }
        helpers.spawn(wake::listen(self.queues.clone(), bells, keeper.clone(), end.clone()));
        helpers.spawn(keeper.clone().run(end.clone()));
        helpers.spawn(Arc::clone(&isolation).tend(end.clone()));
        let workers = (monitor.context(), self.handlers_runtime.spawn(monitor.run()));
        let handed_back = drain_after(workers, &buffers, &keeper, (shutdown, self.drain_timeout, &give_up)).await;
        tracker.close();
        let all_ended = tokio::time::timeout(LAST_WRITES, tracker.wait()).await;
        end.cancel();
        drop((concluder, finisher));
        helpers.close();
        if all_ended.is_ok() {
            helpers.wait().await;
        } else {
            tracing::error!("a handler blocks its thread; it is left behind");
        }
        handed_back
    }

    fn service(&self) -> HandlerService {
        let (handlers, queues) = (Arc::clone(&self.handlers), Arc::new(self.handlers_queues.clone()));
        HandlerService { handlers, pool: self.pool.clone(), queues }
    }

    fn claimer(
        &self,
        (queue, buffer): (QueueName, &Arc<Buffer>),
        settler: Settler,
        (bell, reconciler): (Arc<Notify>, Arc<Notify>),
        drain: &CancellationToken,
    ) -> Claimer {
        Claimer {
            queue,
            buffer: Arc::clone(buffer),
            lease: self.lease,
            worker: Arc::clone(&self.worker),
            queues: self.queues.clone(),
            truth: self.truth,
            gate: Gate { queues: self.queues.clone(), handlers: Arc::clone(&self.handlers) },
            pool: self.pool.clone(),
            settler,
            bell,
            reconciler,
            drain: drain.clone(),
        }
    }
}

/// Waits until the worker holds no job any more.
async fn all_empty(buffers: &[Arc<Buffer>]) {
    for buffer in buffers {
        buffer.empty().await;
    }
}

/// Runs the apalis workers until the drain; then waits for the running jobs, and cuts off those that are late.
async fn drain_after(
    (workers, mut running): (MonitorContext, JoinHandle<Result<(), MonitorError>>),
    buffers: &[Arc<Buffer>],
    keeper: &Keeper,
    (shutdown, timeout, give_up): (&Shutdown, Duration, &CancellationToken),
) -> usize {
    tokio::select! {
        () = shutdown.drain.cancelled() => {}
        ended = &mut running => {
            // Unreachable unless apalis itself gives up; the process then drains as if it had been told to.
            let error = ended.map(|result| result.map_err(|error| error.to_string()));
            tracing::error!(?error, "the workers ended by themselves");
            shutdown.drain.cancel();
        }
    }
    let handed_back = tokio::select! {
        () = all_empty(buffers) => 0,
        () = tokio::time::sleep(timeout) => {
            tracing::warn!("the drain deadline has passed");
            keeper.hand_back_all()
        }
        () = shutdown.now.cancelled() => keeper.hand_back_all(),
    };
    if tokio::time::timeout(LAST_WRITES, all_empty(buffers)).await.is_err() {
        give_up.cancel();
        if tokio::time::timeout(LAST_WRITES, all_empty(buffers)).await.is_err() {
            tracing::error!("jobs could not be handed back in time; their leases will run out");
        }
    }
    // A worker whose backend has run dry still waits to be told.
    if let Err(error) = workers.shutdown() {
        tracing::error!(error = %error, "the workers could not be told to end");
    }
    if !running.is_finished() && tokio::time::timeout(LAST_WRITES, running).await.is_err() {
        tracing::error!("the workers did not end");
    }
    handed_back
}

/// A child for suspects: runs those that its parent names until there are no more.
pub(crate) async fn run_suspects(
    pool: PgPool,
    queues: Queues,
    (handlers, worker): (Arc<Handlers>, Arc<str>),
) -> std::io::Result<()> {
    let concluder = Concluder {
        truth: Truth::Ledger,
        pool: pool.clone(),
        queues: queues.clone(),
        handlers: Arc::clone(&handlers),
        worker,
        give_up: CancellationToken::new(),
    };
    let service = HandlerService { handlers, pool, queues: Arc::new(queues) };
    suspect::run_all(service, concluder).await
}
