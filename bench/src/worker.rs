//! The worker processes of the benchmarks: the real engine with the real handlers, for what the worker's own program does not do, which is
//! to work without a ledger and to note when handlers start.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use millrace_shared::{
    config::{Source, WorkerConfig},
    telemetry,
};
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::starts::{OnlyStarts, Recorder};

/// The worker that knows Redis alone.
pub(crate) const QUEUE_ALONE: &str = "queue-worker";
/// The worker as it is.
pub(crate) const WHOLE: &str = "worker";

#[derive(Args, Debug)]
pub(crate) struct WorkerArgs {
    /// Where to note when handlers start
    #[arg(long)]
    starts: Option<PathBuf>,
}

/// Which engine to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Engine {
    QueueAlone,
    Whole,
}

/// Works until a signal tells it to go. Its settings are those of `millrace-worker`.
pub(crate) async fn run(arguments: WorkerArgs, engine: Engine) -> Result<()> {
    let config = WorkerConfig::load(&Source::from_process())?;
    match &arguments.starts {
        None => telemetry::init_logs(&config.common.log)?,
        Some(path) => {
            let recorder = Recorder::append_to(path)?;
            // Filtered as in production, so that spans cost what they cost there.
            let filter = EnvFilter::try_new(&config.common.log.filter).context("MILLRACE_LOG")?;
            let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
            tracing_subscriber::registry()
                .with(log.with_filter(filter))
                .with(recorder.with_filter(OnlyStarts))
                .try_init()?;
        }
    }
    telemetry::init_tls();
    telemetry::log_panics();
    match engine {
        Engine::QueueAlone => millrace_worker::serve_without_ledger(config).await?,
        Engine::Whole => millrace_worker::serve(config).await?,
    }
    Ok(())
}
