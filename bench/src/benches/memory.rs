//! `memory`: what a waiting job costs Redis and a finished one the ledger, and what API and worker hold: idle, under each load, and after
//! minutes of it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::{
    Options,
    http::{Load, allow_open_files},
    process::rss_bytes,
    report::{Params, Report},
    site::{Form, Site, jobs, payload},
};

const WAITING: usize = 100_000;
const LASTING: Duration = Duration::from_secs(10);
/// Of the long load: one stretch, after which those who submit wait until the workers have caught up.
const STRETCH: Duration = Duration::from_secs(5);
const CONNECTIONS: usize = 64;
const BATCH: usize = 500;

pub(crate) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    waiting_jobs(options, report).await?;
    processes(options, report).await
}

async fn waiting_jobs(options: &Options, report: &mut Report) -> Result<()> {
    let site = Site::start(Form::QueueAlone, options).await?;
    let count = options.count(WAITING, 10_000);
    let payload_bytes = payload().to_string().len();
    for orgs in [1, 10_000] {
        report.say(&format!("waiting jobs, {orgs} organisations"));
        let params = Params::default().with("orgs", orgs).with("payload_bytes", payload_bytes).with("jobs", count);
        let before = used_memory(&site).await?;
        site.fill(jobs(count, orgs)).await?;
        let used = used_memory(&site).await? - before;
        site.empty().await?;
        let each = used / figure(count);
        report.add("redis_bytes_per_job", &params, each - figure(payload_bytes), "bytes beside the payload");
        report.add("redis_bytes_per_job_in_all", &params, each, "bytes");
    }
    site.stop().await?;
    report.flush("Redis: memory of a waiting job");
    Ok(())
}

async fn used_memory(site: &Site) -> Result<f64> {
    let info = site.queues().info().await?;
    info.get("used_memory").and_then(|used| used.parse().ok()).context("Redis does not tell its memory")
}

async fn processes(options: &Options, report: &mut Report) -> Result<()> {
    allow_open_files(4_096)?;
    let mut site = Site::start(Form::Durable, options).await?;
    site.start_workers(1, None).await?;
    let lasting = options.lasting(LASTING);
    let rss = |site: &Site, report: &mut Report, load: &str| {
        for (process, bytes) in memory(site) {
            report.add("rss", &Params::default().with("process", process).with("load", load), bytes, "MB");
        }
    };
    tokio::time::sleep(lasting.min(Duration::from_secs(2))).await;
    rss(&site, report, "idle");
    for (load, batch) in [("submissions", 1), ("batches", BATCH)] {
        report.say(&format!("memory under {load}"));
        Load::submissions(CONNECTIONS.min(if batch == 1 { CONNECTIONS } else { 4 }), batch, lasting)
            .run(&site.target()?)
            .await?;
        rss(&site, report, load);
        site.wait_empty().await?;
    }
    report.say("memory while a backlog drains");
    site.drain(options.count(WAITING, 1_000), 100).await?;
    rss(&site, report, "drain");
    tokio::time::sleep(lasting.min(Duration::from_secs(2))).await;
    rss(&site, report, "idle again");
    report.flush("Memory of API and worker");

    long_load(&site, options, report).await?;
    site.stop().await
}

/// Submissions and their work for minutes: what grows meanwhile.
async fn long_load(site: &Site, options: &Options, report: &mut Report) -> Result<()> {
    let lasting = options.lasting(Duration::from_secs_f64(options.minutes * 60.0));
    let ledger_before = ledger_bytes(site).await?;
    let (start, mut done) = (Instant::now(), 0);
    let mut first: Option<[(&str, f64); 3]> = None;
    while start.elapsed() < lasting {
        let minutes = start.elapsed().as_secs_f64() / 60.0;
        report.say(&format!("load for {minutes:.1} of {:.1} minutes", lasting.as_secs_f64() / 60.0));
        let answers = Load::submissions(CONNECTIONS, 1, options.lasting(STRETCH)).run(&site.target()?).await?;
        done += answers.accepted.len();
        site.wait_empty().await?;
        // By then caches, pools and allocators have what they keep.
        if first.is_none() && start.elapsed() >= lasting / 10 {
            first = Some(memory(site));
        }
    }
    let (last, minutes) = (memory(site), start.elapsed().as_secs_f64() / 60.0);
    for ((process, bytes), (_, early)) in last.into_iter().zip(first.unwrap_or(last)) {
        let params = Params::default().with("process", process).with("minutes", (minutes * 100.0).round() / 100.0);
        report.add("rss_early", &params, early, "MB");
        report.add("rss", &params, bytes, "MB");
        report.add("rss_growth", &params, bytes - early, "MB");
    }
    let params = Params::default().with("process", "ledger").with("minutes", (minutes * 100.0).round() / 100.0);
    let grown = ledger_bytes(site).await? - ledger_before;
    report.add("jobs_done", &params, figure(done), "jobs");
    report.add("ledger_bytes_per_job", &params, grown / figure(done.max(1)), "bytes");
    report.flush("After minutes of submissions that are worked on (early: after a tenth of the time)");
    Ok(())
}

/// What each process holds, in MB.
fn memory(site: &Site) -> [(&'static str, f64); 3] {
    let (redis, worker) = (site.redis().pid(), site.worker_pids().first().copied());
    let api = site.stack().ok().map(|stack| stack.api.process().pid());
    [("api", api), ("worker", worker), ("redis", redis)].map(|(process, pid)| {
        #[expect(clippy::cast_precision_loss, reason = "a size of memory")]
        let bytes = pid.and_then(rss_bytes).unwrap_or(0) as f64;
        (process, bytes / 1e6)
    })
}

/// What the ledger's jobs take on disk, with their indexes, over all partitions.
async fn ledger_bytes(site: &Site) -> Result<f64> {
    let bytes: i64 = sqlx::query_scalar(
        "SELECT COALESCE(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class WHERE relkind = 'r' AND starts_with(relname, 'jobs')",
    )
    .fetch_one(site.ledger()?)
    .await?;
    #[expect(clippy::cast_precision_loss, reason = "a size on disk")]
    Ok(bytes as f64)
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn figure(count: usize) -> f64 {
    count as f64
}
