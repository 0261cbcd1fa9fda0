//! The worker as a service, and as the child that runs suspects.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use millrace_shared::{
    address,
    config::{Source, WorkerConfig},
    db,
    jobs::{KindSet, Kinds},
    queue::Queues,
    signals,
    storage::Storage,
    telemetry,
};
use tokio_util::sync::CancellationToken;

use crate::{
    engine::{self, CANNOT_BEGIN, Engine, Truth},
    handlers,
    server::{self, Checks},
    sweep,
    ticker::Ticker,
};

/// Redis answers in microseconds; a call that takes this long is lost.
const REDIS_TIMEOUT: Duration = Duration::from_secs(5);

fn kinds(config: &WorkerConfig) -> KindSet {
    if config.common.probe { KindSet::WorkAndProbe } else { KindSet::Work }
}

/// This process's name: unique, and telling where to look for its logs.
fn worker_name() -> Arc<str> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let unique: u32 = rand::random();
    format!("{host}-{}-{unique:08x}", std::process::id()).into()
}

/// Runs the worker until it is told to go.
pub async fn serve(config: WorkerConfig) -> anyhow::Result<()> {
    serve_with(config, Truth::Ledger).await
}

/// Runs the worker on Redis alone, without Postgres, until it is told to go: what it does is real and nothing of it is safe. It is there to
/// measure the queue, for benchmarks.
pub async fn serve_without_ledger(config: WorkerConfig) -> anyhow::Result<()> {
    serve_with(config, Truth::RedisAlone).await
}

async fn serve_with(config: WorkerConfig, truth: Truth) -> anyhow::Result<()> {
    let (shutdown, _listener) = signals::listen().context("signals cannot be listened to")?;
    // First of all, because a worker that lacks what its jobs need must not look as if it worked.
    let handlers = Arc::new(handlers::all(kinds(&config), &config)?);
    let metrics = telemetry::init_metrics()?;
    let pool = db::pool(&config.common.database, "millrace-worker")?;
    let queues = Queues::connect(&config.common.redis_url, REDIS_TIMEOUT)?;
    let handlers_queues = Queues::connect(&config.common.redis_url, REDIS_TIMEOUT)?;
    let worker = worker_name();
    let listener = tokio::net::TcpListener::bind(config.bind)
        .await
        .with_context(|| format!("MILLRACE_WORKER_BIND: {} cannot be listened on", config.bind))?;
    let bound = listener.local_addr()?;
    if let Some(file) = &config.address_file {
        address::publish(file, bound).context("MILLRACE_ADDRESS_FILE cannot be written")?;
    }
    let serves: Vec<String> = config.queues.iter().map(|served| format!("{}={}", served.queue, served.slots)).collect();
    tracing::info!(worker = %worker, address = %bound, queues = serves.join(","), "worker started");
    let checks = Checks {
        pool: pool.clone(),
        queues: queues.clone(),
        drain: shutdown.drain.clone(),
        metrics,
        worker: worker.to_string(),
    };
    let handlers_runtime = tokio::runtime::Builder::new_multi_thread().thread_name("handlers").enable_all().build()?;
    let end = CancellationToken::new();
    let health = tokio::spawn(server::serve(listener, checks, end.clone()));
    let sweeper = (truth == Truth::Ledger).then(|| -> anyhow::Result<_> {
        let storage = Storage::open(&config.common.storage)?;
        Ok(tokio::spawn(sweep::run(pool.clone(), storage, end.clone())))
    });
    let sweeper = sweeper.transpose()?;
    let ticker = (truth == Truth::Ledger).then(|| {
        let ticker = Ticker { pool: pool.clone(), queues: queues.clone(), kinds: Kinds::new(kinds(&config)) };
        // A worker that drains leaves it to another one at once.
        tokio::spawn(ticker.run(shutdown.drain.clone()))
    });
    let engine = Engine {
        truth,
        pool: pool.clone(),
        queues,
        handlers_queues,
        handlers,
        worker,
        serves: config.queues.clone(),
        lease: config.lease,
        drain_timeout: config.drain_timeout,
        retention: config.retention,
        handlers_runtime: handlers_runtime.handle().clone(),
    };
    let handed_back = engine.run(&shutdown).await;
    // Without waiting: a handler that blocks its thread must not keep the process from ending.
    handlers_runtime.shutdown_background();
    end.cancel();
    health.await??;
    for task in [sweeper, ticker].into_iter().flatten() {
        task.await?;
    }
    pool.close().await;
    tracing::info!(jobs.handed_back = handed_back, "drained");
    Ok(())
}

/// Runs the suspects that standard input names, and answers each with what is left to do in Redis.
pub async fn run_suspects(source: &Source) -> ExitCode {
    match try_run_suspects(source).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "suspects cannot be run");
            ExitCode::from(u8::try_from(CANNOT_BEGIN).unwrap_or(1))
        }
    }
}

async fn try_run_suspects(source: &Source) -> anyhow::Result<()> {
    // A signal to a whole group of processes is for the worker, which decides about its children.
    let ignored = Arc::new(std::sync::atomic::AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&ignored))?;
    }
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let mut config = WorkerConfig::load(source)?;
    config.common.database.max_connections = 2;
    let pool = db::pool(&config.common.database, "millrace-worker run-suspects")?;
    let queues = Queues::connect(&config.common.redis_url, REDIS_TIMEOUT)?;
    let handlers = Arc::new(handlers::all(kinds(&config), &config)?);
    Ok(engine::run_suspects(pool, queues, (handlers, worker_name())).await?)
}
