//! The worker process. Before anything else it may turn out to be a child of itself.

use std::process::ExitCode;

use millrace_shared::{
    config::{Source, WorkerConfig},
    health, telemetry,
};
use millrace_worker::{
    RUN_SUSPECTS_COMMAND,
    ingest::{self, IngestLimits},
};

const USAGE: &str = "\
usage: millrace-worker                        serve the queues of MILLRACE_QUEUES
       millrace-worker extract [--json] [--ocr LANGUAGES] FILE
                                              print the text of one file
       millrace-worker health [live|ready]    ask the one that works here whether it is well
Settings are environment variables; docs/configuration.md lists them.";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.first().and_then(|name| name.to_str()) {
        // No runtime may start here: its threads would count against the child's memory limit.
        Some(ingest::CHILD_COMMAND) => ingest::child_main(),
        Some(ingest::LAUNCH_COMMAND) => ingest::launch_main(),
        Some("extract") => ingest::command::run(&arguments[1..], IngestLimits::default()),
        Some("health") => {
            health::command(&arguments[1..], || WorkerConfig::load(&Source::from_process()).map(|config| config.bind))
        }
        Some(RUN_SUSPECTS_COMMAND) => {
            with_runtime(|source, _| async move { millrace_worker::run_suspects(&source).await })
        }
        // One thread for the engine: its handlers have threads of their own.
        None => with_runtime(|_, config| async move {
            match millrace_worker::serve(config).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "the worker ends");
                    ExitCode::FAILURE
                }
            }
        }),
        Some(_) => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// Reads the configuration, sets up logs, and runs on a runtime.
fn with_runtime<Fut: Future<Output = ExitCode>>(run: impl FnOnce(Source, WorkerConfig) -> Fut) -> ExitCode {
    let source = Source::from_process();
    let config = match WorkerConfig::load(&source) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = telemetry::init_logs(&config.common.log) {
        eprintln!("MILLRACE_LOG: {error}");
        return ExitCode::from(2);
    }
    telemetry::init_tls();
    telemetry::log_panics();
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(source, config)),
        Err(error) => {
            tracing::error!(error = %error, "the runtime cannot start");
            ExitCode::FAILURE
        }
    }
}
