//! The repository's own commands: `cargo xtask demo`, `cargo xtask up`, `cargo xtask test`, `cargo xtask bench`.
//!
//! They need Rust and nothing else: servers are found, installed or run privately by the harness. Nothing here is needed in
//! production.

#![expect(clippy::print_stdout, reason = "these are commands for people, and standard output is where they look")]

mod bench;
mod containers;
mod demo;
mod env_file;
mod show;
mod site;
mod stop;
mod supervise;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use millrace_harness::Profile;

use crate::{site::Site, stop::Stop};

/// The exit code of a command that was interrupted before it was done: 128 + SIGINT, as shells have it.
const INTERRUPTED: u8 = 130;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Run and test Millrace on this machine")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start everything, process the documents in fixtures/documents, show a dead letter, and stay up until Ctrl-C
    Demo {
        #[command(flatten)]
        site: SiteArgs,
        /// Drain and exit when the demo is done
        #[arg(long)]
        once: bool,
    },
    /// Start Redis, Postgres, the API and workers, and stay up until Ctrl-C
    Up(SiteArgs),
    /// Build everything, start what the tests need, and run them all (with cargo-nextest where it is installed)
    Test(test::TestArgs),
    /// Build everything with optimisations and measure it: queue, durable, latency and more (see docs/performance.md)
    Bench(bench::BenchArgs),
}

#[derive(Args)]
struct SiteArgs {
    /// Build and run with optimisations
    #[arg(long)]
    release: bool,
    /// How many workers to run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// Run no worker: jobs wait until one comes
    #[arg(long, conflicts_with = "workers")]
    no_worker: bool,
}

impl SiteArgs {
    fn profile(&self) -> Profile {
        if self.release { Profile::Release } else { Profile::Debug }
    }

    fn worker_count(&self) -> u16 {
        if self.no_worker { 0 } else { self.workers }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo { site, once } => {
            Box::pin(run_site(&site, Show::Demo, if once { Then::Exit } else { Then::Stay })).await
        }
        Command::Up(site) => Box::pin(run_site(&site, Show::Address, Then::Stay)).await,
        Command::Test(arguments) if arguments.containers => Box::pin(containers::run()).await,
        Command::Test(arguments) => Box::pin(test::run(&arguments)).await,
        Command::Bench(arguments) => Box::pin(bench::run(&arguments)).await.map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("{} {error:#}", show::red("error:"));
        ExitCode::FAILURE
    })
}

/// What to do once the site is up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Show {
    Demo,
    Address,
}

/// What to do after that.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Stay,
    Exit,
}

async fn run_site(arguments: &SiteArgs, what: Show, then: Then) -> Result<ExitCode> {
    let stop = Stop::on_signals()?;
    let starting = Site::start(arguments.profile(), arguments.worker_count(), &stop);
    // Dropping a half started site ends all of its processes.
    let site = tokio::select! {
        site = Box::pin(starting) => site?,
        () = stop.requested() => return Ok(interrupted()),
    };
    let shown = tokio::select! {
        shown = Box::pin(show_site(&site, what)) => Some(shown),
        () = stop.requested() => None,
    };
    let done = matches!(shown, Some(Ok(())));
    if done && then == Then::Stay {
        println!("\n{}", show::dim("Ctrl-C drains and stops everything."));
        stop.requested().await;
    }
    let drained = Box::pin(site.drain(&stop, done)).await;
    match shown {
        // What went wrong first is what to tell.
        Some(shown) => shown.and(drained).map(|()| ExitCode::SUCCESS),
        None => drained.map(|()| interrupted()),
    }
}

async fn show_site(site: &Site, what: Show) -> Result<()> {
    match what {
        Show::Demo => demo::run(site).await,
        Show::Address => {
            site.print_addresses();
            Ok(())
        }
    }
}

fn interrupted() -> ExitCode {
    println!("interrupted before it was done");
    ExitCode::from(INTERRUPTED)
}
