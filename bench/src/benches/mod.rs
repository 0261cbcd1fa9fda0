//! One module for each benchmark.

mod crm;
mod durable;
mod fairness;
mod http;
mod latency;
mod memory;
mod peers;
mod queue;
mod scale;
mod search;
mod webhooks;

use anyhow::Result;
use clap::ValueEnum;

use crate::{Options, report::Report};

/// A benchmark.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Bench {
    /// The engine and Redis alone: enqueue and drain
    Queue,
    /// Through the ledger: accepted in Postgres, done in Postgres
    Durable,
    /// Submissions by HTTP: requests, jobs and latencies at 1, 64 and 1,000 connections
    Http,
    /// Deliveries of webhooks by HTTP, verified by several schemes
    Webhooks,
    /// Copies of accounts in simulated CRMs, and calls within a rate
    Crm,
    /// From a submission to the start of its handler, on an idle system
    Latency,
    /// How long small organisations wait beside one that floods the queue
    Fairness,
    /// Of a job in Redis and in the ledger, and of API and worker under load
    Memory,
    /// Drains with longer backlogs, more organisations, more workers, and a full ledger
    Scale,
    /// Full text search by HTTP, and what it costs those who store
    Search,
    /// The same load on other job queues and on Millrace
    Peers,
    /// All of them
    All,
}

impl Bench {
    pub(crate) const EACH: &[Self] = &[
        Self::Queue,
        Self::Durable,
        Self::Http,
        Self::Webhooks,
        Self::Crm,
        Self::Latency,
        Self::Fairness,
        Self::Memory,
        Self::Scale,
        Self::Search,
        Self::Peers,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Durable => "durable",
            Self::Http => "http",
            Self::Webhooks => "webhooks",
            Self::Crm => "crm",
            Self::Latency => "latency",
            Self::Fairness => "fairness",
            Self::Memory => "memory",
            Self::Scale => "scale",
            Self::Search => "search",
            Self::Peers => "peers",
            Self::All => "all",
        }
    }

    pub(crate) async fn run(self, options: &Options, report: &mut Report) -> Result<()> {
        match self {
            Self::Queue => queue::run(options, report).await,
            Self::Durable => durable::run(options, report).await,
            Self::Http => http::run(options, report).await,
            Self::Webhooks => webhooks::run(options, report).await,
            Self::Crm => crm::run(options, report).await,
            Self::Latency => latency::run(options, report).await,
            Self::Fairness => fairness::run(options, report).await,
            Self::Memory => memory::run(options, report).await,
            Self::Scale => scale::run(options, report).await,
            Self::Search => search::run(options, report).await,
            Self::Peers => peers::run(options, report).await,
            // Whoever asks for all gets each.
            Self::All => Ok(()),
        }
    }
}
