//! Everything at its limit at once: the largest payload, the longest delay, thousands of organisations, every script of the world, and a
//! queue that is paused all the time.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use millrace_harness::{Client, Stack};
use millrace_shared::jobs::{MAX_DELAY, MAX_PAYLOAD_BYTES};
use millrace_tests::{Line, all_slots_are_free, audit, clients_of_new_orgs, effect_probe, probe, submit};
use serde_json::{Value, json};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::CALM;

const SLOTS: usize = 32;
/// Requests under way at once: fewer than the API has connections to Postgres.
const CLIENTS: usize = 8;
/// Right to left, joined, combined, outside the basic plane, without a glyph, and what terminals and formats stumble over.
const UNICODE: &str = "Ærøskøbing · עברית · العربية · हिन्दी · 日本語 · 👩🏽‍🚀🏳️‍🌈 · e\u{301} · \u{202e}abc\u{202c} · \u{feff}\u{200b}\u{fffd}\u{10ffff} · \u{1b}[31m\t\r\n\"\\'%s{}$1";

/// Submits a job for each of `count` organisations. Gives the ids.
async fn submit_for_many(line: &Line, count: usize) -> Result<Vec<String>> {
    let (turns, mut requests) = (Arc::new(Semaphore::new(CLIENTS)), JoinSet::new());
    for client in clients_of_new_orgs(line, count).await? {
        let turn = Arc::clone(&turns).acquire_owned().await?;
        requests.spawn(async move {
            let id = submit(&client, &effect_probe(0)).await;
            drop(turn);
            id
        });
    }
    requests.join_all().await.into_iter().collect()
}

/// Submits a probe that gives `text` back, under a unique key made of it too.
async fn submit_echo(client: &Client, text: &str) -> Result<String> {
    let key: String = text.chars().take(256).collect();
    let body = json!({ "kind": "probe", "payload": { "echo": text, "effect": true }, "unique_key": key });
    submit(client, &body).await
}

/// The longest text whose payload is still taken.
fn largest_text() -> String {
    let frame = json!({ "echo": "", "effect": true }).to_string().len();
    "ø".repeat((MAX_PAYLOAD_BYTES - frame) / 2)
}

async fn expect_echo(line: &Line, id: &str, text: &str) -> Result<()> {
    let job = line.client().wait_job(id, CALM).await?;
    ensure!(job["state"] == "succeeded", "{}", job["error"]);
    ensure!(job["result"]["echo"] == *text, "{} characters came back as others", text.chars().count());
    Ok(())
}

async fn storm(organisations: usize) -> Result<()> {
    let builder = Stack::builder().workers(2).worker_env("MILLRACE_QUEUES", format!("probe={SLOTS},asset=2"));
    let line = Line::start(builder).await?;
    let client = line.client();

    client.post_empty("/v1/queues/asset/pause").await?.expect(200)?;
    // A header of a multipart form holds no control characters.
    let name: String = UNICODE.chars().filter(|character| !character.is_control()).collect();
    let uploaded = client.upload(&format!("{name}.txt"), UNICODE.as_bytes().to_vec()).await?.expect(202)?;
    let paused = uploaded["job"]["id"].as_str().context("an upload without a job")?.to_owned();
    let longest = u64::try_from(MAX_DELAY.as_millis())?;
    let farthest =
        submit(client, &json!({ "kind": "probe", "payload": { "effect": true }, "delay_ms": longest })).await?;
    let too_far = json!({ "kind": "probe", "delay_ms": longest + 1 });
    ensure!(client.post("/v1/jobs", &too_far).await?.status == 422);

    let largest = largest_text();
    let (large, unicode) = (submit_echo(client, &largest).await?, submit_echo(client, UNICODE).await?);
    let too_large = probe(&json!({ "echo": format!("{largest}ø"), "effect": true }));
    ensure!(client.post("/v1/jobs", &too_large).await?.status == 422);
    let mut ids = submit_for_many(&line, organisations).await?;
    expect_echo(&line, &large, &largest).await?;
    expect_echo(&line, &unicode, UNICODE).await?;
    line.ledger.wait_count("succeeded", i64::try_from(organisations + 2)?, CALM * 5).await?;

    ensure!(line.job(&paused).await?["state"] == "queued", "a paused queue was served");
    ensure!(line.job(&farthest).await?["state"] == "delayed", "{:#}", line.job(&farthest).await?);
    client.post_empty(&format!("/v1/jobs/{farthest}/cancel")).await?.expect(200)?;
    client.post_empty("/v1/queues/asset/resume").await?.expect(200)?;
    let read = client.wait_job(&paused, CALM).await?;
    ensure!(read["state"] == "succeeded", "{read:#}");
    let asset = uploaded["asset"]["id"].as_str().context("an upload without an asset")?;
    let text: Value = client.get(&format!("/v1/assets/{asset}/chunks")).await?.expect(200)?;
    ensure!(text.to_string().contains("日本語"), "{text:#}");

    ids.extend([paused, farthest, large, unicode]);
    let audit = audit(&line, &ids, CALM).await?;
    println!(
        "{organisations} organisations; a payload of {MAX_PAYLOAD_BYTES} bytes; a delay of {MAX_DELAY:?}; {audit}"
    );
    ensure!(audit.states["cancelled"] == 1 && audit.states["succeeded"] == organisations + 3, "{:?}", audit.states);
    all_slots_are_free(&line, SLOTS).await?;
    line.stack.drain().await
}

#[tokio::test]
async fn largest_farthest_strangest_and_most_many_are_all_taken_and_done() -> Result<()> {
    storm(500).await
}

mod long {
    use super::*;

    #[tokio::test]
    #[ignore = "long: 10,000 organisations"]
    async fn largest_farthest_strangest_and_most_many_are_all_taken_and_done() -> Result<()> {
        storm(10_000).await
    }
}
