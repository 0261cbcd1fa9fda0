//! The audit that ends every fault test can fail: each sort of thing that could be left behind is planted, and found.

use std::time::Duration;

use anyhow::{Context as _, Result};
use millrace_harness::Stack;
use millrace_tests::{Line, PATIENCE, audit, audit_within, effect_probe, probe, submit, submit_all};
use serde_json::json;

const SOON: Duration = Duration::from_millis(200);

/// What the audit says against the line as it is.
async fn complaint(line: &Line, accepted: &[String]) -> Result<String> {
    let error = audit_within(line, accepted, SOON, SOON).await.err().context("the audit found nothing")?;
    Ok(format!("{error:#}"))
}

/// A line on which jobs have run that succeeded and one that died, and whose worker has gone, so that nobody tidies up.
async fn quiet_line() -> Result<(Line, Vec<String>)> {
    let line = Line::start(Stack::builder()).await?;
    let mut ids = submit_all(line.client(), &vec![effect_probe(0); 3]).await?;
    ids.push(submit(line.client(), &probe(&json!({ "outcome": "fail", "effect": true }))).await?);
    audit(&line, &ids, PATIENCE).await?;
    line.stack.workers[0].terminate(PATIENCE).await?;
    Ok((line, ids))
}

#[tokio::test]
async fn audit_finds_whatever_is_left_in_redis() -> Result<()> {
    let (line, ids) = quiet_line().await?;
    let mut redis = line.redis.connection().await?;
    let plants: [(&str, &[&str], &str); 14] = [
        ("mr:{probe}:job", &["HSET", "id", "envelope"], "1 in mr:{probe}:job"),
        ("mr:{asset}:meta", &["HSET", "id", "1,0,0"], "1 in mr:{asset}:meta"),
        ("mr:{crm}:live", &["HSET", "id", "1 worker"], "1 in mr:{crm}:live"),
        ("mr:{graph}:running", &["HSET", "org", "1"], "1 in mr:{graph}:running"),
        ("mr:{probe}:leases", &["ZADD", "1", "id"], "1 in mr:{probe}:leases"),
        ("mr:{probe}:delayed", &["ZADD", "1", "id"], "1 in mr:{probe}:delayed"),
        ("mr:{probe}:ready:2:org", &["RPUSH", "id", "other"], "2 in mr:{probe}:ready:2:org"),
        ("mr:{probe}:ring:3", &["ZADD", "7", "org"], "1 in mr:{probe}:ring:3"),
        ("mr:{probe}:parked:0", &["ZADD", "7", "org"], "1 in mr:{probe}:parked:0"),
        ("mr:{asset}:depth", &["HSET", "1", "-1"], "mr:{asset}:depth: [-1]"),
        ("mr:{probe}:done:1", &["SET", "5"], "mr:{probe}:done:1 never expires"),
        ("mr:{probe}:anything-new", &["SADD", "a"], "1 in mr:{probe}:anything-new"),
        ("mr:{no-queue}:ctl", &["HSET", "a", "b"], "1 in mr:{no-queue}:ctl"),
        ("another-key", &["SET", "1"], "1 in another-key"),
    ];
    for (key, command, expected) in plants {
        let arguments = &command[1..];
        redis::cmd(command[0]).arg(key).arg(arguments).query_async::<redis::Value>(&mut redis).await?;
        let said = complaint(&line, &ids).await?;
        assert!(said.contains(expected), "{expected:?} is not in {said:?}");
        redis::cmd("DEL").arg(key).query_async::<i64>(&mut redis).await?;
    }
    audit_within(&line, &ids, SOON, SOON).await.context("with everything taken away again")?;
    line.stack.drain().await
}

#[tokio::test]
async fn audit_finds_whatever_is_wrong_in_the_ledger() -> Result<()> {
    let (line, ids) = quiet_line().await?;
    let (good, dead) = (&ids[0], &ids[3]);
    let effect = |id: &str| format!("INSERT INTO probe_effects SELECT id, org_id, 1 FROM jobs WHERE id = '{id}'");
    let plants = [
        (effect(good), "2 effects where 1 should be"),
        (format!("DELETE FROM probe_effects WHERE job_id = '{good}'"), "0 effects where 1 should be"),
        (effect(dead), "1 effects where 0 should be"),
        (format!("DELETE FROM jobs WHERE id = '{good}'"), "1 accepted jobs are not in the ledger"),
        (
            "INSERT INTO probe_effects VALUES (gen_random_uuid(), gen_random_uuid(), 1)".to_owned(),
            "1 effects of no job",
        ),
        (
            format!("INSERT INTO job_uniques SELECT org_id, kind, 'key', id FROM jobs WHERE id = '{good}'"),
            "1 unique keys of jobs that have ended",
        ),
        (
            format!("UPDATE jobs SET state = 'queued', finished_at = NULL WHERE id = '{dead}'"),
            "not within 200ms: every job has ended",
        ),
    ];
    for (plant, expected) in plants {
        // Copies of the tables, to be put back.
        let save = "CREATE TABLE saved_jobs AS TABLE jobs; CREATE TABLE saved_effects AS TABLE probe_effects";
        sqlx::raw_sql(save).execute(line.ledger.pool()).await?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(plant)).execute(line.ledger.pool()).await?;
        let said = complaint(&line, &ids).await?;
        assert!(said.contains(expected), "{expected:?} is not in {said:?}");
        let restore = "DELETE FROM job_uniques; DELETE FROM probe_effects; DELETE FROM jobs; \
                       INSERT INTO jobs SELECT * FROM saved_jobs; \
                       INSERT INTO probe_effects SELECT * FROM saved_effects; \
                       DROP TABLE saved_jobs; DROP TABLE saved_effects";
        sqlx::raw_sql(restore).execute(line.ledger.pool()).await?;
    }
    audit_within(&line, &ids, SOON, SOON).await.context("with everything put back")?;
    line.stack.drain().await
}
