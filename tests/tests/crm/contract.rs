//! What every provider must do.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::{World, for_every_provider};

#[tokio::test]
async fn a_first_sync_copies_everything_and_a_second_one_writes_nothing() -> Result<()> {
    for_every_provider(async |world, provider| first_and_second(world, provider).await).await
}

async fn first_and_second(world: &World, provider: &'static str) -> Result<()> {
    let connected = world.connected(provider, 1_300).await?;
    let first = connected.first_sync().await?;
    connected.is_a_copy().await?;
    let contacts = &first["counts"]["contacts"];
    ensure!(contacts["created"] == 1_300 && contacts["updated"] == 0, "{first:#}");
    let shown = connected.shown().await?;
    ensure!(shown["account_id"].is_string() && shown["breaker"]["state"] == "closed", "{shown:#}");

    let versions = |copies: &[serde_json::Value]| -> Vec<serde_json::Value> {
        copies.iter().map(|copy| json!([copy["id"], copy["version"], copy["updated_at"]])).collect()
    };
    let before = versions(&connected.copies("contacts").await?);
    let second = connected.sync("full").await?;
    let contacts = &second["result"]["contacts"];
    ensure!(contacts["created"] == 0 && contacts["updated"] == 0, "{second:#}");
    ensure!(contacts["unchanged"].as_u64() >= Some(1_300), "a full sync reads everything: {second:#}");
    ensure!(versions(&connected.copies("contacts").await?) == before, "what is unchanged costs no write");
    Ok(())
}

#[tokio::test]
async fn incremental_syncs_meet_what_has_changed() -> Result<()> {
    for_every_provider(async |world, provider| incremental(world, provider).await).await
}

async fn incremental(world: &World, provider: &'static str) -> Result<()> {
    let connected = world.connected(provider, 400).await?;
    connected.first_sync().await?;
    let changes = json!([
        { "op": "create", "object": "contacts", "count": 30 },
        { "op": "update", "object": "contacts", "count": 60 },
        { "op": "update", "object": "companies", "count": 20 },
        { "op": "update", "object": "deals", "count": 40 },
        { "op": "delete", "object": "deals", "count": 10 },
    ]);
    connected.account.change(changes).await?;
    let sync = connected.sync("incremental").await?;
    connected.is_a_copy().await?;
    let contacts = &sync["result"]["contacts"];
    ensure!(contacts["created"] == 30, "{sync:#}");
    ensure!(contacts["read"].as_u64() < Some(400), "an incremental sync does not read everything: {sync:#}");

    let copies = connected.copies("contacts").await?;
    let changed = copies.iter().find(|copy| copy["version"] == 2).expect("60 contacts have changed");
    let path = format!("/v1/records/{}", changed["id"].as_str().unwrap_or_default());
    let whole = world.stack.client().get(&path).await?.expect(200)?;
    let changes = whole["changes"][0]["changes"].as_object().expect("a version tells what it changed");
    ensure!(!changes.is_empty(), "{whole:#}");
    Ok(())
}

#[tokio::test]
async fn a_full_sync_finds_what_was_deleted_without_a_trace() -> Result<()> {
    for_every_provider(async |world, provider| deleted(world, provider).await).await
}

async fn deleted(world: &World, provider: &'static str) -> Result<()> {
    let connected = world.connected(provider, 300).await?;
    connected.first_sync().await?;
    let gone = connected.account.change(json!([{ "op": "delete", "object": "contacts", "count": 12 }])).await?;
    let ids: Vec<_> = gone.iter().map(|row| row["id"].clone()).collect();
    if provider != "hubspot" {
        // `HubSpot` tells of what was archived for ninety days; whatever is purged before that is gone for good.
        connected.account.change(json!([{ "op": "purge", "object": "contacts", "ids": ids }])).await?;
    }
    connected.account.change(json!([{ "op": "delete", "object": "companies", "count": 3 }])).await?;
    connected.sync("full").await?;
    // Each of those that a list lacks is looked for by a job of its own.
    connected.becomes_a_copy(Duration::from_secs(60)).await?;
    let copies = connected.copies("contacts").await?;
    ensure!(copies.len() == 300, "what is gone is kept, and marked");
    Ok(())
}

#[tokio::test]
async fn records_that_change_in_mid_scan_are_not_passed_over() -> Result<()> {
    for_every_provider(async |world, provider| in_mid_scan(world, provider).await).await
}

async fn in_mid_scan(world: &World, provider: &'static str) -> Result<()> {
    let account = world.account(provider, 1_500).await?;
    let changes = json!([
        { "op": "update", "object": "contacts", "count": 25, "served": true },
        { "op": "update", "object": "contacts", "count": 25, "served": false },
        { "op": "delete", "object": "contacts", "count": 10, "served": true },
        { "op": "delete", "object": "contacts", "count": 10, "served": false },
        { "op": "create", "object": "contacts", "count": 10 },
        { "op": "update", "object": "deals", "count": 20 },
    ]);
    account.post("/mutate", &json!({ "after_requests": 7, "times": 4, "operations": changes })).await?;
    let connected = millrace_tests::crm::Connected::by_token(world.stack.client(), account, super::TOKEN).await?;
    connected.first_sync().await?;
    // What changed behind the scan is for the next one; what was there all the time must be there now.
    connected.sync("incremental").await?;
    // Whatever is still to change would do so behind the last scan.
    connected.account.delete("/mutate").await?;
    connected.sync("full").await?;
    connected.becomes_a_copy(Duration::from_secs(60)).await
}

#[tokio::test]
async fn documents_that_drift_are_kept_and_told() -> Result<()> {
    for_every_provider(async |world, provider| drift(world, provider).await).await
}

async fn drift(world: &World, provider: &'static str) -> Result<()> {
    let account = world.account(provider, 60).await?;
    let field = match provider {
        "salesforce" => "Name",
        "hubspot" => "firstname",
        _ => "name",
    };
    let fault = json!({ "kind": "schema_drift", "field": field, "change": "list" });
    account.spoil(json!([{ "path": "*ontact*", "fault": fault }, { "path": "*persons*", "fault": fault }, { "path": "*query*", "fault": fault }])).await?;
    let connected = millrace_tests::crm::Connected::by_token(world.stack.client(), account, super::TOKEN).await?;
    connected.first_sync().await?;
    ensure!(connected.copies("contacts").await?.len() == 60, "records with odd fields are kept");
    let path = format!("/v1/connections/{}/drift", connected.id);
    let told = world.stack.client().get(&path).await?.expect(200)?;
    let of_field = |row: &&serde_json::Value| row["field"] == field && row["object"] == "contacts";
    ensure!(told["items"].as_array().is_some_and(|rows| rows.iter().any(|row| of_field(&row))), "{told:#}");

    connected.account.delete("/faults").await?;
    connected.sync("full").await?;
    connected.is_a_copy().await
}
