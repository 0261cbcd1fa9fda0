//! `millrace`: the operator's command line.
//!
//! It works directly on Postgres and Redis and stands above the tenants. It holds no rule of its own: what it does to jobs, queues and
//! keys are the functions of `millrace_shared` that the API calls, too. Here is only how one asks and how the answer looks.

mod app;
mod args;
mod commands;
mod exit;
mod ui;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Cli;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    millrace_shared::telemetry::init_tls();
    let cli = Cli::parse();
    match Box::pin(commands::run(cli)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}
