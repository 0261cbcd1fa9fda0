//! Schedules as their owners see them.

use std::time::Duration;

use anyhow::{Context as _, Result};
use millrace_harness::{Client, Reply, Stack};
use reqwest::Method;
use serde_json::{Value, json};

use super::description::{invalid, problem};

const PATIENCE: Duration = Duration::from_secs(60);

fn body(changes: Value) -> Value {
    let mut body = json!({ "name": "Weir", "kind": "probe", "payload": { "sleep_ms": 5 }, "every": "15m" });
    if let (Some(body), Value::Object(changes)) = (body.as_object_mut(), changes) {
        body.extend(changes);
        body.retain(|_, value| !value.is_null());
    }
    body
}

async fn make(client: &Client, changes: Value) -> Result<Value> {
    client.post("/v1/schedules", &body(changes)).await?.expect(201)
}

fn at(schedule: &Value) -> Result<String> {
    Ok(format!("/v1/schedules/{}", schedule["id"].as_str().context("no id")?))
}

async fn patch(client: &Client, path: &str, body: &Value) -> Result<Reply> {
    client.send(client.request(Method::PATCH, path).json(body)).await
}

#[tokio::test]
async fn a_schedule_shows_what_was_written_and_when_it_ticks() -> Result<()> {
    let stack = Stack::builder().workers(0).start().await?;
    let client = stack.client();
    let cron = json!({ "every": null, "cron": "30 8 * * mon-fri", "time_zone": "Europe/Berlin", "priority": "low" });
    let made = make(client, cron).await?;
    let path = at(&made)?;
    assert_eq!(client.get(&path).await?.expect(200)?, made);
    assert_eq!(
        [&made["cron"], &made["time_zone"], &made["every"], &made["paused"], &made["unique"], &made["priority"]],
        [&json!("30 8 * * mon-fri"), &json!("Europe/Berlin"), &Value::Null, &json!(false), &json!(true), &json!("low")]
    );
    let upcoming = made["upcoming"].as_array().context("no upcoming")?;
    assert_eq!(upcoming.len(), 5);
    for time in upcoming {
        let time = time.as_str().context("no time")?;
        assert!(time.contains("T08:30:00+01:00") || time.contains("T08:30:00+02:00"), "{time}");
    }
    let next: chrono::DateTime<chrono::Utc> = made["next_run_at"].as_str().context("no time")?.parse()?;
    assert_eq!(upcoming[0].as_str().context("no time")?.parse::<chrono::DateTime<chrono::Utc>>()?, next);

    let paused = patch(client, &path, &json!({ "paused": true, "name": "Weir 2" })).await?.expect(200)?;
    assert_eq!((&paused["next_run_at"], &paused["upcoming"]), (&Value::Null, &json!([])));
    assert_eq!((&paused["name"], &paused["cron"]), (&json!("Weir 2"), &made["cron"]));
    let hourly = patch(client, &path, &json!({ "every": "60m", "paused": false })).await?.expect(200)?;
    assert_eq!((&hourly["every"], &hourly["cron"], &hourly["time_zone"]), (&json!("1h"), &Value::Null, &Value::Null));
    assert_eq!(client.delete(&path).await?.status, 204);
    problem(&client.get(&path).await?, 404, "not_found");
    problem(&client.delete(&path).await?, 404, "not_found");
    stack.drain().await
}

#[tokio::test]
async fn pages_of_schedules_neither_skip_nor_repeat_and_leave_payloads_out() -> Result<()> {
    let stack = Stack::builder().workers(0).env("MILLRACE_SCHEDULES_MAX", "7").start().await?;
    let client = stack.client();
    let mut wanted = Vec::new();
    for number in 0..7 {
        wanted.insert(0, make(client, json!({ "name": format!("Weir {number}") })).await?["id"].clone());
    }
    problem(&client.post("/v1/schedules", &body(json!({}))).await?, 409, "too_many_schedules");
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = client.get(&format!("/v1/schedules?limit=3{cursor}")).await?.expect(200)?;
        for item in page["items"].as_array().context("no items")? {
            assert!(item.get("payload").is_none(), "{item}");
            seen.push(item["id"].clone());
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, wanted);
    stack.drain().await
}

