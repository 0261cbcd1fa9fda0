//! Grants of access, and tokens that run out, are lost, revoked and replaced.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use millrace_harness::{Client, PostgresOptions};
use millrace_tests::crm::Connected;
use millrace_tests::until;
use reqwest::Method;
use serde_json::{Value, json};

use super::{World, for_every_provider};

const LONG: Duration = Duration::from_secs(120);
const REDIRECT: &str = "https://millrace.example.org/v1/oauth/callback";

/// Connects an account by an app of ours, without a grant yet.
async fn by_app(world: &World, provider: &'static str, switches: Value) -> Result<Connected> {
    let mut spec = super::account(200);
    spec["oauth"] = json!({ "client_id": "app", "client_secret": "planted-app-secret", "redirect_uri": REDIRECT });
    let all = spec["switches"].as_object_mut().context("switches")?;
    all.extend(switches.as_object().cloned().unwrap_or_default());
    let account = world.simulator.account(provider, "acme", &spec).await?;
    let auth = json!({ "type": "oauth", "client_id": "app", "client_secret": "planted-app-secret" });
    Connected::with(world.stack.client(), account, &auth).await
}

/// Does what a person's browser does: goes where it is sent, and comes back. Gives the way back.
async fn consent(world: &World, connected: &Connected) -> Result<String> {
    let client = world.stack.client();
    let path = format!("/v1/connections/{}/oauth/start", connected.id);
    let begun = client.post_empty(&path).await?.expect(200)?;
    let url = begun["authorize_url"].as_str().context("no URL")?;
    let browser = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
    let answer = browser.get(format!("{url}&account=acme")).send().await?;
    let location = answer.headers().get("location").context("no redirect")?.to_str()?.to_owned();
    location.strip_prefix("https://millrace.example.org").map(str::to_owned).context(location)
}

async fn come_back(world: &World, way: &str) -> Result<(u16, String)> {
    let reply = Client::anonymous(world.stack.client().base())?.get(way).await?;
    Ok((reply.status, reply.text()))
}

async fn grant(world: &World, connected: &Connected) -> Result<()> {
    let way = consent(world, connected).await?;
    let (status, page) = come_back(world, &way).await?;
    ensure!(status == 200 && page.contains("Access granted"), "{status}: {page}");
    Ok(())
}

async fn is_granted_and_refreshed(world: &World, provider: &'static str, switches: Value) -> Result<()> {
    let connected = by_app(world, provider, switches).await?;
    ensure!(connected.shown().await?["state"] == "pending");
    grant(world, &connected).await?;
    connected.first_sync().await?;
    connected.is_a_copy().await?;
    // The tokens end while many jobs want them at once: one refreshes, whatever answers are lost.
    // They come slowly, so that two who asked at once would be seen.
    connected.account.spoil(json!([{ "path": "*token*", "fault": { "kind": "delay", "ms": 700 } }])).await?;
    let lost = json!({ "path": "*token*", "count": 1, "fault": { "kind": "reset", "carried_out": true } });
    if provider != "pipedrive" {
        connected.account.spoil(json!([lost])).await?;
    }
    connected.account.post("/tokens", &json!("expire")).await?;
    let rows = connected.account.truth("contacts").await?;
    let mut jobs = vec![connected.begin_sync("full").await?];
    for row in rows["rows"].as_array().into_iter().flatten().take(30) {
        let payload = json!({ "connection_id": connected.id, "object": "contacts", "external_id": row["id"] });
        let job = world.stack.client().submit("crm.sync_record", &payload).await?;
        jobs.push(job["id"].as_str().unwrap_or_default().to_owned());
    }
    for job in &jobs {
        connected.ended_well(job).await?;
    }
    let stats = connected.account.get("/stats").await?;
    ensure!(stats["max_refreshes_at_once"].as_u64() <= Some(1), "{stats:#}");
    ensure!(stats["refreshes"].as_u64() <= Some(2), "one, and the one whose answer was lost: {stats:#}");
    connected.is_a_copy().await
}

#[tokio::test]
async fn access_is_granted_and_refreshed_by_one_job_at_a_time_though_answers_are_lost() -> Result<()> {
    for_every_provider(async |world, provider| {
        // Each refresh token serves once, so that a lost answer would be the end of it.
        let switches = if provider == "pipedrive" { json!({ "rotation": "one_shot" }) } else { json!({}) };
        is_granted_and_refreshed(world, provider, switches).await
    })
    .await
}

#[tokio::test]
async fn access_to_kommo_is_refreshed_where_any_use_ends_the_old_token() -> Result<()> {
    let world = World::start().await?;
    is_granted_and_refreshed(&world, "kommo", json!({ "rotation_closed_by": "any_token" })).await
}

#[tokio::test]
async fn tokens_that_end_soon_are_refreshed_before_they_are_refused() -> Result<()> {
    let world = World::start().await?;
    let connected = by_app(&world, "hubspot", json!({ "access_token_s": 30 })).await?;
    grant(&world, &connected).await?;
    connected.first_sync().await?;
    let stats = connected.account.get("/stats").await?;
    let refused = stats["by_path"].as_object().into_iter().flatten().any(|(_, statuses)| !statuses["401"].is_null());
    ensure!(!refused && stats["refreshes"].as_u64() >= Some(1), "{stats:#}");
    Ok(())
}

