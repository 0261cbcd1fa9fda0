//! The list of webhook sources, and what tells how they are verified.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::description::invalid;
use super::webhooks::builder;

#[tokio::test]
async fn listed_sources_show_how_many_secrets_each_of_them_has() -> Result<()> {
    let stack = builder().workers(0).start().await?;
    let client = stack.client();
    let mut made = Vec::new();
    for rotations in [0, 2, 1] {
        let body = json!({ "name": "Weir", "scheme": { "type": "github" }, "kind": "probe" });
        let source = client.post("/v1/webhook-sources", &body).await?.expect(201)?;
        let id = source["id"].as_str().context("no id")?.to_owned();
        for _ in 0..rotations {
            client.post(&format!("/v1/webhook-sources/{id}/rotate"), &json!({})).await?.expect(200)?;
        }
        made.push(id);
    }
    // One whose secrets were ended at once but for the newest.
    let at = format!("/v1/webhook-sources/{}/rotate", made[1]);
    client.post(&at, &json!({ "overlap_seconds": 0 })).await?.expect(200)?;
    let (mut path, mut seen) = ("/v1/webhook-sources?limit=2".to_owned(), Vec::new());
    loop {
        let page = client.get(&path).await?.expect(200)?;
        seen.extend(page["items"].as_array().context("no items")?.clone());
        let Some(next) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/webhook-sources?limit=2&cursor={next}");
    }
    let told: Vec<(&Value, Option<usize>)> =
        seen.iter().map(|source| (&source["id"], source["secrets"].as_array().map(Vec::len))).collect();
    let expected = [(&json!(made[2]), Some(2)), (&json!(made[1]), Some(1)), (&json!(made[0]), Some(1))];
    assert_eq!(told, expected, "the newest first, each with its own");
    for source in &seen {
        let alone = client.get(&format!("/v1/webhook-sources/{}", source["id"].as_str().context("no id")?)).await?;
        assert_eq!(alone.expect(200)?, *source, "as it is shown alone");
        assert!(source["secret"].is_null(), "no secret is shown");
    }
    stack.drain().await
}

#[tokio::test]
async fn a_crm_tells_the_scheme_of_its_sources() -> Result<()> {
    let stack = builder().workers(0).start().await?;
    let client = stack.client();
    let connection = json!({
        "name": "Sales", "provider": "pipedrive", "account": "weir", "auth": { "type": "token", "token": "long enough" },
    });
    let connection = client.post("/v1/connections", &connection).await?.expect(201)?["id"].clone();
    for (body, scheme) in [
        (json!({ "provider": "hubspot", "kind": "probe" }), "hubspot_v3"),
        (json!({ "provider": "kommo", "kind": "probe" }), "secret_url"),
        (json!({ "connection_id": connection }), "basic"),
        (json!({ "connection_id": connection, "provider": "pipedrive" }), "basic"),
        (json!({ "connection_id": connection, "scheme": { "type": "secret_url" } }), "secret_url"),
    ] {
        let made = client.post("/v1/webhook-sources", &named(body)).await?.expect(201)?;
        assert_eq!(made["scheme"], json!({ "type": scheme }));
        assert!(made["secret"].as_str().is_some(), "one was made that the scheme can work with");
    }
    for (body, field) in [
        (json!({ "kind": "probe" }), "scheme"),
        (json!({ "kind": "probe", "provider": "hubspot", "scheme": { "type": "hubspot_v3" } }), "provider"),
        (json!({ "kind": "probe", "provider": "zoho" }), "provider"),
        (json!({ "connection_id": connection, "provider": "kommo" }), "provider"),
        (json!({ "connection_id": uuid::Uuid::now_v7() }), "connection_id"),
    ] {
        invalid(&client.post("/v1/webhook-sources", &named(body)).await?, field);
    }
    stack.drain().await
}

fn named(mut body: Value) -> Value {
    body["name"] = json!("Account");
    body
}
