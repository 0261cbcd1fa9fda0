//! The benchmarks: `cargo xtask bench queue|durable|http|latency|fairness|memory|scale|peers|all`.
//!
//! Each measures what a user would see: private servers on loopback, run as `cargo xtask demo` runs them (Postgres with fsync on), the real
//! API and the real engine in processes of their own. They print figures and assert nothing about speed: an exit code other than 0 means
//! that something did not work. What each figure means is told by `docs/performance.md`.

#![expect(clippy::print_stdout, reason = "figures for people and for programs go to standard output")]

mod benches;
mod clock;
mod cpu;
mod http;
mod machine;
mod process;
mod report;
mod site;
mod starts;
mod stats;
mod worker;

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use millrace_harness::RunDir;

use crate::{
    benches::Bench,
    report::Report,
    worker::{Engine, WorkerArgs},
};

#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench", about = "Measure Millrace on this machine")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON object per line instead of tables
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    options: Options,
}

/// How much is measured, and with which settings.
#[derive(Args, Clone, Debug)]
struct Options {
    /// Multiplies all counts and durations; 0.01 shows quickly that everything works
    #[arg(long, global = true, value_name = "FACTOR", default_value_t = 1.0)]
    scale: f64,
    /// How often rates are measured; the median is told
    #[arg(long, global = true, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How many jobs a worker runs at once
    #[arg(long, global = true, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4096))]
    slots: u32,
    /// How long `memory` keeps up each load, in minutes
    #[arg(long, global = true, value_name = "N", default_value_t = 10.0)]
    minutes: f64,
    /// A setting for API and workers, such as MILLRACE_DATABASE_CONNECTIONS=20
    #[arg(long = "set", global = true, value_name = "NAME=VALUE", value_parser = assignment)]
    env: Vec<(String, String)>,
}

impl Options {
    /// `count`, scaled; at least `least`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "counts are small and positive"
    )]
    fn count(&self, count: usize, least: usize) -> usize {
        ((count as f64 * self.scale) as usize).max(least)
    }

    /// `duration`, scaled; at least a fraction of a second.
    fn lasting(&self, duration: Duration) -> Duration {
        duration.mul_f64(self.scale).max(Duration::from_millis(300))
    }
}

#[derive(Subcommand)]
enum Command {
    /// The engine and Redis alone: enqueue and drain
    Queue,
    /// Through the ledger: accepted in Postgres, done in Postgres
    Durable,
    /// Submissions by HTTP: requests, jobs and latencies at 1, 64 and 1,000 connections
    Http,
    /// From a submission to the start of its handler, on an idle system
    Latency,
    /// How long small organisations wait beside one that floods the queue
    Fairness,
    /// Of a job in Redis and in the ledger, and of API and worker under load
    Memory,
    /// Drains with longer backlogs, more organisations, more workers, and a full ledger
    Scale,
    /// All of them
    All,
    #[command(name = worker::QUEUE_ALONE, hide = true)]
    QueueWorker(WorkerArgs),
    #[command(name = worker::WHOLE, hide = true)]
    Worker(WorkerArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::QueueWorker(arguments) => worker::run(arguments, Engine::QueueAlone).await,
        Command::Worker(arguments) => worker::run(arguments, Engine::Whole).await,
        Command::Queue => measure(&[Bench::Queue], &cli.options, cli.json).await,
        Command::Durable => measure(&[Bench::Durable], &cli.options, cli.json).await,
        Command::Http => measure(&[Bench::Http], &cli.options, cli.json).await,
        Command::Latency => measure(&[Bench::Latency], &cli.options, cli.json).await,
        Command::Fairness => measure(&[Bench::Fairness], &cli.options, cli.json).await,
        Command::Memory => measure(&[Bench::Memory], &cli.options, cli.json).await,
        Command::Scale => measure(&[Bench::Scale], &cli.options, cli.json).await,
        Command::All => measure(Bench::ALL, &cli.options, cli.json).await,
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

async fn measure(benches: &[Bench], options: &Options, json: bool) -> Result<ExitCode> {
    let run = RunDir::create()?;
    let mut report = Report::new(json);
    report.begin("machine");
    machine::describe(&mut report);
    machine::noise(&mut report, "before", run.path())?;
    for bench in benches {
        report.begin(bench.name());
        Box::pin(bench.run(options, &mut report)).await.with_context(|| format!("{} failed", bench.name()))?;
    }
    report.begin("machine");
    machine::noise(&mut report, "after", run.path())?;
    Ok(ExitCode::SUCCESS)
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("wants NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
