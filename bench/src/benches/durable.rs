//! `durable`: accepted in Postgres, done in Postgres, with fsync on. Jobs of 100 bytes that do nothing; one worker process.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use millrace_shared::{
    ids::OrgId,
    intake,
    jobs::{JobRequest, KindSet, Kinds, NewJob},
    queue::Queues,
};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::task::JoinSet;

use crate::{
    Options,
    http::{Connection, Target},
    report::{Params, Report},
    site::{Form, Site, payload},
};

/// A W3C traceparent, such as every request has one.
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const CALLERS: usize = 4;

pub(crate) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    accept(options, report).await?;
    drain(options, report).await
}

async fn accept(options: &Options, report: &mut Report) -> Result<()> {
    let site = Site::start(Form::Durable, options).await?;
    let (queues, pool, target) = (site.queues().clone(), site.ledger()?.clone(), site.target()?);
    let count = options.count(100_000, 2_000);
    for round in 1..=options.rounds {
        for batch in [500, 1_000] {
            report.say(&format!("accept by batches of {batch}, round {round}"));
            let params = |via: &str| {
                Params::default().with("via", via).with("batch", batch).with("callers", CALLERS).with("jobs", count)
            };
            let before = site.cpu();
            let elapsed = accept_here(&pool, &queues, count, batch).await?;
            let cpu = site.cpu().since(&before);
            report.rate("enqueue_bulk", &params("ledger"), (count, elapsed));
            cpu.report(report, &params("ledger"), count);
            site.empty().await?;

            let before = site.cpu();
            let elapsed = accept_by_api(&target, count, batch).await?;
            let cpu = site.cpu().since(&before);
            report.rate("enqueue_bulk", &params("api"), (count, elapsed));
            cpu.report(report, &params("api"), count);
            site.empty().await?;
        }
    }
    report.flush("Accept: jobs checked, committed to the ledger and pushed; by one process, and by HTTP");
    settings(&site, report).await?;
    site.stop().await
}

/// What Postgres' figures depend on.
async fn settings(site: &Site, report: &mut Report) -> Result<()> {
    let mut params = Params::default();
    for name in ["fsync", "synchronous_commit", "full_page_writes", "wal_compression", "max_wal_size"] {
        let value: String =
            sqlx::query_scalar("SELECT current_setting($1)").bind(name).fetch_one(site.ledger()?).await?;
        params = params.with(name, value);
    }
    let pages: String = sqlx::query_scalar("SELECT setting FROM pg_settings WHERE name = 'shared_buffers'")
        .fetch_one(site.ledger()?)
        .await?;
    let megabytes = pages.parse::<f64>().context("shared_buffers is no number")? * 8_192.0 / 1e6;
    report.add("shared_buffers", &params, megabytes, "MB");
    report.flush("Postgres' settings");
    Ok(())
}

/// As the API does it, in this process.
pub(super) async fn accept_here(pool: &PgPool, queues: &Queues, count: usize, batch: usize) -> Result<Duration> {
    let kinds = Arc::new(Kinds::new(KindSet::WorkAndProbe));
    let org = OrgId::new();
    let requests = vec![JobRequest::new("probe", payload()); batch];
    let mut callers = JoinSet::new();
    let start = Instant::now();
    for _ in 0..CALLERS {
        let (pool, queues, kinds, requests) = (pool.clone(), queues.clone(), Arc::clone(&kinds), requests.clone());
        callers.spawn(async move {
            for _ in 0..(count / batch).div_ceil(CALLERS) {
                let place = |_| String::new();
                let jobs = intake::check(&kinds, requests.clone(), TRACE, place).ok().context("a probe is refused")?;
                let jobs: Vec<(OrgId, &NewJob)> = jobs.iter().map(|job| (org, job)).collect();
                let mut transaction = pool.begin().await?;
                let rows = intake::accept_plain(&mut transaction, &jobs).await?;
                transaction.commit().await?;
                intake::publish_rows(&queues, &rows).await;
            }
            anyhow::Ok(())
        });
    }
    for accepted in callers.join_all().await {
        accepted?;
    }
    Ok(start.elapsed())
}

async fn accept_by_api(target: &Target, count: usize, batch: usize) -> Result<Duration> {
    let body = batch_body(batch);
    let mut connections = Vec::new();
    for _ in 0..CALLERS {
        connections.push(Connection::open(target).await?);
    }
    let mut callers = JoinSet::new();
    let start = Instant::now();
    for mut connection in connections {
        let body = body.clone();
        callers.spawn(async move {
            for _ in 0..(count / batch).div_ceil(CALLERS) {
                let (status, said) = connection.post("/v1/jobs/batch", body.clone()).await?;
                ensure!(status == 202, "a batch was answered with {status}: {}", String::from_utf8_lossy(&said));
            }
            anyhow::Ok(())
        });
    }
    for accepted in callers.join_all().await {
        accepted?;
    }
    Ok(start.elapsed())
}

/// The body of a request with `batch` jobs.
pub(crate) fn batch_body(batch: usize) -> Bytes {
    let jobs: Vec<Value> = vec![json!({ "kind": "probe", "payload": payload() }); batch];
    json!({ "jobs": jobs }).to_string().into()
}

async fn drain(options: &Options, report: &mut Report) -> Result<()> {
    let mut site = Site::start(Form::Durable, options).await?;
    site.start_workers(1, None).await?;
    let count = options.count(100_000, 1_000);
    for round in 1..=options.rounds {
        for orgs in [1, 100] {
            report.say(&format!("drain, {orgs} organisations, round {round}"));
            let params = Params::default().with("orgs", orgs).with("slots", options.slots).with("jobs", count);
            let (elapsed, cpu) = site.drain(count, orgs).await?;
            report.rate("drain", &params, (count, elapsed));
            cpu.report(report, &params, count);
        }
    }
    site.stop().await?;
    report.flush("Drain: a backlog done by one worker, every end committed");
    Ok(())
}
