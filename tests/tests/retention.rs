//! Age: a ledger that nobody has kept gets its partitions from the first worker, and loses what is over.

use anyhow::Result;
use chrono::{TimeDelta, Utc};
use millrace_harness::Stack;
use millrace_shared::ids::JobId;
use millrace_tests::{Line, PATIENCE, effect_probe, submit_all, until};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool};

/// Ends the only partition some hours ago, as if no worker had run since.
async fn forsake(pool: &PgPool, hours: i64) -> Result<()> {
    let end = JobId::lowest_at(Utc::now() - TimeDelta::hours(hours));
    for table in ["jobs", "job_attempts"] {
        let cut = format!(
            "ALTER TABLE {table} DETACH PARTITION {table}_first; \
             ALTER TABLE {table} ATTACH PARTITION {table}_first FOR VALUES FROM (MINVALUE) TO ('{end}')"
        );
        sqlx::raw_sql(AssertSqlSafe(cut)).execute(pool).await?;
    }
    Ok(())
}

/// A probe that was accepted some hours ago, and ended then if `ended`.
async fn old_job(line: &Line, hours: i64, ended: bool) -> Result<String> {
    let mut id = *JobId::new().as_bytes();
    let accepted = Utc::now() - TimeDelta::hours(hours);
    id[..6].copy_from_slice(&JobId::lowest_at(accepted).as_bytes()[..6]);
    let id = JobId(uuid::Uuid::from_bytes(id));
    sqlx::query(
        "INSERT INTO jobs (id, org_id, kind, queue, priority, payload, max_attempts, attempt_budget, timeout_ms, run_at, created_at, state, finished_at) \
         VALUES ($1, $2::uuid, 'probe', 'probe', 2, '{}', 5, 5, 60000, $3, $3, CASE WHEN $4 THEN 'succeeded' ELSE 'queued' END, CASE WHEN $4 THEN $3 END)",
    )
    .bind(id)
    .bind(line.stack.org())
    .bind(accepted)
    .bind(ended)
    .execute(line.ledger.pool())
    .await?;
    Ok(id.to_string())
}

#[tokio::test]
async fn the_first_worker_gives_a_forsaken_ledger_partitions_and_takes_away_what_is_over() -> Result<()> {
    let mut line = Line::start(Stack::builder().workers(0).worker_env("MILLRACE_RETENTION", "1h")).await?;
    forsake(line.ledger.pool(), 3).await?;
    let (over, waiting) = (old_job(&line, 5, true).await?, old_job(&line, 4, false).await?);
    let accepted = submit_all(line.client(), &vec![effect_probe(10); 50]).await?;
    let places = async |name: &str| -> Result<i64> {
        let count = "SELECT count(*) FROM jobs WHERE tableoid::regclass::text LIKE $1";
        Ok(sqlx::query_scalar(count).bind(name).fetch_one(line.ledger.pool()).await?)
    };
    assert_eq!((places("jobs_default").await?, places("jobs_first").await?), (50, 2));
    let told = line.stack.cli(&["doctor", "--json"]).await?;
    assert!(String::from_utf8_lossy(&told.stdout).contains("50 jobs have no partition"), "{told:?}");

    line.stack.add_worker().await?;
    for id in accepted.iter().chain([&waiting]) {
        assert_eq!(line.wait_end(id).await?["state"], "succeeded");
    }
    let gone = async || Ok(line.client().get(&format!("/v1/jobs/{over}")).await?.status == 404);
    until("the job that is over is gone", PATIENCE, gone).await?;
    until("the default partition is empty", PATIENCE, async || Ok(places("jobs_default").await? == 0)).await?;
    assert_eq!(places("jobs_kept%").await?, 1, "the job that waited has outlived its partition");
    for job in line.ledger.jobs().await? {
        assert_eq!((job.state.as_str(), job.failed_attempts, job.effects), ("succeeded", 0, i64::from(job.has_effect)));
    }
    assert_eq!(line.client().get("/v1/jobs?limit=200").await?.expect(200)?["items"].as_array().map(Vec::len), Some(51));
    let again = line.client().post("/v1/jobs", &json!({ "kind": "probe", "payload": {} })).await?.expect(202)?;
    assert_eq!(line.wait_end(again["id"].as_str().unwrap_or_default()).await?["state"], "succeeded");
    Ok(())
}
