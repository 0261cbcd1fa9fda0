//! Webhooks of CRMs: they tell which records to read again, and nothing that they say is believed.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use millrace_harness::Client;
use millrace_tests::crm::Connected;
use serde_json::{Value, json};

use super::World;

const LONG: Duration = Duration::from_secs(120);
const PUBLIC: &str = "https://millrace.example.org";
const SECRET: &str = "planted-secret-of-the-app";

/// Makes a source for a connection, which tells its scheme; gives the path that deliveries go to.
async fn source(world: &World, connected: &Connected, scheme: &str, secret: &str) -> Result<String> {
    let body = json!({ "name": "Account", "connection_id": connected.id, "secret": secret });
    let made = world.stack.client().post("/v1/webhook-sources", &body).await?.expect(201)?;
    ensure!(made["connection_id"] == json!(connected.id) && made["kind"] == "crm.sync_record", "{made:#}");
    ensure!(made["scheme"] == json!({ "type": scheme }), "{made:#}");
    let url = made["url"].as_str().context("no URL")?;
    Ok(url.strip_prefix(PUBLIC).context("not public")?.to_owned())
}

/// Has the account deliver, out of order, twice and with losses.
async fn deliver_badly(world: &World, connected: &Connected, path: &str, scheme: Value) -> Result<()> {
    let receiver = json!({
        "url": format!("{}{path}", world.stack.client().base()), "public_url": format!("{PUBLIC}{path}"),
        "scheme": scheme, "shuffled": true, "duplicates": 0.3, "time_scale": 0.002,
    });
    connected.account.post("/webhooks", &receiver).await.map(drop)
}

async fn keep_the_copy_current(world: &World, connected: &Connected, changes: Value) -> Result<()> {
    for _ in 0..3 {
        connected.account.change(changes.clone()).await?;
    }
    // No sync: webhooks alone.
    connected.becomes_a_copy(LONG).await?;
    let dead = world.stack.client().get("/v1/dead-letters").await?.expect(200)?;
    ensure!(dead["items"] == json!([]), "{dead:#}");
    Ok(())
}

fn changes() -> Value {
    json!([
        { "op": "update", "object": "contacts", "count": 40 },
        { "op": "update", "object": "deals", "count": 20 },
        { "op": "create", "object": "contacts", "count": 5 },
        { "op": "delete", "object": "contacts", "count": 4 },
        { "op": "delete", "object": "deals", "count": 2 },
        { "op": "update", "object": "companies", "count": 5 },
    ])
}

#[tokio::test]
async fn hubspots_batches_keep_the_copy_current() -> Result<()> {
    let world = World::start().await?;
    let connected = world.connected("hubspot", 200).await?;
    connected.first_sync().await?;
    let path = source(&world, &connected, "hubspot_v3", SECRET).await?;
    deliver_badly(&world, &connected, &path, json!({ "kind": "hubspot_v3", "secret": SECRET })).await?;
    keep_the_copy_current(&world, &connected, changes()).await
}

#[tokio::test]
async fn kommos_forms_keep_the_copy_current_though_nothing_proves_them() -> Result<()> {
    let world = World::start().await?;
    let connected = world.connected("kommo", 200).await?;
    connected.first_sync().await?;
    let path = source(&world, &connected, "secret_url", SECRET).await?;
    deliver_badly(&world, &connected, &format!("{path}/{SECRET}"), json!({ "kind": "none" })).await?;
    keep_the_copy_current(&world, &connected, changes()).await
}

#[tokio::test]
async fn pipedrives_events_keep_the_copy_current() -> Result<()> {
    let world = World::start().await?;
    let connected = world.connected("pipedrive", 200).await?;
    connected.first_sync().await?;
    let path = source(&world, &connected, "basic", &format!("pipedrive:{SECRET}")).await?;
    let scheme = json!({ "kind": "basic", "user": "pipedrive", "password": SECRET });
    deliver_badly(&world, &connected, &path, scheme).await?;
    keep_the_copy_current(&world, &connected, changes()).await
}

