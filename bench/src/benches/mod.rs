//! One module for each benchmark.

mod durable;
mod fairness;
mod http;
mod latency;
mod memory;
mod queue;
mod scale;

use anyhow::Result;

use crate::{Options, report::Report};

/// A benchmark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bench {
    Queue,
    Durable,
    Http,
    Latency,
    Fairness,
    Memory,
    Scale,
}

impl Bench {
    pub(crate) const ALL: &[Self] =
        &[Self::Queue, Self::Durable, Self::Http, Self::Latency, Self::Fairness, Self::Memory, Self::Scale];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Durable => "durable",
            Self::Http => "http",
            Self::Latency => "latency",
            Self::Fairness => "fairness",
            Self::Memory => "memory",
            Self::Scale => "scale",
        }
    }

    pub(crate) async fn run(self, options: &Options, report: &mut Report) -> Result<()> {
        match self {
            Self::Queue => queue::run(options, report).await,
            Self::Durable => durable::run(options, report).await,
            Self::Http => http::run(options, report).await,
            Self::Latency => latency::run(options, report).await,
            Self::Fairness => fairness::run(options, report).await,
            Self::Memory => memory::run(options, report).await,
            Self::Scale => scale::run(options, report).await,
        }
    }
}
