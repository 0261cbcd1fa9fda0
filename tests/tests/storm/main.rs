//! Storms: faults again and again, under load, and the audit at the end. The small forms of most of them stand beside this directory,
//! one fault a test.
//!
//! Every storm is one function with a scale. Its short form runs with all other tests; its long form, in a module `long`, is ignored
//! unless `cargo xtask test --long` asks for it.

#![expect(clippy::print_stdout, reason = "a storm tells what it did")]

mod clocks;
mod crowds;
mod deploys;
mod extremes;
mod failpoints;
mod kills;
mod memory;
mod poison;
mod postgres;
mod redis;

use std::time::Duration;

use anyhow::Result;
use millrace_tests::Line;
use serde_json::Value;

/// How long everything may take to end after a storm, on a machine with other things to do.
const CALM: Duration = Duration::from_secs(120);

/// Probes with an effect, of 0 to `longest_ms` in no order.
fn mixed(count: usize, longest_ms: u64) -> Vec<Value> {
    (0..count as u64).map(|number| millrace_tests::effect_probe(number * 611 % longest_ms)).collect()
}

/// Waits until `more` further jobs have succeeded: between two faults there is progress, or it would be no load.
async fn progress(line: &Line, more: i64) -> Result<()> {
    let before = line.ledger.count("succeeded").await?;
    line.ledger.wait_count("succeeded", before + more, CALM).await
}

/// Waits until the API and every live worker are ready.
async fn wait_ready(line: &Line) -> Result<()> {
    for service in std::iter::once(&line.stack.api).chain(line.live_workers()) {
        service.wait_ready(CALM).await?;
    }
    Ok(())
}