#[tokio::test]
async fn salesforces_messages_keep_the_copy_current_and_hear_that_they_were_taken_in() -> Result<()> {
    let world = World::start().await?;
    let connected = world.connected("salesforce", 40).await?;
    connected.first_sync().await?;
    let path = source(&world, &connected, "secret_url", SECRET).await?;
    let account = connected.shown().await?["account_id"].as_str().context("no account")?.to_owned();
    let changed = connected.account.change(json!([{ "op": "update", "object": "contacts", "count": 7 }])).await?;
    let notifications: String = changed
        .iter()
        .filter_map(|row| row["id"].as_str())
        .map(|id| format!(r#"<Notification><Id>04l{id}</Id><sObject xsi:type="sf:Contact"><sf:Id>{id}</sf:Id></sObject></Notification>"#))
        .collect();
    let message = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"
            xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>
            <notifications xmlns="http://soap.sforce.com/2005/09/outbound" xmlns:sf="urn:sobject.enterprise.soap.sforce.com">
            <OrganizationId>{account}</OrganizationId>{notifications}</notifications></soapenv:Body></soapenv:Envelope>"#
    );
    let sender = Client::anonymous(world.stack.client().base())?;
    let deliver = async |secret: &str| {
        let request = sender.request(reqwest::Method::POST, &format!("{path}/{secret}"));
        sender.send(request.header("content-type", "text/xml; charset=UTF-8").body(message.clone())).await
    };
    let reply = deliver("another-secret-of-the-app").await?;
    ensure!(reply.status == 401 && !reply.text().contains("Ack"), "{}", reply.text());
    for _ in 0..2 {
        let reply = deliver(SECRET).await?;
        ensure!(reply.status == 200 && reply.text().contains("<Ack>true</Ack>"), "{}: {}", reply.status, reply.text());
        ensure!(reply.headers["content-type"] == "text/xml; charset=utf-8", "{:?}", reply.headers);
    }
    connected.becomes_a_copy(LONG).await
}

#[tokio::test]
async fn what_a_delivery_says_is_never_taken_for_data() -> Result<()> {
    let world = World::start().await?;
    let connected = world.connected("kommo", 40).await?;
    connected.first_sync().await?;
    let path = source(&world, &connected, "secret_url", SECRET).await?;
    let contact = connected.copies("contacts").await?.into_iter().next().context("no contact")?;
    let id = contact["external_id"].as_str().context("no id")?;
    let account = connected.shown().await?["account_id"].as_str().context("no account")?.to_owned();
    let sender = Client::anonymous(world.stack.client().base())?;
    let deliver = async |body: String| -> Result<()> {
        let request = sender.request(reqwest::Method::POST, &format!("{path}/{SECRET}")).body(body);
        let reply = sender.send(request.header("content-type", "application/x-www-form-urlencoded")).await?;
        ensure!(reply.status == 200, "{}", reply.status);
        Ok(())
    };
    // A forged name, a deletion that did not happen, and an event of somebody else's account.
    deliver(format!("contacts[update][0][id]={id}&contacts[update][0][name]=Forged&account[id]={account}")).await?;
    deliver(format!("contacts[delete][0][id]={id}&account[id]={account}")).await?;
    connected.account.delete("/stats").await?;
    deliver(format!("contacts[update][0][id]={id}&account[id]=1")).await?;
    let client = world.stack.client();
    millrace_tests::until("all deliveries are dealt with", LONG, async || {
        let jobs = client.get("/v1/jobs?kind=webhook.deliver&limit=200").await?.expect(200)?;
        let all = jobs["items"].as_array().context("no items")?;
        Ok(all.len() == 3 && all.iter().all(|job| job["state"] == "succeeded"))
    })
    .await?;
    let jobs = client.get("/v1/jobs?kind=webhook.deliver&limit=200").await?.expect(200)?;
    let other = |job: &&Value| job["result"]["outcome"] == "other_account";
    ensure!(jobs["items"].as_array().into_iter().flatten().filter(|job| other(job)).count() == 1, "{jobs:#}");
    connected.becomes_a_copy(LONG).await
}

#[tokio::test]
async fn events_of_one_record_are_one_read() -> Result<()> {
    let world = World::start_with(|builder| builder.worker_env("MILLRACE_QUEUES", "crm=1")).await?;
    let connected = world.connected("hubspot", 40).await?;
    connected.first_sync().await?;
    let path = source(&world, &connected, "hubspot_v3", SECRET).await?;
    let receiver = json!({
        "url": format!("{}{path}", world.stack.client().base()), "public_url": format!("{PUBLIC}{path}"),
        "scheme": { "kind": "hubspot_v3", "secret": SECRET }, "gather_ms": 300,
    });
    connected.account.post("/webhooks", &receiver).await?;
    let contact = connected.copies("contacts").await?.into_iter().next().context("no contact")?;
    let update = json!({ "op": "update", "object": "contacts", "ids": [contact["external_id"]] });
    connected.account.change(json!(vec![update; 90])).await?;
    connected.becomes_a_copy(LONG).await?;
    let jobs = world.stack.client().get("/v1/jobs?kind=crm.sync_record&limit=200").await?.expect(200)?;
    let reads = jobs["items"].as_array().context("no items")?.len();
    ensure!(reads <= 4, "ninety changes of one record took {reads} reads");
    Ok(())
}
