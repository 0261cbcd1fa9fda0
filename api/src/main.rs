//! `millrace-api`: reads its configuration, opens what it needs, serves until it is told to drain.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use millrace_api::{AppState, router, serve};
use millrace_shared::config::{ApiConfig, Source};
use millrace_shared::{address, health, signals, telemetry};
use tokio::net::TcpListener;

const USAGE: &str = "\
usage: millrace-api                      serve the API
       millrace-api health [live|ready]  ask the one that serves here whether it is well
Settings are environment variables; docs/configuration.md lists them.";

pub(crate) fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.first().and_then(|name| name.to_str()) {
        None if arguments.is_empty() => start(),
        Some("health") => {
            health::command(&arguments[1..], || ApiConfig::load(&Source::from_process()).map(|config| config.bind))
        }
        _ => refuse(&anyhow::anyhow!("{USAGE}")),
    }
}

fn start() -> ExitCode {
    let config = match ApiConfig::load(&Source::from_process()) {
        Ok(config) => config,
        Err(error) => return refuse(&error.into()),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&error.into()),
    };
    match runtime.block_on(run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&error),
    }
}

#[expect(clippy::print_stderr, reason = "logs may not be set up yet, and a person must see why it did not start")]
fn refuse(error: &anyhow::Error) -> ExitCode {
    eprintln!("millrace-api: {error:#}");
    ExitCode::from(2)
}

async fn run(config: ApiConfig) -> anyhow::Result<()> {
    telemetry::init_logs(&config.common.log)?;
    telemetry::log_panics();
    telemetry::init_tls();
    let metrics = telemetry::init_metrics()?;
    let (shutdown, _listener) = signals::listen().context("cannot listen for signals")?;

    let state = AppState::open(&config, metrics, shutdown.drain.clone())?;
    let listener = TcpListener::bind(config.bind)
        .await
        .with_context(|| format!("MILLRACE_BIND: cannot listen on {}", config.bind))?;
    let bound = listener.local_addr()?;
    if let Some(file) = &config.address_file {
        address::publish(file, bound)
            .with_context(|| format!("MILLRACE_ADDRESS_FILE: cannot write {}", file.display()))?;
    }
    tracing::info!(address = %bound, version = env!("CARGO_PKG_VERSION"), "listening");

    let background = state.spawn_background();
    serve(listener, router(state.clone()), &shutdown, config.drain_timeout).await;
    background.stop().await;
    // Requests that were cut off may still hold a connection; Postgres notices by itself.
    let _ = tokio::time::timeout(Duration::from_secs(1), state.database().close()).await;
    Ok(())
}
