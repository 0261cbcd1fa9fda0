//! Whatever goes wrong on the way, and whoever dies, the copy is what is there in the end.

use std::time::Duration;

use anyhow::{Result, ensure};
use millrace_harness::{PostgresOptions, Until};
use millrace_tests::crm::{Connected, PROVIDERS};
use millrace_tests::{RedisView, short_lease, until};
use serde_json::{Value, json};

use super::{TOKEN, World, for_every_provider};

const LONG: Duration = Duration::from_secs(150);

/// All that can go wrong with an answer, each some times.
fn all_faults() -> Value {
    json!([
        { "after": 3, "count": 4, "fault": { "kind": "status", "status": 503 } },
        { "after": 9, "count": 2, "fault": { "kind": "status", "status": 500 } },
        { "after": 14, "count": 2, "fault": { "kind": "reset", "carried_out": false } },
        { "after": 18, "count": 1, "fault": { "kind": "truncate", "keep_bytes": 200, "abrupt": false } },
        { "after": 21, "count": 1, "fault": { "kind": "truncate", "keep_bytes": 200, "abrupt": true } },
        { "after": 24, "count": 1, "fault": { "kind": "html", "status": 200 } },
        { "after": 27, "count": 1, "fault": { "kind": "empty_body" } },
        { "after": 30, "count": 2, "fault": { "kind": "rate_limit", "retry_after_s": 1 } },
        { "after": 34, "count": 1, "fault": { "kind": "delay", "ms": 7_000 } },
    ])
}

async fn survives_all_faults(world: &World, provider: &'static str) -> Result<()> {
    let account = world.account(provider, 2_500).await?;
    account.spoil(all_faults()).await?;
    let connected = Connected::by_token(world.stack.client(), account, TOKEN).await?;
    connected.first_sync().await?;
    connected.sync("full").await?;
    connected.is_a_copy().await
}

#[tokio::test]
async fn answers_that_go_wrong_in_every_way_cost_no_record() -> Result<()> {
    for_every_provider(async |world, provider| survives_all_faults(world, provider).await).await
}

/// Connects all providers, each with so many contacts whose lists come slowly.
async fn all_slowly(world: &World, contacts: u32) -> Result<Vec<Connected>> {
    let mut all = Vec::new();
    for provider in PROVIDERS {
        let account = world.account(provider, contacts).await?;
        account.post("/switches", &json!({ "latency_ms": 60 })).await?;
        all.push(Connected::by_token(world.stack.client(), account, TOKEN).await?);
    }
    Ok(all)
}

/// Waits until some of each is copied, but not all.
async fn in_the_middle(all: &[Connected]) -> Result<()> {
    for connected in all {
        until("the first records are there", LONG, async || Ok(!connected.copies("contacts").await?.is_empty()))
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn killed_workers_go_on_from_their_last_pages() -> Result<()> {
    let mut world = World::start_with(|builder| short_lease(builder).workers(2)).await?;
    let all = all_slowly(&world, 3_000).await?;
    for round in 0..4 {
        in_the_middle(&all[..1]).await?;
        let worker = &mut world.stack.workers[round % 2];
        worker.kill().await?;
        worker.start_again(Until::Ready).await?;
    }
    for connected in &all {
        let sync = connected.first_sync().await?;
        connected.is_a_copy().await?;
        let contacts = &sync["counts"]["contacts"];
        ensure!(contacts["created"] == 3_000, "each page counts once: {sync:#}");
    }
    Ok(())
}

#[tokio::test]
async fn a_wiped_redis_costs_no_sync() -> Result<()> {
    let world = World::start().await?;
    let all = all_slowly(&world, 1_500).await?;
    in_the_middle(&all).await?;
    RedisView::open(world.stack.redis.url(), "crm")?.flush_all().await?;
    for connected in &all {
        connected.first_sync().await?;
        connected.is_a_copy().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_restarted_postgres_costs_no_sync() -> Result<()> {
    let mut world = World::start_with(|builder| builder.own_postgres(PostgresOptions::default())).await?;
    let all = all_slowly(&world, 1_500).await?;
    in_the_middle(&all).await?;
    world.stack.postgres.kill().await?;
    world.stack.postgres.start_again().await?;
    for connected in &all {
        until("the API answers again", LONG, async || Ok(connected.shown().await.is_ok())).await?;
        connected.first_sync().await?;
        connected.is_a_copy().await?;
    }
    Ok(())
}

#[tokio::test]
async fn sigterm_hands_a_sync_over_without_an_attempt() -> Result<()> {
    let mut world = World::start_with(|builder| builder.worker_env("MILLRACE_DRAIN_TIMEOUT", "1s")).await?;
    let account = world.account("hubspot", 3_000).await?;
    account.post("/switches", &json!({ "latency_ms": 150 })).await?;
    let connected = Connected::by_token(world.stack.client(), account, TOKEN).await?;
    in_the_middle(std::slice::from_ref(&connected)).await?;
    let ended = world.stack.workers[0].terminate(Duration::from_secs(20)).await?;
    ensure!(ended.success(), "{ended}");
    world.stack.add_worker().await?;
    let sync = connected.first_sync().await?;
    let path = format!("/v1/jobs/{}", sync["id"].as_str().unwrap_or_default());
    let job = world.stack.client().get(&path).await?.expect(200)?;
    ensure!(job["attempt"] == 1, "{job:#}");
    connected.is_a_copy().await
}
