//! The API dies: between the commit of a delivery and its answer, and at any other moment.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use millrace_harness::Until;
use millrace_tests::{Line, short_lease};

use super::sender::{CALM, Sender, Stream, builder, each_counts_once};

async fn events(line: &Line) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM webhook_events").fetch_one(line.ledger.pool()).await?)
}

#[tokio::test]
async fn a_delivery_whose_api_died_between_commit_and_answer_counts_once_when_it_is_sent_again() -> Result<()> {
    let mut line = Line::start(builder().failpoint("committed:2")).await?;
    let sender = Sender::new(&line).await?;
    sender.until_safe(0).await?;
    ensure!(sender.once(1).await.is_err(), "the second has no answer");
    let status = line.stack.api.process().wait_within(CALM).await?;
    ensure!(status.code().is_none(), "the API did not die: {status}");
    ensure!(events(&line).await? == 2, "it is there all the same");

    line.stack.api.start_again(Until::Listening).await?;
    let failed = sender.until_safe(1).await?;
    ensure!(failed.refused.is_empty(), "it is answered 200 when it comes again: {failed:?}");
    each_counts_once(&line, 2).await?;
    line.stack.drain().await
}

#[tokio::test]
async fn a_delivery_whose_api_died_before_its_job_was_written_is_as_if_it_had_not_come() -> Result<()> {
    let mut line = Line::start(builder().failpoint("stored:2")).await?;
    let sender = Sender::new(&line).await?;
    sender.until_safe(0).await?;
    ensure!(sender.once(1).await.is_err(), "the second has no answer");
    line.stack.api.process().wait_within(CALM).await?;
    ensure!(events(&line).await? == 1, "a delivery and its job are stored together or not at all");
    line.stack.api.start_again(Until::Listening).await?;
    sender.until_safe(1).await?;
    each_counts_once(&line, 2).await?;
    line.stack.drain().await
}

#[tokio::test]
async fn deliveries_count_once_while_workers_are_killed_again_and_again() -> Result<()> {
    let mut line = Line::start(short_lease(builder()).workers(2)).await?;
    let sender = Arc::new(Sender::new(&line).await?);
    let stream = Stream::start(&sender, 8, Duration::from_millis(5));
    for round in 0..4 {
        stream.progress(60).await?;
        let worker = &mut line.stack.workers[round % 2];
        worker.kill().await?;
        worker.start_again(Until::Ready).await?;
    }
    let (count, attempts) = stream.stop().await?;
    // A busy machine may turn some away; that is not what workers have to do with.
    attempts.all_told_to_come_back()?;
    ensure!(attempts.unanswered == 0, "workers are not the API: {attempts:?}");
    each_counts_once(&line, count).await?;
    line.stack.drain().await
}

#[tokio::test]
async fn deliveries_count_once_while_the_api_is_killed_again_and_again() -> Result<()> {
    let mut line = Line::start(builder()).await?;
    let sender = Arc::new(Sender::new(&line).await?);
    let stream = Stream::start(&sender, 8, Duration::from_millis(5));
    for _ in 0..4 {
        stream.progress(40).await?;
        line.stack.api.kill().await?;
        line.stack.api.start_again(Until::Listening).await?;
    }
    stream.progress(40).await?;
    let (count, attempts) = stream.stop().await?;
    ensure!(attempts.unanswered > 0, "nobody noticed");
    attempts.all_told_to_come_back()?;
    each_counts_once(&line, count).await?;
    line.stack.drain().await
}
