//! Ticks of schedules under several workers: each once, whoever is killed or hangs, and once for all that were missed.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use millrace_harness::{Service, Signal, Stack, StackBuilder, Until};
use millrace_tests::{Line, PATIENCE, audit, metric, short_lease, until};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::FromRow;

const LONG: Duration = Duration::from_secs(90);

fn builder(workers: usize) -> StackBuilder {
    let stack = short_lease(Stack::builder()).workers(workers).worker_env("MILLRACE_QUEUES", "probe=8");
    stack.api_env("MILLRACE_SCHEDULE_MIN_INTERVAL", "1s")
}

/// Makes a schedule of probes that each leave an effect, whether or not those before have ended. Gives its id.
async fn make(line: &Line, name: &str, every: &str) -> Result<String> {
    let payload = json!({ "effect": true, "echo": name });
    let body = json!({ "name": name, "kind": "probe", "payload": payload, "unique": false, "every": every });
    let made = line.client().post("/v1/schedules", &body).await?.expect(201)?;
    made["id"].as_str().map(str::to_owned).context("no id")
}

async fn change(line: &Line, id: &str, body: &Value) -> Result<Value> {
    let request = line.client().request(Method::PATCH, &format!("/v1/schedules/{id}")).json(body);
    line.client().send(request).await?.expect(200)
}

/// What the tables say of a schedule.
#[derive(Debug, FromRow)]
struct Facts {
    name: String,
    fired: i64,
    missed: i64,
    /// Ticks there have been, by its interval and its next one.
    ticks: i64,
    /// Jobs of it, told by what they are to echo.
    jobs: i64,
}

async fn facts(line: &Line) -> Result<Vec<Facts>> {
    let facts = sqlx::query_as(
        "SELECT name, fired, missed, \
         (EXTRACT(EPOCH FROM next_run_at - created_at) / every_seconds)::bigint - 1 AS ticks, \
         (SELECT count(*) FROM jobs WHERE payload->>'echo' = name) AS jobs FROM schedules ORDER BY name",
    );
    facts.fetch_all(line.ledger.pool()).await.context("cannot read the schedules")
}

/// Asserts that each tick there has been is a job, or was missed and caught up, once.
fn assert_each_once(facts: &[Facts]) -> Result<()> {
    for one in facts {
        ensure!(one.fired == one.jobs, "{} ticks have fired and {} jobs are there: {one:?}", one.fired, one.jobs);
        ensure!(one.fired + one.missed == one.ticks, "a tick is lost or counted twice: {one:?}");
    }
    Ok(())
}

async fn fired(line: &Line) -> Result<i64> {
    Ok(facts(line).await?.iter().map(|one| one.fired).sum())
}

async fn wait_fired(line: &Line, least: i64, what: &str) -> Result<()> {
    until(what, LONG, async || Ok(fired(line).await? >= least)).await
}

/// The worker that lets schedules tick.
async fn leader(line: &Line) -> Result<&Service> {
    let mut found = None;
    until("a worker leads", PATIENCE, async || {
        for worker in line.live_workers() {
            if metric(&worker.url(), "millrace_schedules_leader").await? > 0.5 {
                found = Some(worker);
            }
        }
        Ok(found.is_some())
    })
    .await?;
    found.context("no worker leads")
}

/// Lets everything come to rest and looks at it.
async fn finish(line: &Line) -> Result<()> {
    let list = line.client().get("/v1/schedules").await?.expect(200)?;
    for schedule in list["items"].as_array().context("no items")? {
        change(line, schedule["id"].as_str().context("no id")?, &json!({ "paused": true })).await?;
    }
    let facts = facts(line).await?;
    assert_each_once(&facts)?;
    let audit = audit(line, &[], LONG).await?;
    audit.all_succeeded_at_once()?;
    line.stack.drain().await
}

#[tokio::test]
async fn each_tick_counts_once_with_five_workers_whichever_of_them_is_killed() -> Result<()> {
    let mut line = Line::start(builder(5)).await?;
    for number in 0..10 {
        make(&line, &format!("weir {number}"), "1s").await?;
    }
    wait_fired(&line, 20, "schedules tick").await?;
    for _ in 0..3 {
        leader(&line).await?.kill().await?;
        let before = fired(&line).await?;
        wait_fired(&line, before + 20, "another worker leads").await?;
        line.stack.add_worker_with(&[], Until::Listening).await?;
    }
    finish(&line).await
}

