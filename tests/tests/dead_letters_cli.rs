//! Dead letters through the command line, with workers that run what it replays.

use anyhow::{Context as _, Result};
use millrace_harness::Stack;
use millrace_tests::{Line, PATIENCE, audit, probe, submit_all, until};
use serde_json::{Value, json};

async fn dead(line: &Line, body: Value, count: usize) -> Result<Vec<String>> {
    let before = line.ledger.count("dead").await?;
    let ids = submit_all(line.client(), &vec![body; count]).await?;
    line.ledger.wait_count("dead", before + i64::try_from(count)?, PATIENCE).await?;
    until("they are forgotten", PATIENCE, async || Ok(line.redis.known().await? == 0)).await?;
    Ok(ids)
}

async fn listed(line: &Line) -> Result<Vec<Value>> {
    let lines = line.stack.cli_stdout(&["dlq", "list", "--json"]).await?;
    lines.lines().map(|line| serde_json::from_str(line).context("no JSON")).collect()
}

#[tokio::test]
async fn operator_finds_replays_and_discards_dead_letters() -> Result<()> {
    let line = Line::start(Stack::builder()).await?;
    let ids = dead(&line, probe(&json!({ "outcome": "fail", "effect": true })), 3).await?;
    let list = listed(&line).await?;
    assert_eq!(list.len(), 3);
    assert!(list.iter().all(|letter| ids.iter().any(|id| letter["id"] == *id)), "{list:?}");
    let shown: Value = serde_json::from_str(&line.stack.cli_stdout(&["dlq", "show", &ids[0], "--json"]).await?)?;
    assert_eq!((&shown["id"], &shown["payload"]["outcome"]), (&json!(ids[0]), &json!("fail")));
    assert_eq!(shown["attempts"][0]["outcome"], "failed");

    // As it was: it fails again, in its second attempt.
    line.stack.cli_stdout(&["dlq", "replay", &ids[0]]).await?;
    line.ledger.wait_count("dead", 3, PATIENCE).await?;
    let job = line.job(&ids[0]).await?;
    assert_eq!((&job["state"], job["attempts"].as_array().map(Vec::len)), (&json!("dead"), Some(2)));
    // With another payload: it succeeds.
    line.stack.cli_stdout(&["dlq", "replay", &ids[0], "--payload", r#"{"effect": true}"#]).await?;
    let job = line.wait_end(&ids[0]).await?;
    assert_eq!((&job["state"], &job["attempt"]), (&json!("succeeded"), &json!(3)));

    line.stack.cli_stdout(&["dlq", "discard", &ids[1], "--yes"]).await?;
    assert_eq!(listed(&line).await?.len(), 1);
    assert_eq!(line.job(&ids[1]).await?["state"], "dead", "the ledger keeps it");
    audit(&line, &ids, PATIENCE).await?;
    line.stack.drain().await
}

#[tokio::test]
async fn bulk_replay_asks_first_and_keeps_to_its_filter_and_pace() -> Result<()> {
    let line = Line::start(Stack::builder()).await?;
    let once = json!({ "kind": "probe", "payload": { "fail_attempts": 1, "effect": true }, "max_attempts": 1 });
    let ids = dead(&line, once, 20).await?;
    let others = dead(&line, probe(&json!({ "outcome": "fail" })), 2).await?;
    let filter = ["dlq", "replay", "--queue", "probe", "--error", "attempt 1 of 1"];

    let refused = line.stack.cli(&filter).await?;
    assert_eq!(refused.status.code(), Some(4), "nobody is there to be asked");
    let counted = line.stack.cli_stdout(&[&filter[..], &["--dry-run"]].concat()).await?;
    assert!(counted.contains("20"), "{counted}");
    assert_eq!(line.ledger.count("dead").await?, 22, "neither changes anything");

    line.stack.cli_stdout(&[&filter[..], &["--rate", "20", "--yes"]].concat()).await?;
    for id in &ids {
        let job = line.wait_end(id).await?;
        assert_eq!((&job["state"], &job["attempt"]), (&json!("succeeded"), &json!(2)));
    }
    let spread: f64 = sqlx::query_scalar(
        "SELECT EXTRACT(EPOCH FROM max(started_at) - min(started_at))::float8 FROM jobs WHERE state = 'succeeded'",
    )
    .fetch_one(line.ledger.pool())
    .await?;
    assert!(spread > 0.85, "twenty jobs at twenty a second begin over 0.95 s, not {spread} s");
    assert_eq!(listed(&line).await?.len(), 2);
    audit(&line, &[ids, others].concat(), PATIENCE).await?;
    line.stack.drain().await
}
