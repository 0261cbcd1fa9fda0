//! Lists: pages neither skip nor repeat, filters hold, and states are what they say.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use millrace_harness::{Client, Stack};
use serde_json::{Value, json};

async fn all(client: &Client, path: &str) -> Result<Vec<Value>> {
    let mut items = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = client.get(&format!("{path}&limit=7{cursor}")).await?.expect(200)?;
        let found = page["items"].as_array().context("no items")?;
        assert!(found.len() <= 7);
        items.extend(found.iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(items),
        }
    }
}

#[tokio::test]
async fn pages_neither_skip_nor_repeat_while_jobs_are_added() -> Result<()> {
    let stack = Stack::builder().workers(0).start().await?;
    let client = stack.client();
    let jobs: Vec<Value> = (0..30).map(|_| json!({ "kind": "probe" })).collect();
    let taken = client.post("/v1/jobs/batch", &json!({ "jobs": jobs })).await?.expect(202)?;
    let wanted: HashSet<String> =
        taken["jobs"].as_array().context("no jobs")?.iter().map(|job| job["id"].to_string()).collect();

    let first = client.get("/v1/jobs?limit=10").await?.expect(200)?;
    client.submit("probe", &json!({})).await?;
    let rest = all(client, &format!("/v1/jobs?cursor={}", first["next_cursor"].as_str().context("no cursor")?)).await;
    // `cursor` twice is refused; the helper's own pages begin without one.
    assert!(rest.is_err());
    let mut seen: Vec<String> =
        first["items"].as_array().context("no items")?.iter().map(|job| job["id"].to_string()).collect();
    let mut cursor = first["next_cursor"].as_str().map(str::to_owned);
    while let Some(after) = cursor {
        let page = client.get(&format!("/v1/jobs?limit=7&cursor={after}")).await?.expect(200)?;
        seen.extend(page["items"].as_array().context("no items")?.iter().map(|job| job["id"].to_string()));
        cursor = page["next_cursor"].as_str().map(str::to_owned);
    }
    assert_eq!(seen.len(), 30);
    assert_eq!(seen.iter().cloned().collect::<HashSet<_>>(), wanted);
    assert!(seen.is_sorted_by(|newer, older| newer > older), "newest first");
    stack.drain().await
}

#[tokio::test]
async fn filters_hold_for_every_state() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let client = stack.client();
    let id = |job: &Value| job["id"].as_str().map(str::to_owned).context("no id");
    let succeeded = id(&client.submit("probe", &json!({})).await?)?;
    let dead = id(&client.submit("probe", &json!({ "outcome": "fail" })).await?)?;
    let delayed =
        id(&client.post("/v1/jobs", &json!({ "kind": "probe", "delay_ms": 3_600_000 })).await?.expect(202)?)?;
    let cancelled =
        id(&client.post("/v1/jobs", &json!({ "kind": "probe", "delay_ms": 3_600_000 })).await?.expect(202)?)?;
    client.post_empty(&format!("/v1/jobs/{cancelled}/cancel")).await?.expect(200)?;
    client.wait_job(&succeeded, Duration::from_secs(30)).await?;
    client.wait_job(&dead, Duration::from_secs(30)).await?;
    let running = id(&client.submit("probe", &json!({ "sleep_ms": 30_000 })).await?)?;
    let started = std::time::Instant::now();
    while client.get(&format!("/v1/jobs/{running}")).await?.expect(200)?["state"] != "running" {
        assert!(started.elapsed() < Duration::from_secs(20), "the job does not start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    client.post_empty("/v1/queues/probe/pause").await?.expect(200)?;
    let queued = id(&client.submit("probe", &json!({})).await?)?;

    for (state, wanted) in [
        ("succeeded", &succeeded),
        ("dead", &dead),
        ("delayed", &delayed),
        ("cancelled", &cancelled),
        ("running", &running),
        ("queued", &queued),
    ] {
        let found = all(client, &format!("/v1/jobs?state={state}&queue=probe&kind=probe")).await?;
        assert_eq!(found.len(), 1, "{state}: {found:?}");
        assert_eq!((&found[0]["id"], &found[0]["state"]), (&json!(wanted), &json!(state)));
    }
    assert_eq!(all(client, "/v1/jobs?queue=asset").await?.len(), 0);
    assert_eq!(all(client, "/v1/jobs?kind=asset.process").await?.len(), 0);
    assert_eq!(all(client, "/v1/jobs?since=2999-01-01T00:00:00Z").await?.len(), 0);
    assert_eq!(all(client, "/v1/jobs?since=2020-01-01T00:00:00Z").await?.len(), 6);

    client.post_empty(&format!("/v1/jobs/{running}/cancel")).await?.expect(200)?;
    stack.drain().await
}

#[tokio::test]
async fn a_long_poll_answers_when_the_job_ends_and_when_the_time_is_up() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let client = stack.client();
    let job = client.submit("probe", &json!({ "sleep_ms": 700 })).await?;
    let begun = std::time::Instant::now();
    let path = format!("/v1/jobs/{}", job["id"].as_str().context("no id")?);
    let done = client.get(&format!("{path}?wait=30s")).await?.expect(200)?;
    assert_eq!(done["state"], "succeeded");
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(done["attempts"][0]["outcome"], "succeeded");

    let waiting = client.post("/v1/jobs", &json!({ "kind": "probe", "delay_ms": 3_600_000 })).await?.expect(202)?;
    let begun = std::time::Instant::now();
    let path = format!("/v1/jobs/{}?wait=300ms", waiting["id"].as_str().context("no id")?);
    let still = client.get(&path).await?.expect(200)?;
    assert_eq!(still["state"], "delayed");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    stack.drain().await
}
