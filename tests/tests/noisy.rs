//! Sharing: one organisation's flood, limits over several workers, and jobs that hang.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use millrace_harness::{Client, Stack};
use millrace_tests::{Line, PATIENCE, audit, effect_probe, probe, submit, submit_all, until};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

const LONG: Duration = Duration::from_secs(90);

async fn set_limits(line: &Line, limits: &Value) -> Result<()> {
    let put = line.client().request(Method::PUT, "/v1/queues/probe/limits").json(limits);
    line.client().send(put).await?.expect(200).map(drop)
}

async fn set_own_limits(line: &Line, org: &str, limits: &Value) -> Result<()> {
    let put = line.client().request(Method::PUT, &format!("/v1/organisations/{org}/limits")).json(limits);
    line.client().send(put).await?.expect(200).map(drop)
}

/// How many jobs of one organisation ran at once at most.
async fn most_at_once_of(line: &Line, org: Uuid) -> Result<i64> {
    let sql = "WITH steps AS ( \
                 SELECT started_at AS at, 1 AS step FROM jobs WHERE org_id = $1 \
                 UNION ALL SELECT finished_at, -1 FROM jobs WHERE org_id = $1) \
               SELECT max(running) FROM (SELECT sum(step) OVER (ORDER BY at, step \
                 ROWS UNBOUNDED PRECEDING) AS running FROM steps) AS lines";
    Ok(sqlx::query_scalar(sql).bind(org).fetch_one(line.ledger.pool()).await?)
}

/// Whose job this is.
async fn org_of(line: &Line, id: &str) -> Result<Uuid> {
    let sql = "SELECT org_id FROM jobs WHERE id = $1";
    Ok(sqlx::query_scalar(sql).bind(id.parse::<Uuid>()?).fetch_one(line.ledger.pool()).await?)
}

/// How many jobs ran at once at most, by what the ledger says of their begins and ends; of each organisation if told so.
async fn most_at_once(line: &Line, by_org: bool) -> Result<i64> {
    let sql = "WITH steps AS ( \
                 SELECT started_at AS at, 1 AS step, CASE WHEN $1 THEN org_id END AS who FROM jobs \
                 UNION ALL SELECT finished_at, -1, CASE WHEN $1 THEN org_id END FROM jobs) \
               SELECT max(running) FROM (SELECT sum(step) OVER (PARTITION BY who ORDER BY at, step \
                 ROWS UNBOUNDED PRECEDING) AS running FROM steps) AS lines";
    Ok(sqlx::query_scalar(sql).bind(by_org).fetch_one(line.ledger.pool()).await?)
}

/// How many jobs of others began between the acceptance of `id` and its own begin.
async fn overtaken_by(line: &Line, id: &str) -> Result<i64> {
    let sql = "SELECT count(*) FROM jobs o JOIN jobs own ON own.id = $1 \
               WHERE o.org_id <> own.org_id AND o.started_at > own.created_at AND o.started_at < own.started_at";
    Ok(sqlx::query_scalar(sql).bind(id.parse::<Uuid>()?).fetch_one(line.ledger.pool()).await?)
}

#[tokio::test]
async fn single_job_does_not_wait_behind_another_organisations_flood() -> Result<()> {
    let line = Line::start(Stack::builder().worker_env("MILLRACE_QUEUES", "probe=8")).await?;
    let flood = submit_all(line.client(), &vec![effect_probe(5); 2_000]).await?;
    line.ledger.wait_count("succeeded", 50, LONG).await?;
    let other = line.stack.client_of_other_org().await?;
    let mut singles = Vec::new();
    for _ in 0..5 {
        let id = submit(&other, &effect_probe(5)).await?;
        other.wait_job(&id, PATIENCE).await?;
        singles.push(id);
    }
    let left = line.ledger.count("queued").await?;
    assert!(left > 200, "the flood outlasted the single jobs: {left} left");
    for id in &singles {
        // Its turn is in the next claim; some of the flood was claimed before it, some begins beside it.
        let overtaken = overtaken_by(&line, id).await?;
        assert!(overtaken <= 60, "{overtaken} of the flood went before it");
    }
    audit(&line, &[flood, singles].concat(), LONG).await?.all_succeeded_at_once()?;
    line.stack.drain().await
}

