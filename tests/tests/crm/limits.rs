//! Rates, pauses and breakers.

use std::time::Duration;

use anyhow::{Result, ensure};
use millrace_tests::crm::Connected;
use millrace_tests::until;
use serde_json::{Value, json};

use super::{TOKEN, World};

const LONG: Duration = Duration::from_secs(120);

/// Syncs an account of Kommo's at its rate, with so many workers; gives how many calls it took, and the statistics.
async fn at_kommos_rate(workers: usize) -> Result<(f64, Value)> {
    let world =
        World::start_with(|builder| builder.workers(workers).worker_env("MILLRACE_CRM_RATES", "kommo=7/1s")).await?;
    let mut spec = super::account(4_000);
    spec["switches"] = json!({ "requests": 7, "window_ms": 1_000, "block_after": 1 });
    let account = world.simulator.account("kommo", "acme", &spec).await?;
    let connected = Connected::by_token(world.stack.client(), account, TOKEN).await?;
    connected.first_sync().await?;
    // Several jobs at once, so that workers compete for the rate.
    connected.account.delete("/stats").await?;
    let begun = std::time::Instant::now();
    let changes = json!([{ "op": "update", "object": "contacts", "count": 60 }]);
    let changed = connected.account.change(changes).await?;
    let mut jobs = vec![connected.begin_sync("full").await?];
    for row in &changed {
        let payload = json!({ "connection_id": connected.id, "object": "contacts", "external_id": row["id"] });
        let job = world.stack.client().submit("crm.sync_record", &payload).await?;
        jobs.push(job["id"].as_str().unwrap_or_default().to_owned());
    }
    for job in &jobs {
        connected.ended_well(job).await?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    connected.is_a_copy().await?;
    Ok((seconds, connected.account.get("/stats").await?))
}

fn is_never_over(seconds: f64, stats: &Value) -> Result<()> {
    ensure!(stats["rate_refusals"] == 0 && stats["block_refusals"] == 0, "{stats:#}");
    ensure!(stats["max_in_one_second"].as_u64() <= Some(7), "{stats:#}");
    // How much of it was used depends on the machine; the benchmark tells. That it was not a small part does not.
    let calls = stats["requests"].as_f64().unwrap_or_default();
    ensure!(calls / seconds > 2.0, "{calls} calls in {seconds} s");
    Ok(())
}

#[tokio::test]
async fn one_worker_keeps_kommos_rate() -> Result<()> {
    let (seconds, stats) = at_kommos_rate(1).await?;
    is_never_over(seconds, &stats)
}

#[tokio::test]
async fn four_workers_keep_kommos_rate_together() -> Result<()> {
    let (seconds, stats) = at_kommos_rate(4).await?;
    is_never_over(seconds, &stats)
}

#[tokio::test]
async fn an_account_that_wants_to_be_left_alone_is() -> Result<()> {
    let world = World::start().await?;
    let connected = world.connected("hubspot", 100).await?;
    connected.first_sync().await?;
    connected.account.spoil(json!([{ "count": 1, "fault": { "kind": "rate_limit", "retry_after_s": 4 } }])).await?;
    connected.account.delete("/stats").await?;
    let job = connected.begin_sync("full").await?;
    until("the account was called once", LONG, async || Ok(connected.account.stat("requests").await? == 1)).await?;
    let shown = connected.shown().await?;
    ensure!(shown["breaker"]["state"] == "open" && shown["breaker"]["failures"] == 0, "{shown:#}");
    // Other jobs of the account leave it alone as well.
    let payload = json!({ "connection_id": connected.id, "object": "contacts", "external_id": "1" });
    let other = world.stack.client().submit("crm.sync_record", &payload).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(connected.account.stat("requests").await? == 1, "nobody has called meanwhile");
    let ended = connected.ended_well(&job).await?;
    ensure!(ended["attempt"] == 1, "{ended:#}");
    connected.ended_well(other["id"].as_str().unwrap_or_default()).await?;
    connected.is_a_copy().await
}

#[tokio::test]
async fn an_account_in_trouble_is_tried_by_one_job_at_a_time() -> Result<()> {
    let world = World::start_with(|builder| {
        builder.worker_env("MILLRACE_CRM_BREAKER_FAILURES", "3").worker_env("MILLRACE_CRM_BREAKER_PAUSE", "2s")
    })
    .await?;
    let connected = world.connected("pipedrive", 100).await?;
    connected.first_sync().await?;
    connected.account.spoil(json!([{ "fault": { "kind": "status", "status": 502 } }])).await?;
    let rows = connected.account.truth("contacts").await?;
    let mut jobs = Vec::new();
    for row in rows["rows"].as_array().into_iter().flatten().take(20) {
        let payload = json!({ "connection_id": connected.id, "object": "contacts", "external_id": row["id"] });
        let job = world.stack.client().submit("crm.sync_record", &payload).await?;
        jobs.push(job["id"].as_str().unwrap_or_default().to_owned());
    }
    until("the breaker is open", LONG, async || Ok(connected.shown().await?["breaker"]["state"] == "open")).await?;
    connected.account.delete("/stats").await?;
    tokio::time::sleep(Duration::from_secs(6)).await;
    let tried = connected.account.stat("requests").await?;
    ensure!(tried <= 6, "twenty jobs wait, and one tries at a time: {tried} calls");
    connected.account.delete("/faults").await?;
    for job in &jobs {
        let ended = connected.ended_well(job).await?;
        ensure!(ended["attempt"].as_u64() <= Some(4), "an outage uses up few attempts: {ended:#}");
    }
    let shown = connected.shown().await?;
    ensure!(shown["breaker"]["state"] == "closed", "{shown:#}");
    Ok(())
}

#[tokio::test]
async fn an_account_is_called_by_no_more_at_once_than_is_set() -> Result<()> {
    let world = World::start_with(|builder| builder.workers(2).worker_env("MILLRACE_CRM_CALLS_AT_ONCE", "3")).await?;
    let connected = world.connected("salesforce", 60).await?;
    connected.first_sync().await?;
    connected.account.post("/switches", &json!({ "latency_ms": 150 })).await?;
    connected.account.delete("/stats").await?;
    let rows = connected.account.truth("contacts").await?;
    let mut jobs = Vec::new();
    for row in rows["rows"].as_array().into_iter().flatten().take(40) {
        let payload = json!({ "connection_id": connected.id, "object": "contacts", "external_id": row["id"] });
        let job = world.stack.client().submit("crm.sync_record", &payload).await?;
        jobs.push(job["id"].as_str().unwrap_or_default().to_owned());
    }
    for job in &jobs {
        let ended = connected.ended_well(job).await?;
        ensure!(ended["attempt"] == 1, "waiting uses up no attempt: {ended:#}");
    }
    ensure!(connected.account.stat("max_at_once").await? == 3, "sixteen slots want to call");
    Ok(())
}
