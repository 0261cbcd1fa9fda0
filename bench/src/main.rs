//! The benchmarks: `cargo xtask bench queue|durable|http|webhooks|crm|latency|fairness|memory|scale|search|peers|all`, and `extract DIR`.
//!
//! Each measures what a user would see: private servers on loopback, run as `cargo xtask demo` runs them (Postgres with fsync on), the real
//! API and the real engine in processes of their own. They print figures and assert nothing about speed: an exit code other than 0 means
//! that something did not work. What each figure means is told by `docs/performance.md`.

#![expect(clippy::print_stdout, reason = "figures for people and for programs go to standard output")]

mod benches;
mod clock;
mod cpu;
mod extract;
mod http;
mod machine;
mod process;
mod prose;
mod report;
mod site;
mod starts;
mod stats;
mod worker;

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use clap::{Args, Parser};
use millrace_harness::RunDir;
use tokio::runtime;

use crate::{
    benches::Bench,
    report::Report,
    worker::{Engine, WorkerArgs},
};

#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench", about = "Measure Millrace on this machine")]
struct Cli {
    /// What to measure, in this order
    #[arg(value_enum, required = true)]
    benches: Vec<Bench>,
    /// Print one JSON object per line instead of tables
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: Options,
}

/// The worker processes that measurements need, which nobody starts by hand.
#[derive(Parser)]
enum Worker {
    #[command(name = worker::QUEUE_ALONE)]
    QueueAlone(WorkerArgs),
    #[command(name = worker::WHOLE)]
    Whole(WorkerArgs),
}

/// How much is measured, and with which settings.
#[derive(Args, Clone, Debug)]
struct Options {
    /// Multiplies all counts and durations; 0.01 shows quickly that everything works
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    scale: f64,
    /// How often rates are measured; the median is told
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How many jobs a worker runs at once
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4096))]
    slots: u32,
    /// How long `memory` keeps up each load, in minutes
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    minutes: f64,
    /// How many chunks `search` searches
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    chunks: usize,
    /// Over how many organisations they are dealt out
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    orgs: u32,
    /// A setting for API and workers, such as MILLRACE_DATABASE_CONNECTIONS=20
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = assignment)]
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

fn main() -> ExitCode {
    let first = std::env::args().nth(1).unwrap_or_default();
    let is_worker = [worker::QUEUE_ALONE, worker::WHOLE].contains(&first.as_str());
    // A worker has the runtime that `millrace-worker` gives it.
    let mut runtime =
        if is_worker { runtime::Builder::new_current_thread() } else { runtime::Builder::new_multi_thread() };
    let done = runtime.enable_all().build().context("the runtime cannot start").and_then(|runtime| {
        runtime.block_on(async {
            if first == extract::NAME {
                return extract::run(&extract::Cli::from_arguments()).await;
            }
            if !is_worker {
                return measure(&Cli::parse()).await;
            }
            match Worker::parse() {
                Worker::QueueAlone(arguments) => worker::run(arguments, Engine::QueueAlone).await,
                Worker::Whole(arguments) => worker::run(arguments, Engine::Whole).await,
            }
        })
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(cli: &Cli) -> Result<()> {
    let run = RunDir::create()?;
    let samples = cli.options.count(machine::SAMPLES, 4);
    let mut report = Report::new(cli.json);
    report.begin("machine");
    machine::describe(&cli.options, &mut report).await;
    machine::noise(&mut report, "before", (run.path(), samples))?;
    let all = cli.benches.contains(&Bench::All);
    for bench in if all { Bench::EACH } else { &cli.benches } {
        report.begin(bench.name());
        Box::pin(bench.run(&cli.options, &mut report)).await.with_context(|| format!("{} failed", bench.name()))?;
    }
    report.begin("machine");
    machine::noise(&mut report, "after", (run.path(), samples))
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("wants NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