/// Clients of so many organisations, made by hand because the command line would take a second for each.
async fn clients_of_new_orgs(line: &Line, count: usize) -> Result<Vec<Client>> {
    let expires = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + 600;
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        let org = Uuid::now_v7();
        sqlx::query("INSERT INTO organisations (id) VALUES ($1)").bind(org).execute(line.ledger.pool()).await?;
        let claims = json!({ "sub": "single", "org": org, "role": "submitter", "exp": expires });
        let key = EncodingKey::from_secret(line.stack.jwt_secret().as_bytes());
        clients.push(line.client().with_key(&encode(&Header::new(Algorithm::HS256), &claims, &key)?));
    }
    Ok(clients)
}

#[tokio::test]
async fn ninety_nine_organisations_with_one_job_each_do_not_notice_a_flood() -> Result<()> {
    let line = Line::start(Stack::builder().worker_env("MILLRACE_QUEUES", "probe=8")).await?;
    let clients = clients_of_new_orgs(&line, 99).await?;
    let flood = submit_all(line.client(), &vec![effect_probe(5); 2_000]).await?;
    line.ledger.wait_count("succeeded", 50, LONG).await?;
    let mut singles = Vec::new();
    for client in &clients {
        singles.push(submit(client, &effect_probe(5)).await?);
    }
    let all = [flood, singles].concat();
    audit(&line, &all, LONG).await?.all_succeeded_at_once()?;
    let sql = "SELECT max(overtaken) FROM (SELECT count(f.id) AS overtaken FROM jobs own LEFT JOIN jobs f \
               ON f.org_id = $1 AND f.started_at > own.created_at AND f.started_at < own.started_at \
               WHERE own.org_id <> $1 GROUP BY own.id) AS singles";
    let flooding: Uuid = line.stack.org().parse()?;
    let overtaken: i64 = sqlx::query_scalar(sql).bind(flooding).fetch_one(line.ledger.pool()).await?;
    // What was claimed before it came, eight at a time, and what begins beside it.
    assert!(overtaken <= 60, "{overtaken} of the flood's 2,000 went before a single job");
    line.stack.drain().await
}

#[tokio::test]
async fn organisations_with_backlogs_take_turns() -> Result<()> {
    let mut line = Line::start(Stack::builder().workers(0).worker_env("MILLRACE_QUEUES", "probe=4")).await?;
    let mut ids = submit_all(line.client(), &vec![effect_probe(0); 400]).await?;
    for _ in 0..2 {
        let other = line.stack.client_of_other_org().await?;
        ids.extend(submit_all(&other, &vec![effect_probe(0); 50]).await?);
    }
    line.stack.add_worker().await?;
    audit(&line, &ids, LONG).await?.all_succeeded_at_once()?;
    let order: Vec<Uuid> =
        sqlx::query_scalar("SELECT org_id FROM jobs ORDER BY started_at, id").fetch_all(line.ledger.pool()).await?;
    let first: Uuid = line.stack.org().parse()?;
    let last_of_others = order.iter().rposition(|org| *org != first).unwrap_or(0);
    // A third each: the small backlogs of 50 are through after about 150 jobs, and not after 500.
    assert!(last_of_others < 200, "the last of the small backlogs came at place {last_of_others}");
    line.stack.drain().await
}

#[tokio::test]
async fn limits_hold_exactly_over_two_workers() -> Result<()> {
    let line = Line::start(Stack::builder().workers(2).worker_env("MILLRACE_QUEUES", "probe=16")).await?;
    set_limits(&line, &json!({ "concurrency": 5, "org_concurrency": 2 })).await?;
    let mut clients = vec![line.client().clone()];
    for _ in 0..2 {
        clients.push(line.stack.client_of_other_org().await?);
    }
    let mut ids = Vec::new();
    for client in &clients {
        ids.extend(submit_all(client, &vec![effect_probe(120); 30]).await?);
    }
    let mut most = 0;
    until("all are done", LONG, async || {
        most = most.max(line.redis.leased().await?);
        Ok(line.ledger.count("queued").await? == 0)
    })
    .await?;
    assert_eq!(most, 5, "leased at once, over both workers");
    assert_eq!(most_at_once(&line, false).await?, 5);
    assert_eq!(most_at_once(&line, true).await?, 2, "of each organisation");
    let audit = audit(&line, &ids, LONG).await?;
    audit.all_succeeded_at_once()?;
    let workers: std::collections::HashSet<_> = audit.jobs.values().map(|job| job.worker.clone()).collect();
    assert_eq!(workers.len(), 2, "both took part");
    line.stack.drain().await
}

