//! Postgres or Redis is away.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use millrace_harness::PostgresOptions;
use millrace_tests::Line;
use tokio::time::Instant;

use super::sender::{CALM, Sender, Stream, builder, each_counts_once};

/// What the API allows Redis for one call, and some for a busy machine.
const API_PATIENCE: Duration = Duration::from_secs(6);

#[tokio::test]
async fn deliveries_around_a_stop_of_postgres_are_answered_503_and_count_once_when_they_are_sent_again() -> Result<()> {
    let mut line = Line::start(builder().own_postgres(PostgresOptions::default())).await?;
    let sender = Arc::new(Sender::new(&line).await?);
    let stream = Stream::start(&sender, 4, Duration::from_millis(10));
    stream.progress(40).await?;
    line.stack.postgres.stop().await?;
    for _ in 0..3 {
        // One that the stream does not get to.
        let reply = sender.once(usize::MAX).await?;
        ensure!(reply.status == 503, "{}: {}", reply.status, reply.text());
        ensure!(reply.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "no Retry-After");
    }
    line.stack.postgres.start_again().await?;
    stream.progress(40).await?;
    let (count, attempts) = stream.stop().await?;
    attempts.all_told_to_come_back()?;
    ensure!(!attempts.refused.is_empty() && attempts.unanswered == 0, "{attempts:?}");
    each_counts_once(&line, count).await?;
    line.stack.drain().await
}

#[tokio::test]
async fn deliveries_are_taken_in_while_redis_is_away_and_become_jobs_when_it_is_back() -> Result<()> {
    let mut line = Line::start(builder()).await?;
    let sender = Sender::new(&line).await?;
    sender.until_safe(0).await?;
    line.ledger.wait_all_ended(CALM).await?;
    line.stack.redis.kill().await?;
    for number in 1..=10 {
        let begun = Instant::now();
        let reply = sender.once(number).await?;
        ensure!(reply.status == 200, "{}: {}", reply.status, reply.text());
        ensure!(begun.elapsed() < API_PATIENCE, "the sender waited for {:?}", begun.elapsed());
        // And once more, because the sender cannot know.
        ensure!(sender.once(number).await?.status == 200, "what came before is safe");
    }
    ensure!(line.ledger.count("queued").await? == 10, "they wait in the ledger");
    line.stack.redis.start_again().await?;
    each_counts_once(&line, 11).await?;
    line.stack.drain().await
}
