//! Changes of ours, written back.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use millrace_tests::crm::Connected;
use serde_json::{Value, json};

use super::{World, for_every_provider};

const LONG: Duration = Duration::from_secs(90);

/// A connected account that is copied, and one of its deals.
async fn with_deal(world: &World, provider: &'static str) -> Result<(Connected, Value)> {
    let connected = world.connected(provider, 60).await?;
    connected.first_sync().await?;
    let deal = connected.copies("deals").await?.into_iter().next().context("no deal")?;
    Ok((connected, deal))
}

/// Changes a record; gives the outcome of the job.
async fn change(world: &World, record: &Value, fields: Value) -> Result<String> {
    let client = world.stack.client();
    let path = format!("/v1/records/{}", record["id"].as_str().context("no id")?);
    let request = client.request(reqwest::Method::PATCH, &path).json(&json!({ "fields": fields }));
    let accepted = client.send(request).await?.expect(202)?;
    let job = client.wait_job(accepted["job_id"].as_str().context("no job")?, LONG).await?;
    ensure!(job["state"] == "succeeded", "{job:#}");
    Ok(job["result"]["outcome"].as_str().unwrap_or_default().to_owned())
}

async fn truth_of(connected: &Connected, object: &str, id: &Value) -> Result<Value> {
    let truth = connected.account.truth(object).await?;
    let rows = truth["rows"].as_array().context("no rows")?;
    rows.iter().find(|row| row["id"] == *id).cloned().context("the record is not there")
}

async fn is_written(world: &World, provider: &'static str) -> Result<()> {
    let (connected, deal) = with_deal(world, provider).await?;
    let outcome = change(world, &deal, json!({ "name": "A new weir", "amount": 1250 })).await?;
    ensure!(outcome == "written", "{outcome}");
    let there = truth_of(&connected, "deals", &deal["external_id"]).await?;
    ensure!(there["name"] == "A new weir" && there["amount"] == "1250", "{there:#}");
    connected.is_a_copy().await?;
    // Once more the same is no change at all.
    let writes = connected.account.stat("writes").await?;
    let outcome = change(world, &deal, json!({ "name": "A new weir", "amount": "1250.00" })).await?;
    ensure!(outcome == "already" && connected.account.stat("writes").await? == writes, "{outcome}");

    let contact = connected.copies("contacts").await?.into_iter().next().context("no contact")?;
    let outcome = change(world, &contact, json!({ "emails": ["new@example.com"] })).await?;
    ensure!(outcome == "written", "{outcome}");
    let there = truth_of(&connected, "contacts", &contact["external_id"]).await?;
    ensure!(there["emails"][0] == "new@example.com", "{there:#}");
    connected.is_a_copy().await
}

