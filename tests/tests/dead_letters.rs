//! Dead letters through the API: looking, replaying, putting away.

use std::time::Duration;

use anyhow::{Context as _, Result};
use chrono::{DateTime, Utc};
use millrace_harness::Stack;
use millrace_tests::{Line, PATIENCE, audit, ids_of, probe, submit, submit_all, until};
use serde_json::{Value, json};

async fn dead(line: &Line, body: &Value) -> Result<String> {
    let id = submit(line.client(), body).await?;
    assert_eq!(line.wait_end(&id).await?["state"], "dead");
    // Until Redis has let go of it as well.
    until("it is forgotten", PATIENCE, async || Ok(line.redis.known().await? == 0)).await?;
    Ok(id)
}

async fn listed(line: &Line, query: &str) -> Result<Vec<String>> {
    let list = line.client().get(&format!("/v1/dead-letters{query}")).await?.expect(200)?;
    list["items"]
        .as_array()
        .context("no items")?
        .iter()
        .map(|item| item["job_id"].as_str().map(str::to_owned).context("no id"))
        .collect()
}

fn outcomes(job: &Value) -> Vec<(i64, &str)> {
    let rows = job["attempts"].as_array().map(Vec::as_slice).unwrap_or_default();
    rows.iter().map(|row| (row["attempt"].as_i64().unwrap_or(0), row["outcome"].as_str().unwrap_or(""))).collect()
}

#[tokio::test]
async fn dead_letter_shows_why_with_every_attempt_and_its_payload() -> Result<()> {
    let line = Line::start(Stack::builder()).await?;
    let failed = dead(&line, &probe(&json!({ "outcome": "fail" }))).await?;
    let body = json!({ "kind": "probe", "payload": { "outcome": "panic" }, "max_attempts": 2 });
    let panicked = dead(&line, &body).await?;
    assert_eq!(listed(&line, "").await?, [panicked.clone(), failed.clone()], "the newest first");
    assert_eq!(listed(&line, "?error=panicked%20as").await?, std::slice::from_ref(&panicked));
    assert_eq!(listed(&line, "?queue=probe&kind=probe&error=probe").await?, std::slice::from_ref(&failed), "by class");
    assert!(listed(&line, "?queue=asset").await?.is_empty());
    let page = line.client().get("/v1/dead-letters?limit=1").await?.expect(200)?;
    let cursor = page["next_cursor"].as_str().context("a second page")?;
    assert_eq!(listed(&line, &format!("?limit=1&cursor={cursor}")).await?, [failed]);
    let letter = line.client().get(&format!("/v1/dead-letters/{panicked}")).await?.expect(200)?;
    assert_eq!(letter["payload"]["outcome"], "panic");
    assert_eq!(outcomes(&letter), [(1, "panicked"), (2, "panicked")]);
    line.stack.drain().await
}

#[tokio::test]
async fn replayed_job_keeps_its_id_and_history_and_gets_a_fresh_budget() -> Result<()> {
    let line = Line::start(Stack::builder()).await?;
    let body = json!({ "kind": "probe", "payload": { "fail_attempts": 3, "effect": true }, "max_attempts": 2 });
    let id = dead(&line, &body).await?;
    let path = format!("/v1/dead-letters/{id}/replay");
    let replayed = line.client().post_empty(&path).await?.expect(202)?;
    assert_eq!((&replayed["id"], &replayed["state"]), (&json!(id), &json!("queued")));
    let job = line.wait_end(&id).await?;
    assert_eq!(job["state"], "succeeded");
    assert_eq!(outcomes(&job), [(1, "failed"), (2, "failed"), (3, "failed"), (4, "succeeded")]);
    assert!(listed(&line, "").await?.is_empty());
    line.client().post_empty(&path).await?.expect(404)?;
    audit(&line, &[id], PATIENCE).await?;
    line.stack.drain().await
}

#[tokio::test]
async fn replay_with_another_payload_runs_that_one() -> Result<()> {
    let line = Line::start(Stack::builder()).await?;
    let id = dead(&line, &probe(&json!({ "outcome": "fail", "effect": true }))).await?;
    let path = format!("/v1/dead-letters/{id}/replay");
    let wrong = line.client().post(&path, &json!({ "payload": { "sleep_ms": -1 } })).await?.expect(422)?;
    assert_eq!(wrong["errors"][0]["field"], "payload.sleep_ms");
    assert_eq!(listed(&line, "").await?, std::slice::from_ref(&id), "a refused replay changes nothing");
    line.client().post(&path, &json!({ "payload": { "effect": true, "bytes": 2 } })).await?.expect(202)?;
    let job = line.wait_end(&id).await?;
    assert_eq!((&job["state"], &job["result"]["data"]), (&json!("succeeded"), &json!("xx")));
    assert_eq!(outcomes(&job), [(1, "failed"), (2, "succeeded")]);
    audit(&line, &[id], PATIENCE).await?;
    line.stack.drain().await
}