#[tokio::test]
async fn a_way_back_serves_once_and_only_the_one_that_was_begun() -> Result<()> {
    let world = World::start().await?;
    let connected = by_app(&world, "hubspot", json!({})).await?;
    for forged in ["/v1/oauth/callback?code=x&state=forged", "/v1/oauth/callback?code=x", "/v1/oauth/callback"] {
        let (status, page) = come_back(&world, forged).await?;
        ensure!(status == 400 && page.contains("This link has run out"), "{status}: {page}");
    }
    let way = consent(&world, &connected).await?;
    ensure!(come_back(&world, &way).await?.0 == 200);
    let (status, page) = come_back(&world, &way).await?;
    ensure!(status == 400 && page.contains("run out"), "{status}: {page}");
    connected.first_sync().await?;
    Ok(())
}

#[tokio::test]
async fn a_way_back_while_postgres_is_away_serves_when_it_is_there_again() -> Result<()> {
    let mut world = World::start_with(|builder| builder.own_postgres(PostgresOptions::default())).await?;
    let connected = by_app(&world, "hubspot", json!({})).await?;
    let way = consent(&world, &connected).await?;
    world.stack.postgres.kill().await?;
    let (status, said) = come_back(&world, &way).await?;
    ensure!(status == 503, "{status}: {said}");
    world.stack.postgres.start_again().await?;
    until("the same link serves", LONG, async || Ok(come_back(&world, &way).await?.0 == 200)).await?;
    connected.first_sync().await.map(drop)
}

#[tokio::test]
async fn a_person_who_does_not_grant_access_is_told_so_and_nothing_changes() -> Result<()> {
    let world = World::start().await?;
    let connected = by_app(&world, "hubspot", json!({ "refuses_consent": true })).await?;
    let way = consent(&world, &connected).await?;
    let (status, page) = come_back(&world, &way).await?;
    ensure!(status == 400 && page.contains("Access not granted"), "{status}: {page}");
    ensure!(connected.shown().await?["state"] == "pending");
    Ok(())
}

#[tokio::test]
async fn jobs_wait_for_access_that_was_revoked_and_go_on_when_it_is_granted_again() -> Result<()> {
    let world = World::start().await?;
    let connected = by_app(&world, "hubspot", json!({})).await?;
    grant(&world, &connected).await?;
    connected.first_sync().await?;
    connected.account.post("/tokens", &json!({ "revoke": "all" })).await?;
    connected.account.change(json!([{ "op": "update", "object": "contacts", "count": 20 }])).await?;
    let job = connected.begin_sync("incremental").await?;
    let shown = connected.wait_state("reauthorize").await?;
    ensure!(shown["state_reason"].as_str().is_some_and(|reason| reason.contains("refused")), "{shown:#}");
    let refused = connected.account.stat("refreshes_refused").await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(connected.account.stat("refreshes_refused").await? == refused, "nobody knocks at a closed door");
    grant(&world, &connected).await?;
    connected.wait_state("active").await?;
    // It may sleep for a while yet; a sync that begins now does the same.
    connected.becomes_a_copy(LONG).await?;
    let waiting = world.stack.client().get(&format!("/v1/jobs/{job}")).await?.expect(200)?;
    ensure!(waiting["state"] != "dead" && waiting["attempt"].as_u64() <= Some(1), "{waiting:#}");
    Ok(())
}

#[tokio::test]
async fn an_account_that_moves_is_followed() -> Result<()> {
    let world = World::start().await?;
    let connected = by_app(&world, "kommo", json!({})).await?;
    grant(&world, &connected).await?;
    connected.first_sync().await?;
    connected.account.post("/move", &json!({ "to": "acme2" })).await?;
    connected.account.post("/tokens", &json!("expire")).await?;
    connected.account.change(json!([{ "op": "update", "object": "contacts", "count": 5 }])).await?;
    connected.sync("incremental").await?;
    ensure!(connected.shown().await?["account"] == "acme2");
    connected.is_a_copy().await
}

#[tokio::test]
async fn salesforce_takes_a_key_instead_of_a_person() -> Result<()> {
    let world = World::start().await?;
    // Made for this test, and good for nothing else.
    let pem =
        |kind: &str, base64: &str| format!("-----BEGIN {kind} KEY-----\n{}\n-----END {kind} KEY-----\n", base64.trim());
    let private = pem("PRIVATE", include_str!("throwaway-key.base64"));
    let public = pem("PUBLIC", include_str!("throwaway-key.pub.base64"));
    let mut spec = super::account(100);
    spec["oauth"] = json!({ "client_id": "app", "jwt_public_key": public, "jwt_user": "integration@example.com" });
    let account = world.simulator.account("salesforce", "acme", &spec).await?;
    let auth = json!({ "type": "jwt_bearer", "client_id": "app", "username": "integration@example.com", "private_key": private });
    let connected = Connected::with(world.stack.client(), account, &auth).await?;
    connected.first_sync().await?;
    connected.account.post("/tokens", &json!("expire")).await?;
    connected.sync("full").await?;
    connected.is_a_copy().await
}

#[tokio::test]
async fn a_token_that_is_refused_is_told_and_another_one_takes_its_place() -> Result<()> {
    let world = World::start().await?;
    let account = world.account("pipedrive", 50).await?;
    let connected = Connected::by_token(world.stack.client(), account, "not-the-token").await?;
    let shown = connected.wait_state("reauthorize").await?;
    ensure!(shown["state_reason"].is_string(), "{shown:#}");
    let client = world.stack.client();
    let body = json!({ "auth": { "type": "token", "token": super::TOKEN } });
    let path = format!("/v1/connections/{}/credentials", connected.id);
    client.send(client.request(Method::PUT, &path).json(&body)).await?.expect(200)?;
    connected.first_sync().await?;
    until("the copy is there", LONG, async || Ok(connected.differences().await?.is_empty())).await
}
