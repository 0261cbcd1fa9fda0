//! `peers`: other job queues and Millrace under the same load, on the same servers. The peers' programs are a workspace of their own, in
//! `bench/peers`, so that what they depend on is no part of the product; where they cannot be built, Millrace's figures stand alone.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use millrace_harness::{
    PostgresOptions, PostgresServer, Process, RedisOptions, RedisServer, RunDir, Signal, cargo, target_dir,
    workspace_root,
};
use millrace_shared::queue::MAX_BATCH;
use serde_json::Value;

use super::{durable, latency, queue};
use crate::{
    Options,
    process::rss_bytes,
    report::{Params, Report},
    site::{Form, Site},
};

const JOBS: usize = 20_000;
const PICKUPS: usize = 500;
const CALLERS: usize = 4;
const BATCH: usize = 1_000;
/// Peers on Redis and on Postgres, by their names on the command line.
const PEERS: [(&str, Form); 3] =
    [("apalis-redis", Form::QueueAlone), ("graphile-worker", Form::Durable), ("awa", Form::Durable)];

pub(crate) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    for form in Form::BOTH {
        ours(form, options, report).await?;
    }
    let failed = match build(report).await {
        Ok(program) => theirs(&program, options, report).await?,
        Err(error) => {
            eprintln!("  the peers are left out, because their programs cannot be built: {error:#}");
            Vec::new()
        }
    };
    report.flush("Jobs of 100 bytes that do nothing: enqueued in batches by 4 callers, done by 1 worker process, picked up on an idle queue");
    ensure!(failed.is_empty(), "peers that could not be measured: {}", failed.join("; "));
    Ok(())
}

async fn ours(form: Form, options: &Options, report: &mut Report) -> Result<()> {
    let (system, via) = match form {
        Form::QueueAlone => ("millrace queue", "Redis alone, batches of 500"),
        Form::Durable => ("millrace durable", "ledger with fsync, batches of 1000, pickup by HTTP"),
    };
    let jobs = options.count(JOBS, 200);
    let params = params(system, &format!("{via}, {} slots", options.slots), jobs);
    let mut site = Site::start(form, options).await?;
    for round in 1..=options.rounds {
        report.say(&format!("{system}, round {round}"));
        let elapsed = match form {
            Form::QueueAlone => queue::push(site.queues(), jobs, CALLERS, MAX_BATCH).await?,
            Form::Durable => durable::accept_here(site.ledger()?, site.queues(), jobs, BATCH).await?,
        };
        report.rate("enqueue_bulk", &params, (jobs, elapsed));
        site.empty().await?;
    }
    let notes = site.dir().join("starts");
    site.start_workers(1, Some(&notes)).await?;
    let worker = site.worker_pids().first().copied().context("there is no worker")?;
    report.add("rss_idle", &params, megabytes(worker), "MB");
    let mut waits = latency::measure(&site, &notes, options.count(PICKUPS, 20)).await?;
    report.percentiles(["pickup_p50", "pickup_p95", "pickup_p99"], &params, &mut waits);
    for _ in 1..=options.rounds {
        let (elapsed, cpu) = site.drain(jobs, 1).await?;
        report.rate("drain", &params, (jobs, elapsed));
        cpu.report_worker_and_server(report, &params, jobs);
        report.add("rss", &params, megabytes(worker), "MB");
    }
    site.stop().await
}

fn params(system: &str, settings: &str, jobs: usize) -> Params {
    Params::default().with("system", system).with("jobs", jobs).with("settings", settings)
}

fn megabytes(pid: u32) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a size of memory")]
    let bytes = rss_bytes(pid).unwrap_or(0) as f64;
    bytes / 1e6
}

/// Builds the peers' program, with optimisations whatever this one was built with: nobody would run them otherwise.
async fn build(report: &Report) -> Result<PathBuf> {
    report.say("building the peers");
    let target = target_dir().join("peers");
    let manifest = workspace_root().join("bench/peers/Cargo.toml");
    let status = cargo()
        .args(["build", "--release", "--locked", "--quiet", "--manifest-path"])
        .arg(&manifest)
        .arg("--target-dir")
        .arg(&target)
        .kill_on_drop(true)
        .status()
        .await
        .context("cannot run cargo")?;
    ensure!(status.success(), "cargo ended with {status}");
    Ok(target.join("release/millrace-bench-peers"))
}

/// Measures each peer; gives what went wrong.
async fn theirs(program: &Path, options: &Options, report: &mut Report) -> Result<Vec<String>> {
    let run = RunDir::create()?;
    let redis = RedisServer::start(run.path(), RedisOptions::default()).await?;
    let postgres = PostgresServer::start(run.path(), PostgresOptions::default()).await?;
    let mut failed = Vec::new();
    for (peer, form) in PEERS {
        report.say(peer);
        let database = postgres.create_database(&format!("peer_{}", peer.replace('-', "_"))).await?;
        let server = if form == Form::Durable { postgres.pid() } else { redis.pid() };
        let mut command = Command::new(program);
        command.args(["measure", peer]).arg("--dir").arg(run.path());
        command.arg("--jobs").arg(options.count(JOBS, 200).to_string());
        command.arg("--rounds").arg(options.rounds.to_string());
        command.arg("--pickups").arg(options.count(PICKUPS, 20).to_string());
        command.arg("--server-pid").arg(server.context("the servers are not ours")?.to_string());
        command.env("REDIS_URL", redis.url()).env("DATABASE_URL", database);
        let process = Process::spawn(peer, command, &run.path().join(format!("{peer}.log")), Signal::KILL)?;
        if let Err(error) = measured(&process, options, report).await {
            failed.push(format!("{peer}: {error:#}"));
        }
    }
    Ok(failed)
}

/// Waits for a peer's program, and takes over what it printed.
async fn measured(process: &Process, options: &Options, report: &mut Report) -> Result<()> {
    let status = process.wait().await;
    let log = std::fs::read_to_string(process.log()).context("its output cannot be read")?;
    for line in log.lines().filter(|line| line.starts_with('{')) {
        let figure: Value = serde_json::from_str(line).context("its output is no JSON")?;
        let text = |name: &str| figure[name].as_str().with_context(|| format!("its output has no `{name}`"));
        let params = params(text("peer")?, text("settings")?, options.count(JOBS, 200));
        let value = figure["value"].as_f64().context("its output has no `value`")?;
        let (metric, unit) = known(text("metric")?)?;
        report.add(metric, &params, value, unit);
    }
    ensure!(status.success(), "ended with {status}{}", process.log_excerpt());
    Ok(())
}

/// The metrics that a peer may tell, with their units.
fn known(name: &str) -> Result<(&'static str, &'static str)> {
    Ok(match name {
        "enqueue_bulk" => ("enqueue_bulk", "jobs/s"),
        "drain" => ("drain", "jobs/s"),
        "pickup_p50" => ("pickup_p50", "ms"),
        "pickup_p95" => ("pickup_p95", "ms"),
        "pickup_p99" => ("pickup_p99", "ms"),
        "rss" => ("rss", "MB"),
        "rss_idle" => ("rss_idle", "MB"),
        "cpu_worker_us_per_job" => ("cpu_worker_us_per_job", "us"),
        "cpu_server_us_per_job" => ("cpu_server_us_per_job", "us"),
        other => bail!("it tells a metric that is not known: {other}"),
    })
}