#[tokio::test]
async fn a_change_is_written_once() -> Result<()> {
    for_every_provider(async |world, provider| is_written(world, provider).await).await
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_not_made_twice() -> Result<()> {
    let world = World::start().await?;
    let (connected, deal) = with_deal(&world, "pipedrive").await?;
    let fault = json!({ "method": "PATCH", "count": 1, "fault": { "kind": "reset", "carried_out": true } });
    connected.account.spoil(json!([fault])).await?;
    let writes = connected.account.stat("writes").await?;
    let outcome = change(&world, &deal, json!({ "name": "Once" })).await?;
    ensure!(outcome == "already", "the second attempt finds it as wanted: {outcome}");
    ensure!(connected.account.stat("writes").await? == writes + 1);
    connected.is_a_copy().await
}

/// Changes a deal's name there and here; gives what became of the change and the name that is there in the end.
async fn conflict(policy: &str) -> Result<(World, Connected, Value, String, String)> {
    let world = World::start().await?;
    let (connected, deal) = with_deal(&world, "hubspot").await?;
    let client = world.stack.client();
    let path = format!("/v1/connections/{}", connected.id);
    let request = client.request(reqwest::Method::PATCH, &path).json(&json!({ "conflict_policy": policy }));
    client.send(request).await?.expect(200)?;
    let operation =
        json!([{ "op": "update", "object": "deals", "ids": [deal["external_id"]], "fields": { "name": "Theirs" } }]);
    connected.account.change(operation).await?;
    let outcome = change(&world, &deal, json!({ "name": "Ours", "amount": 5 })).await?;
    let there = truth_of(&connected, "deals", &deal["external_id"]).await?;
    let name = there["name"].as_str().unwrap_or_default().to_owned();
    // Whatever became of it, the copy is what is there.
    connected.is_a_copy().await?;
    Ok((world, connected, deal, outcome, name))
}

#[tokio::test]
async fn a_change_that_meets_another_is_dropped_where_the_crm_wins() -> Result<()> {
    let (.., outcome, name) = conflict("crm_wins").await?;
    ensure!((outcome.as_str(), name.as_str()) == ("crm_won", "Theirs"), "{outcome}, {name}");
    Ok(())
}

#[tokio::test]
async fn a_change_that_meets_another_is_written_where_ours_wins() -> Result<()> {
    let (.., outcome, name) = conflict("local_wins").await?;
    ensure!((outcome.as_str(), name.as_str()) == ("written", "Ours"), "{outcome}, {name}");
    Ok(())
}

#[tokio::test]
async fn a_change_that_meets_an_older_one_is_written_where_the_newest_wins() -> Result<()> {
    let (.., outcome, name) = conflict("newest_wins").await?;
    ensure!((outcome.as_str(), name.as_str()) == ("written", "Ours"), "{outcome}, {name}");
    Ok(())
}

#[tokio::test]
async fn a_conflict_waits_for_an_operator_who_says_which_side_stays() -> Result<()> {
    let (world, connected, deal, outcome, name) = conflict("manual").await?;
    ensure!((outcome.as_str(), name.as_str()) == ("conflict", "Theirs"), "{outcome}, {name}");
    let client = world.stack.client();
    let waiting = client.get("/v1/conflicts").await?.expect(200)?;
    let met = &waiting["items"][0];
    ensure!(met["record_id"] == deal["id"] && met["fields"]["name"][1] == "Theirs", "{waiting:#}");
    let path = format!("/v1/conflicts/{}/resolve", met["id"].as_str().context("no id")?);
    let submitter = world.stack.client_with_role("submitter").await?;
    submitter.post(&path, &json!({ "take": "local" })).await?.expect(403)?;
    client.post(&path, &json!({ "take": "local" })).await?.expect(200)?;
    let again = client.post(&path, &json!({ "take": "crm" })).await?.expect(409)?;
    ensure!(again["code"] == "conflict_resolved", "{again:#}");
    millrace_tests::until("the change is written whole", LONG, async || {
        let there = truth_of(&connected, "deals", &deal["external_id"]).await?;
        Ok(there["name"] == "Ours" && there["amount"] == "5")
    })
    .await?;
    ensure!(client.get("/v1/conflicts").await?.expect(200)?["items"] == json!([]), "none waits any more");
    connected.becomes_a_copy(LONG).await
}

#[tokio::test]
async fn a_change_that_cannot_be_is_refused_at_once() -> Result<()> {
    let world = World::start().await?;
    let (_connected, deal) = with_deal(&world, "hubspot").await?;
    let client = world.stack.client();
    let path = format!("/v1/records/{}", deal["id"].as_str().context("no id")?);
    let patch = async |body: &Value| client.send(client.request(reqwest::Method::PATCH, &path).json(body)).await;
    let refused =
        patch(&json!({ "fields": { "amount": "much", "colour": "red", "raw.x y": 1 } })).await?.expect(422)?;
    let fields: Vec<&str> =
        refused["errors"].as_array().into_iter().flatten().filter_map(|error| error["field"].as_str()).collect();
    ensure!(fields == ["fields.amount", "fields.colour", "fields.raw.x y"], "{refused:#}");
    let old = patch(&json!({ "fields": { "name": "x" }, "version": 99 })).await?.expect(409)?;
    ensure!(old["code"] == "record_changed", "{old:#}");
    Ok(())
}
