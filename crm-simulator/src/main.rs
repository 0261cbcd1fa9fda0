//! `millrace-crm-simulator`: serves simulated CRM accounts until it is told to end.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Simulated CRM vendors for tests: in memory, and open to whoever can reach them.
#[derive(Debug, Parser)]
#[command(name = "millrace-crm-simulator")]
struct Arguments {
    /// Where it listens; port 0 is any free one.
    #[arg(long, env = "MILLRACE_SIMULATOR_BIND", default_value = "127.0.0.1:0")]
    bind: SocketAddr,
    /// Where it writes the address, once it listens.
    #[arg(long, env = "MILLRACE_ADDRESS_FILE")]
    address_file: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let listener =
        TcpListener::bind(arguments.bind).await.with_context(|| format!("cannot listen on {}", arguments.bind))?;
    let bound = listener.local_addr()?;
    if let Some(file) = &arguments.address_file {
        publish(file, bound).with_context(|| format!("cannot write {}", file.display()))?;
    }
    announce(bound);
    tokio::select! {
        ended = millrace_crm_simulator::serve(listener) => ended.map(|never| match never {}),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

#[expect(clippy::print_stdout, reason = "who starts it by hand must see where it listens")]
fn announce(bound: SocketAddr) {
    println!("listening on {bound}");
}

/// Writes the address at once or not at all, so that no reader sees half of it.
fn publish(file: &Path, address: SocketAddr) -> io::Result<()> {
    let mut neighbour = file.as_os_str().to_owned();
    neighbour.push(".new");
    fs::write(&neighbour, format!("{address}\n"))?;
    fs::rename(&neighbour, file)
}
