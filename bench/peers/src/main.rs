//! Other job queues under the same load as Millrace: enqueue in batches, drain a backlog by one worker process, pickup on an idle queue.
//!
//! `millrace-bench peers` runs this with servers of its own and reads what it prints: a JSON object a line. Each peer is set up as its own
//! documentation, or its authors' own benchmark, advises for many small jobs; the settings are printed with the figures.

mod apalis_redis;
mod awa;
#[path = "../../src/clock.rs"]
mod clock;
mod graphile;
mod measure;
#[path = "../../src/process.rs"]
mod process;
mod starts;
#[expect(dead_code, reason = "shared with the benchmarks of Millrace, which use more of it")]
#[path = "../../src/stats.rs"]
mod stats;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};

use crate::{measure::Size, starts::Recorder};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures a peer on the server at REDIS_URL or DATABASE_URL
    Measure {
        #[arg(value_enum)]
        peer: Peer,
        #[command(flatten)]
        size: Size,
    },
    /// The peer's worker, which notes when handlers start
    #[command(hide = true)]
    Worker {
        #[arg(value_enum)]
        peer: Peer,
        #[arg(long)]
        starts: PathBuf,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Peer {
    ApalisRedis,
    GraphileWorker,
    Awa,
}

#[tokio::main]
async fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Measure { peer, size } => match peer {
            Peer::ApalisRedis => measure::run::<apalis_redis::ApalisRedis>(&size).await,
            Peer::GraphileWorker => measure::run::<graphile::GraphileWorker>(&size).await,
            Peer::Awa => measure::run::<awa::Awa>(&size).await,
        },
        Command::Worker { peer, starts } => {
            // A worker whose measurer is gone has nobody to work for.
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            Recorder::install(&starts)?;
            match peer {
                Peer::ApalisRedis => apalis_redis::work().await,
                Peer::GraphileWorker => graphile::work().await,
                Peer::Awa => awa::work().await,
            }
        }
    }
}

/// A variable that must be set.
fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set"))
}