#[tokio::test]
async fn limits_of_its_own_hold_exactly_over_two_workers_and_outlive_a_flush() -> Result<()> {
    let line = Line::start(Stack::builder().workers(2).worker_env("MILLRACE_QUEUES", "probe=16")).await?;
    set_limits(&line, &json!({ "org_concurrency": 2 })).await?;
    let own = line.stack.org().to_owned();
    set_own_limits(&line, &own, &json!({ "concurrency": 1 })).await?;
    set_own_limits(&line, &own, &json!({ "queue": "probe", "concurrency": 5 })).await?;
    line.redis.flush_all().await?;
    let other = line.stack.client_of_other_org().await?;
    let mut ids = submit_all(line.client(), &vec![effect_probe(120); 60]).await?;
    ids.extend(submit_all(&other, &vec![effect_probe(120); 24]).await?);
    audit(&line, &ids, LONG).await?.all_succeeded_at_once()?;
    assert_eq!(most_at_once_of(&line, own.parse()?).await?, 5, "its own limit in this queue");
    let others = org_of(&line, &ids[83]).await?;
    assert_eq!(most_at_once_of(&line, others).await?, 2, "everybody's limit");
    line.stack.drain().await
}

#[tokio::test]
async fn organisation_with_a_weight_gets_its_shares() -> Result<()> {
    let mut line = Line::start(Stack::builder().workers(0).worker_env("MILLRACE_QUEUES", "probe=4")).await?;
    let heavy: Uuid = line.stack.org().parse()?;
    set_own_limits(&line, line.stack.org(), &json!({ "weight": 3 })).await?;
    let mut ids = submit_all(line.client(), &vec![effect_probe(0); 300]).await?;
    for _ in 0..2 {
        let other = line.stack.client_of_other_org().await?;
        ids.extend(submit_all(&other, &vec![effect_probe(0); 300]).await?);
    }
    line.stack.add_worker().await?;
    audit(&line, &ids, LONG).await?.all_succeeded_at_once()?;
    let sql = "SELECT count(*) FILTER (WHERE org_id = $1) FROM (SELECT org_id FROM jobs ORDER BY started_at, id LIMIT 200) AS first";
    let served: i64 = sqlx::query_scalar(sql).bind(heavy).fetch_one(line.ledger.pool()).await?;
    assert!((110..=130).contains(&served), "{served} of the first 200 are three fifths");
    line.stack.drain().await
}

#[tokio::test]
async fn lifted_limit_is_felt_at_once() -> Result<()> {
    let line = Line::start(Stack::builder()).await?;
    set_limits(&line, &json!({ "org_concurrency": 1 })).await?;
    let ids = submit_all(line.client(), &vec![probe(&json!({ "outcome": "hang" })); 6]).await?;
    until("one runs", PATIENCE, async || Ok(line.redis.leased().await? == 1)).await?;
    set_limits(&line, &json!({})).await?;
    until("all run", Duration::from_secs(4), async || Ok(line.redis.leased().await? == 6)).await?;
    for id in &ids {
        line.client().post_empty(&format!("/v1/jobs/{id}/cancel")).await?.expect(200)?;
    }
    audit(&line, &ids, PATIENCE).await?;
    line.stack.drain().await
}

#[tokio::test]
async fn organisation_whose_jobs_all_hang_leaves_slots_to_others() -> Result<()> {
    let line = Line::start(Stack::builder().worker_env("MILLRACE_QUEUES", "probe=4")).await?;
    set_limits(&line, &json!({ "org_concurrency": 2 })).await?;
    let hanging = submit_all(line.client(), &vec![probe(&json!({ "outcome": "hang" })); 20]).await?;
    until("two of them run", PATIENCE, async || Ok(line.redis.leased().await? == 2)).await?;
    let other = line.stack.client_of_other_org().await?;
    let ids = submit_all(&other, &vec![effect_probe(0); 100]).await?;
    line.ledger.wait_count("succeeded", 100, PATIENCE).await?;
    assert_eq!(line.ledger.count("queued").await?, 20);
    for id in hanging.iter().rev() {
        line.client().post_empty(&format!("/v1/jobs/{id}/cancel")).await?.expect(200)?;
    }
    let audit = audit(&line, &[hanging, ids].concat(), PATIENCE).await?;
    assert_eq!((audit.states["cancelled"], audit.states["succeeded"]), (20, 100));
    line.stack.drain().await
}
