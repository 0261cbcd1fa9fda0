//! The API dies between the commit of a job and its push to Redis: the client has no answer, the job is there, and it runs.

use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use millrace_harness::{Stack, Until};
use millrace_tests::{Line, Traffic, all_slots_are_free, audit, effect_probe, metric, until};

use crate::CALM;

const SLOTS: usize = 16;
/// At how many commits a life of the API ends.
const COMMITS: usize = 20;

async fn storm(deaths: usize) -> Result<()> {
    let builder = Stack::builder().failpoint(format!("committed:{COMMITS}"));
    let mut line = Line::start(builder.worker_env("MILLRACE_QUEUES", format!("probe={SLOTS}"))).await?;
    let traffic = Traffic::start(line.client(), 4, Duration::from_millis(20), &effect_probe(20));
    for _ in 0..deaths {
        let status = line.stack.api.process().wait_within(CALM).await?;
        ensure!(status.code().is_none(), "the API did not abort: {status}");
        line.stack.api.start_again(Until::Listening).await?;
    }
    let submitted = traffic.stop().await;
    if line.stack.api.process().status().is_some() {
        line.stack.api.start_again(Until::Ready).await?;
    }
    let audit = audit(&line, &submitted.accepted, CALM).await?;
    audit.all_succeeded_at_once()?;
    let unanswered = audit.jobs.len() - submitted.accepted.len();
    let mut reconciled = 0.0;
    until("the reconciler tells what it has done", CALM, async || {
        reconciled = metric(&line.stack.workers[0].url(), "millrace_reconciled_total").await?;
        Ok(reconciled > 0.0)
    })
    .await?;
    println!(
        "{deaths} deaths of the API; {submitted}, of which {unanswered} are in the ledger and {reconciled} were reconciled; {audit}"
    );
    ensure!(unanswered >= deaths, "each death leaves at least one job that nobody was told of");
    ensure!(submitted.unanswered.len() >= unanswered, "a client without an answer for each of them");
    // Below the failpoint's count, so that the API outlives it.
    all_slots_are_free(&line, SLOTS).await?;
    line.stack.drain().await
}

#[tokio::test]
async fn jobs_of_an_api_that_died_between_commit_and_push_are_found_and_run() -> Result<()> {
    storm(2).await
}

#[tokio::test]
async fn shipped_api_holds_no_failpoint() -> Result<()> {
    let binaries = millrace_harness::Binaries::for_tests().await?;
    let holds = |program: Vec<u8>| program.windows(23).any(|bytes| bytes == b"MILLRACE_TEST_FAILPOINT");
    assert!(holds(fs::read(binaries.api_with_failpoints().await?)?), "the one for tests does");
    assert!(!holds(fs::read(binaries.api())?));
    Ok(())
}

mod long {
    use super::*;

    #[tokio::test]
    #[ignore = "long: twenty deaths of the API"]
    async fn jobs_of_an_api_that_died_between_commit_and_push_are_found_and_run() -> Result<()> {
        storm(20).await
    }
}