#[tokio::test]
async fn ticks_missed_while_all_workers_were_down_are_caught_up_once() -> Result<()> {
    let mut line = Line::start(builder(3)).await?;
    make(&line, "short", "1s").await?;
    make(&line, "long", "10m").await?;
    wait_fired(&line, 2, "schedules tick").await?;
    for worker in &line.stack.workers {
        worker.kill().await?;
    }
    let before = facts(&line).await?;
    // The interval of one is over several times while nobody is there, that of the other is made to look so.
    let due = "SELECT now() - next_run_at > interval '4 seconds' FROM schedules WHERE name = 'short'";
    let pool = line.ledger.pool().clone();
    until("ticks are missed", PATIENCE, async || Ok(sqlx::query_scalar(due).fetch_one(&pool).await?)).await?;
    let back = "UPDATE schedules SET created_at = created_at - interval '1 hour', next_run_at = next_run_at - interval '1 hour' \
                WHERE name = 'long'";
    sqlx::query(back).execute(&pool).await?;
    line.stack.add_worker().await?;
    line.stack.add_worker().await?;
    wait_fired(&line, before.iter().map(|one| one.fired).sum::<i64>() + 3, "schedules tick again").await?;
    let after = facts(&line).await?;
    let [long, short] = &after[..] else { anyhow::bail!("{after:?}") };
    assert_eq!((long.name.as_str(), long.fired, long.missed), ("long", 1, 5), "six are one");
    assert!(short.missed >= 4, "{short:?}");
    finish(&line).await
}

#[tokio::test]
async fn a_leader_that_hangs_holds_nobody_up_for_long() -> Result<()> {
    let line = Line::start(builder(2)).await?;
    make(&line, "weir", "1s").await?;
    wait_fired(&line, 2, "the schedule ticks").await?;
    let hung = leader(&line).await?;
    hung.process().signal(Signal::STOP)?;
    let before = fired(&line).await?;
    wait_fired(&line, before + 5, "another worker stands in").await?;
    // While the leader hung, ticks were missed only until another one noticed.
    let missed = facts(&line).await?.iter().map(|one| one.missed).sum::<i64>();
    hung.process().signal(Signal::CONT)?;
    assert!((5..40).contains(&missed), "{missed} ticks were missed");
    wait_fired(&line, before + 8, "both go on").await?;
    finish(&line).await
}

#[tokio::test]
async fn paused_and_deleted_schedules_make_no_jobs() -> Result<()> {
    let line = Line::start(builder(2)).await?;
    let (paused, deleted) = (make(&line, "paused", "1s").await?, make(&line, "deleted", "1s").await?);
    make(&line, "open", "1s").await?;
    wait_fired(&line, 3, "schedules tick").await?;
    change(&line, &paused, &json!({ "paused": true })).await?;
    assert_eq!(line.client().delete(&format!("/v1/schedules/{deleted}")).await?.status, 204);
    let jobs = async |name: &str| -> Result<i64> {
        let count = sqlx::query_scalar("SELECT count(*) FROM jobs WHERE payload->>'echo' = $1").bind(name);
        Ok(count.fetch_one(line.ledger.pool()).await?)
    };
    let (of_paused, of_deleted, of_open) = (jobs("paused").await?, jobs("deleted").await?, jobs("open").await?);
    until("the other one goes on", LONG, async || Ok(jobs("open").await? >= of_open + 4)).await?;
    assert_eq!((jobs("paused").await?, jobs("deleted").await?), (of_paused, of_deleted));
    let resumed = change(&line, &paused, &json!({ "paused": false })).await?;
    assert_eq!(resumed["missed"], 0, "what was not wanted was not missed: {resumed}");
    until("it goes on", LONG, async || Ok(jobs("paused").await? > of_paused)).await?;
    change(&line, &paused, &json!({ "paused": true })).await?;
    let audit = audit_all(&line).await?;
    assert!(audit > 0);
    line.stack.drain().await
}

/// Pauses what ticks, and audits.
async fn audit_all(line: &Line) -> Result<usize> {
    sqlx::query("UPDATE schedules SET paused = true").execute(line.ledger.pool()).await?;
    let audit = audit(line, &[], LONG).await?;
    audit.all_succeeded_at_once()?;
    Ok(audit.jobs.len())
}