#[tokio::test]
async fn replay_right_after_the_end_is_not_held_up() -> Result<()> {
    let line = Line::start(Stack::builder()).await?;
    let mut ids = Vec::new();
    for _ in 0..20 {
        let id =
            submit(line.client(), &json!({ "kind": "probe", "payload": { "fail_attempts": 1 }, "max_attempts": 1 }))
                .await?;
        // Nobody waits for Redis here: the ledger says that it is dead, so it can be replayed.
        until("it is dead", PATIENCE, async || Ok(!listed(&line, "").await?.is_empty())).await?;
        line.client().post_empty(&format!("/v1/dead-letters/{id}/replay")).await?.expect(202)?;
        let job = line.client().wait_job(&id, Duration::from_secs(3)).await?;
        assert_eq!(job["state"], "succeeded");
        ids.push(id);
    }
    audit(&line, &ids, PATIENCE).await?;
    line.stack.drain().await
}

#[tokio::test]
async fn discarded_dead_letter_leaves_the_list_and_not_the_ledger() -> Result<()> {
    let line = Line::start(Stack::builder()).await?;
    let id = dead(&line, &probe(&json!({ "outcome": "fail" }))).await?;
    let path = format!("/v1/dead-letters/{id}/discard");
    assert_eq!(line.client().post_empty(&path).await?.status, 204);
    assert!(listed(&line, "").await?.is_empty());
    line.client().get(&format!("/v1/dead-letters/{id}")).await?.expect(404)?;
    line.client().post_empty(&path).await?.expect(404)?;
    line.client().post_empty(&format!("/v1/dead-letters/{id}/replay")).await?.expect(404)?;
    let job = line.job(&id).await?;
    assert_eq!((&job["state"], outcomes(&job)), (&json!("dead"), vec![(1, "failed")]));
    line.stack.drain().await
}

#[tokio::test]
async fn bulk_replay_counts_first_takes_what_matches_and_keeps_its_pace() -> Result<()> {
    let line = Line::start(Stack::builder()).await?;
    let failing = json!({ "kind": "probe", "payload": { "fail_attempts": 1, "effect": true }, "max_attempts": 1 });
    let ids = submit_all(line.client(), &vec![failing; 30]).await?;
    let others = submit_all(line.client(), &vec![probe(&json!({ "outcome": "fail" })); 5]).await?;
    let theirs = line.stack.client_of_other_org().await?;
    let their_id = submit(&theirs, &probe(&json!({ "outcome": "fail" }))).await?;
    line.ledger.wait_count("dead", 36, PATIENCE).await?;
    until("all are forgotten", PATIENCE, async || Ok(line.redis.known().await? == 0)).await?;

    let filter = json!({ "queue": "probe", "error": "attempt 1 of 1" });
    let replay = async |body: Value| line.client().post("/v1/dead-letters/replay", &body).await?.expect(200);
    let counted = replay(json!({ "filter": filter, "dry_run": true })).await?;
    assert_eq!((&counted["matched"], &counted["done"]), (&json!(30), &json!(0)));
    assert_eq!(line.ledger.count("dead").await?, 36, "a dry run changes nothing");

    let done = replay(json!({ "filter": filter, "rate_per_s": 20 })).await?;
    assert_eq!(done, json!({ "matched": 30, "done": 30, "skipped": 0, "more": false }));
    let mut started: Vec<DateTime<Utc>> = Vec::new();
    for id in &ids {
        let job = line.wait_end(id).await?;
        assert_eq!((&job["state"], &job["attempt"]), (&json!("succeeded"), &json!(2)));
        started.push(job["started_at"].as_str().context("no begin")?.parse()?);
    }
    let span = started.iter().max().zip(started.iter().min()).map(|(last, first)| *last - *first);
    let span = span.context("thirty jobs")?.num_milliseconds();
    assert!(span >= 1_300, "thirty jobs at twenty a second begin over 1.45 s, not {span} ms");
    assert_eq!(listed(&line, "").await?.len(), 5);
    assert_eq!(theirs.get(&format!("/v1/dead-letters/{their_id}")).await?.status, 200, "another organisation's stays");

    let discarded = line.client().post("/v1/dead-letters/discard", &json!({ "filter": {} })).await?.expect(200)?;
    assert_eq!(discarded["done"], 5);
    assert!(listed(&line, "").await?.is_empty());
    let audit = audit(&line, &[ids, others].concat(), PATIENCE).await?;
    assert_eq!((audit.states["succeeded"], audit.states["dead"]), (30, 6));
    assert!(ids_of(&line.client().get("/v1/jobs?state=dead").await?.expect(200)?["items"])?.len() == 5);
    line.stack.drain().await
}