#[tokio::test]
async fn a_schedule_that_cannot_work_is_refused_by_its_field() -> Result<()> {
    let stack = Stack::builder().workers(0).start().await?;
    let client = stack.client();
    let cases = [
        (json!({ "name": "" }), "name"),
        (json!({ "kind": "no.such" }), "kind"),
        (json!({ "kind": "webhook.deliver", "payload": { "event_id": uuid::Uuid::now_v7() } }), "kind"),
        (json!({ "payload": { "sleep_ms": "soon" } }), "payload.sleep_ms"),
        (json!({ "payload": { "colour": 1 } }), "payload.colour"),
        (json!({ "kind": "asset.process", "payload": { "asset_id": uuid::Uuid::now_v7() } }), "payload.asset_id"),
        (json!({ "priority": "urgent" }), "priority"),
        (json!({ "every": null }), "every"),
        (json!({ "every": "soon" }), "every"),
        (json!({ "every": "9s" }), "every"),
        (json!({ "cron": "* * * * *" }), "cron"),
        (json!({ "every": null, "cron": "0 0 8 * * *" }), "cron"),
        (json!({ "every": null, "cron": "0 0 30 2 *" }), "cron"),
        (json!({ "every": null, "cron": "0 8 * * *", "time_zone": "CET/Berlin" }), "time_zone"),
        (json!({ "time_zone": "Europe/Berlin" }), "time_zone"),
        (json!({ "unique": "yes" }), "unique"),
    ];
    for (changes, field) in cases {
        invalid(&client.post("/v1/schedules", &body(changes)).await?, field);
    }
    assert_eq!(client.get("/v1/schedules").await?.expect(200)?["items"], json!([]));
    let path = at(&make(client, json!({})).await?)?;
    for (change, field) in [
        (json!({ "payload": { "colour": 1 } }), "payload.colour"),
        (json!({ "kind": "probe" }), "kind"),
        (json!({ "every": "1s" }), "every"),
        (json!({ "every": "1m", "cron": "* * * * *" }), "cron"),
        (json!({ "time_zone": "Europe/Berlin" }), "time_zone"),
        (json!({ "cron": "61 * * * *" }), "cron"),
        (json!({ "paused": "yes" }), "paused"),
    ] {
        invalid(&patch(client, &path, &change).await?, field);
    }
    stack.drain().await
}

#[tokio::test]
async fn a_schedule_can_be_run_out_of_turn_and_its_next_tick_stays() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let client = stack.client();
    let made = make(client, json!({ "payload": { "sleep_ms": 20, "echo": "out of turn" } })).await?;
    let path = at(&made)?;
    patch(client, &path, &json!({ "paused": true })).await?.expect(200)?;
    let reply = client.post_empty(&format!("{path}/run")).await?;
    let job = reply.expect(202)?;
    let id = job["id"].as_str().context("no id")?;
    assert_eq!(reply.header("location"), Some(format!("/v1/jobs/{id}").as_str()));
    let done = client.wait_job(id, PATIENCE).await?;
    assert_eq!((&done["state"], &done["result"]["echo"]), (&json!("succeeded"), &json!("out of turn")), "{done}");
    let shown = patch(client, &path, &json!({ "paused": false })).await?.expect(200)?;
    assert_eq!(
        (&shown["next_run_at"], &shown["last_job_id"], &shown["fired"]),
        (&made["next_run_at"], &job["id"], &json!(0))
    );
    stack.drain().await
}

#[tokio::test]
async fn a_schedule_belongs_to_its_organisation() -> Result<()> {
    let stack = Stack::builder().workers(0).start().await?;
    let (ours, theirs) = (stack.client(), stack.client_of_other_org().await?);
    let made = make(ours, json!({})).await?;
    let path = at(&made)?;
    for reply in [
        theirs.get(&path).await?,
        patch(&theirs, &path, &json!({ "paused": true })).await?,
        theirs.post_empty(&format!("{path}/run")).await?,
        theirs.delete(&path).await?,
    ] {
        problem(&reply, 404, "not_found");
    }
    assert_eq!(theirs.get("/v1/schedules").await?.expect(200)?["items"], json!([]));
    assert_eq!(ours.get(&path).await?.expect(200)?, made, "nothing has changed");
    let asset = ours.upload("ours.txt", "Words that are ours alone.").await?.expect(202)?;
    let steal = json!({ "kind": "asset.process", "payload": { "asset_id": asset["asset"]["id"] } });
    invalid(&theirs.post("/v1/schedules", &body(steal)).await?, "payload.asset_id");
    stack.drain().await
}
