//! Logs and metrics, set up once at start by each program.

use std::io::IsTerminal as _;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogConfig, LogFormat};

/// Telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is malformed.
    #[error("log filter is malformed")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Logs were set up before.
    #[error("logs are set up already")]
    Logs(#[from] tracing_subscriber::util::TryInitError),
    /// Metrics could not be set up, or were before.
    #[error("metrics cannot be set up")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
}

/// Sends logs to standard error, in colours where that is a terminal.
///
/// # Errors
/// When the filter is malformed, or logs were set up before.
pub fn init_logs(config: &LogConfig) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(&config.filter)?;
    let registry = tracing_subscriber::registry().with(filter);
    let output = std::io::stderr;
    match config.format {
        LogFormat::Text => {
            let layer = tracing_subscriber::fmt::layer().with_writer(output).with_ansi(output().is_terminal());
            registry.with(layer).try_init()?;
        }
        LogFormat::Json => {
            let layer = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(output);
            registry.with(layer).try_init()?;
        }
    }
    Ok(())
}

/// From a millisecond to ten minutes: requests, waits in queues and runs of jobs all fit.
const DURATION_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];
/// From a kilobyte to a gigabyte.
const SIZE_BUCKETS: &[f64] = &[1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// Installs the recorder behind the `metrics` macros. The handle renders Prometheus' text; nothing listens by itself.
///
/// Call [`PrometheusHandle::run_upkeep`] now and then, or histograms grow.
///
/// # Errors
/// When a recorder was installed before.
pub fn init_metrics() -> Result<PrometheusHandle, TelemetryError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), DURATION_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), SIZE_BUCKETS)?
        .install_recorder()?;
    metrics::describe_gauge!("millrace_build_info", "Always 1; the labels tell what is running.");
    metrics::gauge!("millrace_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

/// Renders the metrics of this process.
pub type MetricsHandle = PrometheusHandle;

/// The media type of what [`PrometheusHandle::render`] gives.
pub const METRICS_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Makes `ring` the process's provider of TLS cryptography; must run before the first TLS connection.
pub fn init_tls() {
    // An error means that it is installed already, which tests that share a process run into.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Logs panics as errors with their place, instead of as bare text on standard error.
pub fn log_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if tracing::enabled!(tracing::Level::ERROR) {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let message = panic.payload_as_str().unwrap_or("no message");
            tracing::error!(panic.place = place, panic.message = message, "a task panicked");
        } else {
            default(panic);
        }
    }));
}
