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

#[tokio::test]
async fn limits_of_a_queue_are_set_replaced_and_told() -> Result<()> {
    let stack = Stack::builder().workers(0).start().await?;
    let client = stack.client_with_role("operator").await?;
    let path = "/v1/queues/probe/limits";
    let limits = json!({
        "concurrency": 8, "org_concurrency": 2,
        "rate": { "count": 100, "period_ms": 1_000 }, "org_rate": { "count": 600, "period_ms": 60_000 }
    });
    let set = put(&client, path, &limits).await?.expect(200)?;
    assert_eq!(set, json!({ "queue": "probe", "paused": false, "limits": limits }));
    let queues = client.get("/v1/queues").await?.expect(200)?;
    let queues = queues["items"].as_array().expect("a list");
    let told = queues.iter().find(|queue| queue["queue"] == "probe").expect("the queue");
    assert_eq!(told["limits"], limits);
    let lifted = put(&client, path, &json!({ "concurrency": 8 })).await?.expect(200)?;
    assert_eq!((&lifted["limits"]["rate"], &lifted["limits"]["concurrency"]), (&json!(null), &json!(8)));
    for (body, field) in [
        (json!({ "concurrency": 0 }), "concurrency"),
        (json!({ "org_concurrency": 1_000_001 }), "org_concurrency"),
        (json!({ "rate": { "count": 0, "period_ms": 1_000 } }), "rate.count"),
        (json!({ "rate": { "count": 1, "period_ms": 0 } }), "rate.period_ms"),
        (json!({ "org_rate": { "count": 1, "period_ms": 86_400_001 } }), "org_rate.period_ms"),
        (json!({ "org_rate": { "count": 1 } }), "org_rate.period_ms"),
        (json!({ "org_rate": "10/1s" }), "org_rate"),
    ] {
        invalid(&put(&client, path, &body).await?, field);
    }
    stack.drain().await
}
