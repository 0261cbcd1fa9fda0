//! Limits of queues and organisations: what is set is told, and what is wrong is named.

use anyhow::Result;
use millrace_harness::{Client, Reply, Stack};
use reqwest::Method;
use serde_json::{Value, json};

use super::description::{invalid, problem};

async fn put(client: &Client, path: &str, body: &Value) -> Result<Reply> {
    client.send(client.request(Method::PUT, path).json(body)).await
}

#[tokio::test]
async fn what_holds_for_an_organisation_is_set_replaced_and_told() -> Result<()> {
    let stack = Stack::builder().workers(0).start().await?;
    let client = stack.client_with_role("operator").await?;
    let path = format!("/v1/organisations/{}/limits", stack.org());
    let nothing = json!({ "org_id": stack.org(), "weight": null, "concurrency": null, "queues": [] });
    assert_eq!(client.get(&path).await?.expect(200)?, nothing);

    put(&client, &path, &json!({ "weight": 3, "concurrency": 10 })).await?.expect(200)?;
    let both = put(&client, &path, &json!({ "queue": "probe", "concurrency": 2 })).await?.expect(200)?;
    assert_eq!(both["queues"], json!([{ "queue": "probe", "weight": null, "concurrency": 2 }]));
    assert_eq!(client.get(&path).await?.expect(200)?, both);
    let replaced = put(&client, &path, &json!({ "weight": 5 })).await?.expect(200)?;
    assert_eq!((&replaced["weight"], &replaced["concurrency"]), (&json!(5), &json!(null)));
    put(&client, &path, &json!({ "queue": "probe" })).await?.expect(200)?;
    assert_eq!(put(&client, &path, &json!({})).await?.expect(200)?, nothing);
    stack.drain().await
}

#[tokio::test]
async fn limits_name_every_field_that_is_wrong() -> Result<()> {
    let stack = Stack::builder().workers(0).start().await?;
    let client = stack.client();
    let path = format!("/v1/organisations/{}/limits", stack.org());
    for (body, field) in [
        (json!({ "weight": 0 }), "weight"),
        (json!({ "weight": 1_001 }), "weight"),
        (json!({ "weight": 1.5 }), "weight"),
        (json!({ "concurrency": 0 }), "concurrency"),
        (json!({ "concurrency": 1_000_001 }), "concurrency"),
        (json!({ "queue": "mail" }), "queue"),
        (json!({ "queue": "" }), "queue"),
        (json!({ "wait": 1 }), "wait"),
    ] {
        invalid(&put(client, &path, &body).await?, field);
    }
    invalid(&client.get("/v1/organisations/nobody/limits").await?, "id");
    let nobody = format!("/v1/organisations/{}/limits", uuid::Uuid::now_v7());
    problem(&client.get(&nobody).await?, 404, "not_found");
    problem(&put(client, &nobody, &json!({ "weight": 2 })).await?, 404, "not_found");
    stack.drain().await
}
