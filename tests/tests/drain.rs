//! SIGTERM: what runs is finished or handed back, nothing is used up, and the exit code is 0.

use std::time::Duration;

use anyhow::{Context as _, Result};
use millrace_harness::{Client, Signal, Stack, Until};
use millrace_tests::{Line, PATIENCE, audit, effect_probe, submit, submit_all, until};
use reqwest::{Body, Method, multipart};
use serde_json::Value;
use tokio::{
    io::AsyncWriteExt as _,
    time::{Instant, timeout},
};

fn mixed(count: u64) -> Vec<Value> {
    (0..count).map(|i| effect_probe(i * 611 % 3000)).collect()
}

#[tokio::test]
async fn drained_worker_hands_back_and_the_other_one_finishes() -> Result<()> {
    let builder = Stack::builder()
        .workers(2)
        .worker_env("MILLRACE_DRAIN_TIMEOUT", "1s")
        .worker_env("MILLRACE_QUEUES", "probe=16");
    let line = Line::start(builder).await?;
    let ids = submit_all(line.client(), &mixed(120)).await?;
    line.ledger.wait_count("succeeded", 20, PATIENCE).await?;
    let start = Instant::now();
    let worker = line.stack.workers[0].process();
    assert_eq!(line.stack.workers[0].terminate(PATIENCE).await?.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(10), "one second to drain, some to write: {:?}", start.elapsed());
    assert!(worker.log_tail(20).contains("jobs.handed_back="), "jobs of up to 3 s were cut off after one");
    assert!(!worker.log_tail(20).contains("jobs.handed_back=0"), "{}", worker.log_tail(20));
    let audit = audit(&line, &ids, PATIENCE * 2).await?;
    audit.all_succeeded_at_once()?;
    line.stack.drain().await
}

#[tokio::test]
async fn job_that_ends_within_the_deadline_is_finished_and_not_handed_back() -> Result<()> {
    let line = Line::start(Stack::builder()).await?;
    let ids = submit_all(line.client(), &vec![effect_probe(1500); 10]).await?;
    line.wait_running(10).await?;
    let late = {
        let worker = line.stack.workers[0].process();
        worker.signal(Signal::TERM)?;
        until("the drain has begun", PATIENCE, async || Ok(worker.log_tail(50).contains("draining"))).await?;
        let ready = Client::anonymous(&line.stack.workers[0].url())?.get("/health/ready").await?;
        assert_eq!(ready.status, 503, "it tells that it drains");
        let late = submit(line.client(), &effect_probe(0)).await?;
        assert_eq!(worker.wait_within(PATIENCE).await?.code(), Some(0));
        late
    };
    assert_eq!(line.ledger.count("succeeded").await?, 10);
    assert_eq!(line.job(&late).await?["state"], "queued", "nothing is claimed in a drain");
    assert_eq!(line.redis.leased().await?, 0);
    let mut line = line;
    line.stack.add_worker().await?;
    audit(&line, &[ids, vec![late]].concat(), PATIENCE).await?.all_succeeded_at_once()?;
    line.stack.drain().await
}

#[tokio::test]
async fn second_signal_hands_back_at_once() -> Result<()> {
    let mut line = Line::start(Stack::builder()).await?;
    let ids = submit_all(line.client(), &vec![effect_probe(5_000); 16]).await?;
    line.wait_running(16).await?;
    let start = Instant::now();
    let worker = line.stack.workers[0].process();
    worker.signal(Signal::TERM)?;
    until("the drain has begun", PATIENCE, async || Ok(worker.log_tail(50).contains("draining"))).await?;
    worker.signal(Signal::TERM)?;
    assert_eq!(worker.wait_within(PATIENCE).await?.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(4), "it does not wait for the jobs: {:?}", start.elapsed());
    assert_eq!(line.redis.leased().await?, 0, "all are handed back, none is left to its lease");
    assert_eq!(line.redis.known().await?, 16);
    line.stack.add_worker().await?;
    audit(&line, &ids, PATIENCE).await?.all_succeeded_at_once()?;
    line.stack.drain().await
}

#[tokio::test]
async fn workers_rolled_under_load_use_up_no_attempt() -> Result<()> {
    let builder = Stack::builder().workers(2).worker_env("MILLRACE_DRAIN_TIMEOUT", "200ms");
    let mut line = Line::start(builder).await?;
    let ids = submit_all(line.client(), &mixed(60)).await?;
    for round in 1..=4 {
        line.ledger.wait_count("succeeded", round * 6, PATIENCE).await?;
        let index = usize::try_from(round % 2)?;
        let worker = &mut line.stack.workers[index];
        assert_eq!(worker.terminate(PATIENCE).await?.code(), Some(0));
        worker.start_again(Until::Ready).await?;
    }
    audit(&line, &ids, PATIENCE * 2).await?.all_succeeded_at_once()?;
    line.stack.drain().await
}

#[tokio::test]
async fn drained_api_finishes_an_upload_and_takes_nothing_new() -> Result<()> {
    let line = Line::start(Stack::builder()).await?;
    // A body that the test writes bit by bit.
    let (mut writer, reader) = tokio::io::duplex(64 * 1024);
    let part =
        multipart::Part::stream(Body::wrap_stream(tokio_util::io::ReaderStream::new(reader))).file_name("slow.bin");
    let form = multipart::Form::new().part("file", part);
    let client = line.client().clone();
    let upload =
        tokio::spawn(async move { client.send(client.request(Method::POST, "/v1/assets").multipart(form)).await });
    // More than all buffers on the way hold: once it is written, the API has begun to read.
    let half = vec![0_u8; 16 * 1024 * 1024];
    writer.write_all(&half).await?;

    // A long poll is a request too: it answers at once, without an end.
    let waiting = submit(line.client(), &effect_probe(20_000)).await?;
    line.wait_state(&waiting, "running").await?;
    let (client, path) = (line.client().clone(), format!("/v1/jobs/{waiting}?wait=60s"));
    let poll = tokio::spawn(async move { client.get(&path).await });
    until("the API asks for the poll's job", PATIENCE, async || {
        let asked = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() \
                     AND application_name = 'millrace-api' AND query LIKE 'SELECT id FROM jobs WHERE id = ANY%')";
        Ok(sqlx::query_scalar(asked).fetch_one(line.ledger.pool()).await?)
    })
    .await?;

    let api = line.stack.api.process();
    api.signal(Signal::TERM)?;
    let polled = timeout(Duration::from_secs(10), poll).await.context("the poll does not answer")???;
    assert_eq!(polled.expect(200)?["state"], "running");
    until("it takes no new connection", PATIENCE, async || Ok(line.client().get("/v1/version").await.is_err())).await?;
    assert!(api.status().is_none(), "it waits for the upload");
    writer.write_all(&half).await?;
    drop(writer);
    let uploaded = timeout(PATIENCE, upload).await.context("the upload does not answer")???.expect(202)?;
    assert_eq!(api.wait_within(PATIENCE).await?.code(), Some(0));
    let asset = uploaded["asset"]["id"].as_str().context("no asset")?.to_owned();

    let mut line = line;
    line.stack.api.start_again(Until::Ready).await?;
    let asset = line.client().get(&format!("/v1/assets/{asset}")).await?.expect(200)?;
    assert_eq!(asset["size_bytes"], 2 * half.len(), "{asset:#}");
    line.client().post_empty(&format!("/v1/jobs/{waiting}/cancel")).await?.expect(200)?;
    line.stack.drain().await
}
