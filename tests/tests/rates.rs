//! Rates: what handlers ask for themselves, and what holds for a kind.

use std::time::Duration;

use anyhow::Result;
use millrace_harness::Stack;
use millrace_tests::{Line, PATIENCE, audit, effect_probe, submit, submit_all};
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(90);

/// How long it was, in milliseconds, from the acceptance of an organisation's first job to its last effect, and how often its jobs were put off as
/// snoozes. The first effect tells nothing: where its commit waits for the disk, what the rate let begin on time seems to have come faster.
async fn spread_and_snoozes(line: &Line, org: &str) -> Result<(f64, i64)> {
    let spread = "SELECT (extract(epoch FROM max(created_at) - (SELECT min(created_at) FROM jobs WHERE org_id = $1::uuid)) * 1000)::float8 \
                  FROM probe_effects WHERE org_id = $1::uuid";
    let snoozes = "SELECT coalesce(sum(snoozes), 0)::bigint FROM jobs WHERE org_id = $1::uuid";
    Ok((
        sqlx::query_scalar(spread).bind(org).fetch_one(line.ledger.pool()).await?,
        sqlx::query_scalar(snoozes).bind(org).fetch_one(line.ledger.pool()).await?,
    ))
}

fn limited(key: &str, of_all: bool) -> Value {
    let limit = json!({ "key": key, "count": 10, "period_ms": 1_000, "of_all": of_all });
    json!({ "kind": "probe", "payload": { "limit": limit, "effect": true } })
}

#[tokio::test]
async fn handlers_keep_a_rate_over_two_workers_and_each_job_waits_about_once() -> Result<()> {
    let line = Line::start(Stack::builder().workers(2).worker_env("MILLRACE_QUEUES", "probe=16")).await?;
    let mut ids = submit_all(line.client(), &vec![limited("crm", false); 35]).await?;
    let other = line.stack.client_of_other_org().await?;
    for _ in 0..5 {
        let id = submit(&other, &limited("crm", false)).await?;
        other.wait_job(&id, PATIENCE).await?;
        ids.push(id);
    }
    let audit = audit(&line, &ids, LONG).await?;
    audit.all_succeeded_at_once()?;
    let (spread_ms, snoozes) = spread_and_snoozes(&line, line.stack.org()).await?;
    // Ten at once, and a tenth of a second for each of the others.
    assert!(spread_ms >= 2_300.0, "35 in {spread_ms} ms");
    assert!((25..=70).contains(&snoozes), "{snoozes} for 25 that had to wait");
    let others: i64 = sqlx::query_scalar("SELECT sum(snoozes) FROM jobs WHERE org_id <> $1::uuid")
        .bind(line.stack.org())
        .fetch_one(line.ledger.pool())
        .await?;
    assert_eq!(others, 0, "the key is the organisation's own");
    line.stack.drain().await
}

#[tokio::test]
async fn rate_of_all_organisations_is_kept_together() -> Result<()> {
    let line = Line::start(Stack::builder().worker_env("MILLRACE_QUEUES", "probe=16")).await?;
    let other = line.stack.client_of_other_org().await?;
    let mut ids = submit_all(line.client(), &vec![limited("llm", true); 10]).await?;
    ids.extend(submit_all(&other, &vec![limited("llm", true); 10]).await?);
    audit(&line, &ids, LONG).await?.all_succeeded_at_once()?;
    let snoozes: i64 = sqlx::query_scalar("SELECT sum(snoozes) FROM jobs").fetch_one(line.ledger.pool()).await?;
    assert!(snoozes >= 8, "ten a second for both together: {snoozes}");
    line.stack.drain().await
}

#[tokio::test]
async fn kind_with_a_rate_delays_nobody_else_and_costs_its_jobs_nothing() -> Result<()> {
    let line = Line::start(Stack::builder().workers(2).worker_env("MILLRACE_QUEUES", "probe=8")).await?;
    let paced = json!({ "kind": "probe.paced", "payload": { "effect": true } });
    let flood = submit_all(line.client(), &vec![paced.clone(); 50]).await?;
    let other = line.stack.client_of_other_org().await?;
    let mut others = Vec::new();
    for body in [&paced, &effect_probe(0), &paced] {
        let id = submit(&other, body).await?;
        other.wait_job(&id, PATIENCE).await?;
        others.push(id);
    }
    let left = line.ledger.count("queued").await?;
    assert!(left >= 10, "the others did not wait for the flood: {left} left");
    for id in flood.iter().rev().take(5) {
        assert_eq!(line.redis.meta(id).await?, None, "waiting for a place is nothing that a job has been through");
    }
    audit(&line, &[flood, others].concat(), LONG).await?.all_succeeded_at_once()?;
    let (spread_ms, snoozes) = spread_and_snoozes(&line, line.stack.org()).await?;
    assert!(spread_ms >= 3_800.0, "50 in {spread_ms} ms");
    assert_eq!(snoozes, 0, "waiting for a place is no snooze");
    line.stack.drain().await
}

#[tokio::test]
async fn rate_that_an_operator_sets_holds_over_two_workers_until_it_is_lifted() -> Result<()> {
    let line = Line::start(Stack::builder().workers(2).worker_env("MILLRACE_QUEUES", "probe=16")).await?;
    let said = line.stack.cli_stdout(&["queues", "limit", "probe", "--org-rate", "10/1s"]).await?;
    assert!(said.contains("10/1s per org"), "{said}");
    let flood = submit_all(line.client(), &vec![effect_probe(0); 35]).await?;
    let other = line.stack.client_of_other_org().await?;
    let single = submit(&other, &effect_probe(0)).await?;
    other.wait_job(&single, PATIENCE).await?;
    assert!(line.ledger.count("queued").await? > 0, "the other one did not wait for the flood");
    audit(&line, &[flood, vec![single]].concat(), LONG).await?.all_succeeded_at_once()?;
    let (spread_ms, snoozes) = spread_and_snoozes(&line, line.stack.org()).await?;
    assert!(spread_ms >= 2_300.0, "35 in {spread_ms} ms");
    assert_eq!(snoozes, 0);

    line.stack.cli_stdout(&["queues", "limit", "probe", "--rate", "1/1h", "--org-rate", "none"]).await?;
    let waiting = submit_all(line.client(), &vec![effect_probe(0); 20]).await?;
    line.ledger.wait_count("succeeded", 37, PATIENCE).await?;
    assert_eq!(line.ledger.count("queued").await?, 19);
    line.stack.cli_stdout(&["queues", "limit", "probe", "--rate", "none"]).await?;
    audit(&line, &waiting, PATIENCE).await?.all_succeeded_at_once()?;
    line.stack.drain().await
}
